"""What two doors say to each other: frames, each with its kind, its length and its checksum.

    to the destination   MAGIC, HEAD, LOG..., DATA..., LOG..., SECTION..., STILL, DATA..., END
    back to the source   FITS, then BACK... and ARRIVED; or REFUSED, with the reason

The second LOG is what has come to the log since the first. It and the sections are sent once the
machine stands still, and before QEMU sends anything of its vCPUs and devices; more of the memory
may come between them. A pipe or a file has no way back; then the source hears nothing, and its end
is that QEMU's is.

Streams of older formats have no sections and no STILL: those of format 2 have the second LOG behind
all DATA, those of format 1 have none.
"""

from __future__ import annotations

import struct
import threading
import zlib
from enum import Enum

from attrs import frozen

from hpcore.door.moving.channel import Channel
from hpcore.errors import HpcoreError

FORMAT = 3
"""It changes with whatever an older door would read wrongly."""
STILL_SINCE = 3
"""The first format that says when the machine stands still."""
_MAGIC = "hpcore moving machine, format {}\n"
MAGIC = _MAGIC.format(FORMAT).encode()
"""The stream's first bytes."""
_FORMATS = {_MAGIC.format(number).encode(): number for number in range(1, FORMAT + 1)}
LARGEST = 1 << 20
"""Bytes of a frame at most, so that a door needs no more memory for a machine of any size."""
_HEADER = struct.Struct(">cII")


class StreamError(HpcoreError):
    """What comes is no machine, or is damaged, or was cut short."""


class Kind(Enum):
    """What a frame has."""

    HEAD = b"H"  # what the machine is beyond its log and QEMU's stream
    LOG = b"L"  # a piece of its log
    DATA = b"D"  # a piece of QEMU's stream
    SECTION = b"S"  # what hpcore has of it beside its log: a section's name, a newline, the rest
    STILL = b"Q"  # the machine stands still, and nothing of that follows any more
    END = b"E"  # the stream is whole
    FITS = b"Y"  # the machine will be taken
    REFUSED = b"N"  # it is not; the reason, in words
    BACK = b"R"  # what the destination's QEMU says to the source's
    ARRIVED = b"A"  # the destination has it, whole


@frozen
class Frame:
    """One of them. `data` is overwritten by the next one that is read."""

    kind: Kind
    data: memoryview


class Frames:
    """Both ends of a channel, in frames. Any thread may write, one at a time may read."""

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self.format = FORMAT
        """That of what is read, once its beginning is."""
        self._room = memoryview(bytearray(LARGEST))
        self._writing = threading.Lock()

    def write_magic(self) -> None:
        """Begin a stream. Raises OSError."""
        self.channel.write(MAGIC)

    def read_magic(self) -> None:
        """Take a stream's beginning. Raises StreamError where it is another's, OSError."""
        said = bytearray(len(MAGIC))
        got = self.channel.read(memoryview(said))
        found = _FORMATS.get(bytes(said[:got]))
        if found is None:
            raise StreamError(_other_beginning(bytes(said[:got])))
        self.format = found

    def write(self, kind: Kind, data: bytes | memoryview = b"") -> None:
        """Write `data`, in as many frames as it takes. Raises OSError."""
        rest = memoryview(data)
        with self._writing:
            while True:
                piece, rest = rest[:LARGEST], rest[LARGEST:]
                self.channel.write(_HEADER.pack(kind.value, len(piece), zlib.crc32(piece)))
                self.channel.write(piece)
                if not rest:
                    return

    def read(self) -> Frame | None:
        """The next one; None at the end. Raises StreamError, and OSError."""
        header = bytearray(_HEADER.size)
        got = self.channel.read(memoryview(header))
        if not got:
            return None
        if got < _HEADER.size:
            raise StreamError("it was cut short")
        letter, size, checksum = _HEADER.unpack(header)
        if size > LARGEST or letter not in _KINDS:
            raise StreamError("it is damaged: a frame's header is none")
        data = self._room[:size]
        if self.channel.read(data) < size:
            raise StreamError("it was cut short")
        if zlib.crc32(data) != checksum:
            raise StreamError("it is damaged: a checksum does not fit")
        return Frame(Kind(letter), data)


_KINDS = frozenset(kind.value for kind in Kind)


def _other_beginning(said: bytes) -> str:
    if said[:4] == b"QEVM":
        return (
            "it comes from a QEMU without hpcore, and nothing says which vCPUs are plugged: have "
            "it sent by hpcore-qemu-system-aarch64, too"
        )
    if said[:20] == MAGIC[:20]:
        return "it was sent by another version of hpcore; use the same one on both sides"
    return "it is no machine of hpcore's" if said else "nothing came"
