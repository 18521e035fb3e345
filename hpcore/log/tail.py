"""Is the end of a log torn, as a crash leaves it, or damaged?

A writer never changes what it has written; it only appends, one `append` at a time. So
a crash can only spoil the lines of the last append (for `durable`) or of the last few
(for the others, after a loss of power). It does so in two ways:

- **Cut short.** The process died within its write. The file ends within a line: what is
  there is the beginning of a line, without a newline.
- **Holes.** The host lost power. The disk wrote the sectors in any order, or made the file
  longer before it wrote them; those that are missing read as NUL bytes. A line in JSON
  never has a NUL byte, and a hole begins where the append began or at a sector, and ends
  at a sector or with the file.

Both are *torn*: nobody was told that these events are safe (`durable`), or the policy
promised nothing for a loss of power (the others). The tail is cut at the last whole line
before. It is *damage*, and never cut, where
- a line is whole, newline included, and its checksum is wrong, without any hole: no crash
  does that;
- a line after the first wrong one belongs to an append that began after the hole (the
  line's `group` or `batch`, or its own seq): that append was made once the one before it was
  over, so acknowledged events are missing;
- a NUL byte stands where no sector begins or ends;
- a whole, sealed line has something other than a newline or a hole after it;
- it is longer than any append.

A policy that does not sync can lose several appends to a loss of power, holes and whole
lines mixed. That is reported as damage: only a person can say that so much may go.
"""

from __future__ import annotations

import re

import orjson
from attrs import frozen

from hpcore.log.codec import BATCH, GROUP
from hpcore.log.framing import (
    END,
    MAX_BATCH,
    MAX_LINE,
    SUM_KEY,
    SUM_WIDTH,
    TAIL,
    checksum,
    is_sealed,
    sum_of,
)

SECTOR = 512
"""The least that a disk writes whole. Larger ones are multiples of it."""

_HOLE = re.compile(rb"\0+")
_SEALED = re.compile(SUM_KEY + rb"[0-9a-f]{%d}" % SUM_WIDTH + END)


@frozen
class Torn:
    """The log ends in `bytes` bytes that make no whole line, at `offset`, line `line`."""

    line: int
    offset: int
    bytes: int
    why: str

    def __str__(self) -> str:
        return f"line {self.line}: {self.why}; {self.bytes} bytes are left out"


@frozen
class Place:
    """How far a file is good: `lines` whole lines in `offset` bytes, the last one's `sum`.

    `first` is the seq that belongs on its second line, after the header.
    """

    lines: int
    offset: int
    sum: bytes
    first: int = 1

    @property
    def seq(self) -> int:
        """The seq that belongs on the next line."""
        return self.first - 1 + self.lines


def judge(rest: bytes, good: Place) -> Torn | str:
    """What the bytes after the good ones are: a torn tail, or damage and why.

    `rest` is all there is up to the end of the file, or the first MAX_BATCH + 1 bytes.
    """
    line, newline, after = rest.partition(b"\n")
    damage = explain(line, good) if newline else None
    holes = list(_HOLE.finditer(rest))
    if len(rest) > MAX_BATCH:
        return damage or f"{len(rest)} bytes and more without a line, longer than any append"
    if damage is not None and b"\0" not in line:
        return damage
    if not holes and (overlong := _overlong(rest, good)):
        return overlong
    for hole in holes:
        if not _is_lost_sectors(hole, good.offset, len(rest)):
            at = good.offset + hole.start()
            return f"a NUL byte at offset {at}, where no lost sector would leave one"
    if after:
        later = _later_append(after, good.seq)
        if later is not None:
            return f"{damage}; and seq {later} was appended after it"
    why = "sectors were lost" if holes else "it breaks off"
    return Torn(good.lines + 1, good.offset, len(rest), why)


def explain(line: bytes, good: Place) -> str:
    """What is wrong with a line that ends in a newline and is not what belongs there."""
    if len(line) > MAX_LINE:
        return f"it is {len(line)} bytes long; no line is longer than {MAX_LINE}"
    try:
        fields = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        return f"it is not JSON: {error}"
    if line.endswith(b"\r"):
        return "it ends in CRLF, and a log's lines in LF"
    if not isinstance(fields, dict) or not _SEALED.fullmatch(line[-TAIL - len(SUM_KEY) :]):
        return "it does not end in a checksum"
    why = []
    seq = fields.get("seq")
    if seq != good.seq:
        why.append(f"it has seq {seq!r} where {good.seq} belongs")
    if not is_sealed(line, good.sum):
        is_now = sum_of(line).decode()
        must_be = checksum(good.sum, line[:-TAIL]).decode()
        why.append(f"its checksum is {is_now}, but its bytes and the line before make {must_be}")
    return " and ".join(why) or "its fields are wrong"


def _overlong(rest: bytes, good: Place) -> str | None:
    """Why `rest`, without newline and holes, is more than the beginning of a line."""
    if len(rest) > MAX_LINE:
        return f"it is more than {MAX_LINE} bytes long, as no line is"
    for end in _SEALED.finditer(rest):
        if end.end() < len(rest) and is_sealed(rest[: end.end()], good.sum):
            return f"it is whole, but {rest[end.end() : end.end() + 1]!r} is where it must end"
    return None


def _is_lost_sectors(hole: re.Match[bytes], offset: int, length: int) -> bool:
    begins = hole.start() == 0 or (offset + hole.start()) % SECTOR == 0
    ends = hole.end() == length or (offset + hole.end()) % SECTOR == 0
    return begins and ends


def _later_append(after: bytes, expected: int) -> int | None:
    """The seq of a line in `after` that an append begun later than `expected` wrote."""
    for piece in after.split(b"\n"):
        try:
            fields = orjson.loads(piece.lstrip(b"\0"))
        except orjson.JSONDecodeError:
            continue
        if not isinstance(fields, dict):
            continue
        seq = fields.get("seq")
        began = fields.get(GROUP, fields.get(BATCH, seq))
        if type(seq) is int and type(began) is int and began > expected:
            return seq
    return None
