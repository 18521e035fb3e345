"""A guest's memory as a stream of bytes: pieces that are not zero, each with its place.

    magic, version, base, size         what memory it is
    address, length, then the bytes    as often as there are pieces
    0, 0                               the end

All numbers have 64 bits, little endian. No vCPU runs while it is written or read.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from io import RawIOBase

from hpcore.run.accelerator import Stream, Writes
from hpcore_kvm.vm import Memory

MAGIC, VERSION = 0x6D65_6D5F_6F63_7068, 1  # "hpco_mem"
PAGE, CHUNK = 1 << 12, 1 << 20
_HEAD, _PIECE = struct.Struct("<QQQQ"), struct.Struct("<QQ")
_ZERO_PAGE, _ZERO_CHUNK = bytes(PAGE), bytes(CHUNK)


Spans = Iterable[tuple[int, int]]
"""Parts of a memory: (start, end), from its own beginning."""


class StreamError(Exception):
    """A stream is none of this memory. The text says why."""


class Writer:
    """Writes one memory, in as many rounds as it takes: what comes later counts.

    Raises OSError where the file takes no more.
    """

    def __init__(self, memory: Memory, file: Writes) -> None:
        self._memory, self._file = memory, file
        file.write(_HEAD.pack(MAGIC, VERSION, memory.base, memory.size))

    def add(self, spans: Spans) -> int:
        """Write the memory's bytes in those (start, end); how many they were."""
        total = 0
        for start, end in spans:
            self._file.write(_PIECE.pack(self._memory.base + start, end - start))
            with self._memory.data[start:end] as view:  # no traceback is to keep it
                self._file.write(view)
            total += end - start
        return total

    def end(self) -> None:
        """That was all."""
        self._file.write(_PIECE.pack(0, 0))


def write(memory: Memory, file: Writes) -> None:
    """Append `memory` to `file`. Raises OSError where that takes no more."""
    writer = Writer(memory, file)
    writer.add(pieces(memory.data))
    writer.end()


def read(memory: Memory, stream: Stream) -> None:
    """Put what `stream` has into `memory`, which is all zero. Raises StreamError, OSError."""
    with stream.file.open("rb", buffering=0) as file:
        file.seek(stream.offset)
        take(memory, file)


def take(memory: Memory, file: RawIOBase) -> None:
    """Put what comes from `file` into `memory`, up to the end that it says.

    The kernel copies: see tests/kvm/rig.py for what a copy of ours may do to a TCG guest.
    Raises StreamError, OSError.
    """
    found = _HEAD.unpack(_exactly(file, _HEAD.size))
    wanted = (MAGIC, VERSION, memory.base, memory.size)
    if found != wanted:
        raise StreamError(
            "the stream is of other memory, or of another form: it begins with "
            f"{' '.join(f'{n:#x}' for n in found)}, not {' '.join(f'{n:#x}' for n in wanted)}"
        )
    while True:
        address, length = _PIECE.unpack(_exactly(file, _PIECE.size))
        if not length:
            return
        start, end = address - memory.base, address - memory.base + length
        if not 0 <= start < end <= memory.size:
            raise StreamError(f"the stream has {length:#x} bytes at {address:#x}, no memory")
        while start < end:
            with memory.data[start:end] as room:
                count = file.readinto(room)
            if not count:
                raise StreamError("the stream was cut short")
            start += count


def pieces(data: memoryview) -> Iterator[tuple[int, int]]:
    """Where `data` is not zero: (start, end) of whole pages, at most a chunk each."""
    size = len(data)
    for first in range(0, size, CHUNK):
        chunk = bytes(data[first : first + CHUNK])
        if chunk == _ZERO_CHUNK[: len(chunk)]:
            continue
        start = None
        for at in range(0, len(chunk), PAGE):
            zero = chunk[at : at + PAGE] == _ZERO_PAGE
            if start is None and not zero:
                start = at
            elif start is not None and zero:
                yield first + start, first + at
                start = None
        if start is not None:
            yield first + start, first + len(chunk)


def marked(bitmap: bytes, page: int) -> Iterator[tuple[int, int]]:
    """Where the bits of `bitmap`, one a page, the lowest first, are set: (start, end)."""
    start = None
    for at, byte in enumerate(bitmap):
        if not byte and start is None:
            continue
        for bit in range(8):
            number, is_set = 8 * at + bit, byte >> bit & 1
            if is_set and start is None:
                start = number
            elif not is_set and start is not None:
                yield start * page, number * page
                start = None
    if start is not None:
        yield start * page, 8 * len(bitmap) * page


def _exactly(file: RawIOBase, size: int) -> bytes:
    data = b""
    while len(data) < size:
        more = file.read(size - len(data))
        if not more:
            raise StreamError("the stream was cut short")
        data += more
    return data

