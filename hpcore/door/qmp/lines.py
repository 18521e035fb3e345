"""What the real QEMU says on a monitor, cut into messages: one is told from what it is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from enum import Enum, auto

import orjson
from attrs import frozen


class Kind(Enum):
    """What QEMU says of its own accord, and what it says when asked."""

    GREETING = auto()
    EVENT = auto()
    ANSWER = auto()


@frozen
class Said:
    """One message, as it came, and what is in it, as far as that can be read."""

    raw: bytes
    kind: Kind
    content: dict[str, object]
    descriptors: Sequence[int] = ()


def read(raw: bytes, descriptors: Sequence[int] = ()) -> Said:
    """Tell what a message is.

    QEMU writes numbers that JSON does not have (`inf`), and only in answers.
    """
    try:
        content = orjson.loads(raw)
    except orjson.JSONDecodeError:
        content = {}
    kind = Kind.EVENT if "event" in content else Kind.ANSWER
    return Said(raw, Kind.GREETING if "QMP" in content else kind, content, descriptors)


class Lines:
    """Takes a monitor's bytes as they come. A message ends with a line that ends in a brace.

    With `pretty=on` a message has many lines, of which only the first and the last begin with
    one; without, it has one line.
    """

    def __init__(self) -> None:
        self._kept: list[bytes] = []  # pieces of the message under way, each to a line's end
        self._line = bytearray()
        self._descriptors: list[int] = []

    def feed(self, data: bytes, descriptors: Sequence[int] = ()) -> Iterator[Said]:
        """The messages that end in `data`; descriptors go with the next one that ends."""
        self._descriptors += descriptors
        self._line += data
        *lines, rest = self._line.split(b"\n")
        self._line = rest
        for line in lines:
            self._kept.append(bytes(line) + b"\n")
            bare = line.rstrip(b"\r")
            if bare == b"}" or (bare.startswith(b"{") and bare != b"{"):
                raw = b"".join(self._kept)
                self._kept.clear()
                taken, self._descriptors = self._descriptors, []
                yield read(raw, taken)
