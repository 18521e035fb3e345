"""The one recovery path: every open for append goes through it, after a crash or not.

The whole log is verified, checksum by checksum. A torn tail is cut; `tail` says what
that is. Anything else that is wrong is an error, and the file is left as it is.
"""

from __future__ import annotations

import os
from typing import IO

import orjson
from attrs import frozen

from hpcore.log.errors import LogDamaged, LogWriteError
from hpcore.log.header import Header
from hpcore.log.scan import Scan
from hpcore.log.tail import Place
from hpcore.log.versions import Formats


@frozen
class Recovered:
    """`cut_bytes` were cut off a log, from where its line `at_line` began."""

    cut_bytes: int
    at_line: int
    why: str

    def __str__(self) -> str:
        return f"cut {self.cut_bytes} bytes at line {self.at_line}: {self.why}"


@frozen
class Sound:
    """A log that ends with a whole line: its header, its end, and what was cut, if any.

    `last_t` is the time of the last event in seconds; 0 where there is none.
    """

    header: Header
    end: Place
    last_t: float
    cut: Recovered | None


def recover(file: IO[bytes], name: str, formats: Formats) -> Sound:
    """Verify the log `file`, open for reading and writing, and cut a torn tail.

    The cut is on the disk when this returns. Raises what Scan and Scan.lines raise, and
    LogWriteError where the tail cannot be cut.
    """
    scan = Scan(file, name, formats)
    last = b""
    for lines in scan.lines():
        last = lines[-1]
    head = scan.header.segment
    began = 0.0 if head is None else head.t
    last_t = _time_of(last, name, scan.good) if last else began
    torn = scan.torn
    if torn is None:
        return Sound(scan.header, scan.good, last_t, None)
    try:
        os.ftruncate(file.fileno(), torn.offset)
        os.fsync(file.fileno())
    except OSError as error:
        why = f"its torn end cannot be cut: {error.strerror or error}"
        raise LogWriteError(name, why, cut_back=False) from error
    return Sound(scan.header, scan.good, last_t, Recovered(torn.bytes, torn.line, torn.why))


def _time_of(line: bytes, name: str, good: Place) -> float:
    """When the last event was; also a last check of the line that appends go after."""
    try:
        fields = orjson.loads(line)
        if fields["seq"] == good.seq - 1:
            return float(fields["t"])
        why = f"it is sealed, but has seq {fields['seq']!r}"
    except (ValueError, LookupError, TypeError):
        why = "it is sealed, but is no event"
    raise LogDamaged(name, good.lines, why, good.first)
