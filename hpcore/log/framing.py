"""How a line is sealed: its checksum covers its own bytes and the line before.

A line is `{...,"sum":"<16 hex digits>"}` and a newline. The checksum is BLAKE2b with
an 8-byte digest, over the 16 digits that end the line before (none, for the header)
followed by the line's own bytes up to its own 16 digits. So an edit, an insertion, a
deletion and a swap each break the first line that they touch, and nobody gets away
with an edit short of sealing all later lines again.

To verify a line of 120 bytes takes, in Python 3.11 on one x86 machine (medians), 0.65 us
with BLAKE2b, 0.46 with CRC-32, 0.82 with SHA-256, 0.85 with SHA-1 and 0.96 with MD5.
CRC-32 would make reading some 7 % faster, and miss one edit in 2**32 rather than one in
2**64. Neither is a signature: whoever wants to forge a log can.
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
