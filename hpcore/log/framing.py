"""How a line is sealed: its checksum covers its own bytes and the line before.

A line is `{...,"sum":"<16 hex digits>"}` and a newline. The checksum is BLAKE2b with
an 8-byte digest, over the 16 digits that end the line before (none, for the header)
followed by the line's own bytes up to its own 16 digits. So an edit, an insertion, a
deletion and a swap each break the first line that they touch, and nobody gets away
with an edit short of sealing all later lines again.

BLAKE2b rather than CRC-32: in bench/log.py's reading loop it costs some 0.1 us a line
more, and misses one edit in 2**64 instead of one in 2**32. It is no signature; whoever
wants to forge a log can.
"""

from __future__ import annotations

from hashlib import blake2b

MAGIC = b'{"format":"hpcore-log","version":"'
"""What every header starts with, in every version of the format."""

SUM_KEY = b',"sum":"'
END = b'"}'
SUM_WIDTH = 16
TAIL = SUM_WIDTH + len(END)
"""Bytes of a line, without its newline, that its checksum does not cover."""

NO_SUM = b""
"""What the header's checksum is chained to."""

MAX_LINE = 1 << 20
"""Bytes of the longest line. Longer ones are neither written nor read."""

MAX_BATCH = 16 << 20
"""Bytes of the longest append, and so of the longest tail that a crash can tear."""


def checksum(before: bytes, head: bytes) -> bytes:
    """The 16 digits of a line whose bytes before them are `head`, after the line `before`."""
    return blake2b(before + head, digest_size=8).hexdigest().encode()


def seal(fields: bytes, before: bytes) -> tuple[bytes, bytes]:
    """The line, without newline, of a JSON object that has no sum yet, and its checksum."""
    head = fields[:-1] + SUM_KEY
    own = checksum(before, head)
    return head + own + END, own


def is_sealed(line: bytes, before: bytes) -> bool:
    """Whether `line`, without newline, ends in the checksum that belongs to it."""
    return line[-TAIL:] == checksum(before, line[:-TAIL]) + END


def sum_of(line: bytes) -> bytes:
    """The 16 digits that a sealed line ends with."""
    return line[-TAIL : -len(END)]
