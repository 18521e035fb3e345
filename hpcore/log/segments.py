"""The segments of a log: their files, and what stands at the head of each but the first.

A log that is asked to be kept in pieces grows in the file that it is named by, then in files
named after that one:

    run.jsonl  run.jsonl.000002  run.jsonl.000003

Each is read like a log of its own. Its header says what was before it: the state (`Head`),
and the checksum that the line before ended with, so that segments form one chain. The oldest
may be removed, the first one too: what is left is a log that begins with a state.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
from collections.abc import Iterator
from pathlib import Path

from attrs import field, frozen, validators

from hpcore.log.errors import LogUnreadable
from hpcore.model.states import Shared, Slot

FIRST = 1
"""The number of the segment that a log begins with."""
UNFINISHED = ".new"
"""Ends the name of a segment whose header is not yet on the disk. A crash may leave one, which
nobody reads."""
LEAST_SIZE = 4096
"""Bytes of a segment, at least: less would be little more than a header."""

_SIZE = re.compile(r"(?P<number>\d{1,12})(?P<unit>[kKmMgG]?)(i?[bB])?", re.ASCII)
_SHIFTS = {"": 0, "K": 10, "M": 20, "G": 30}

_NUMBERED = re.compile(r"(?P<log>.+)\.(?P<number>\d{6,})", re.DOTALL)


@frozen
class Rotation:
    """When a new segment begins, and how many are kept.

    A segment that has grown to `size` bytes is the last one no longer. Of all segments, `keep`
    are kept; None keeps all of them.
    """

    size: int = field(validator=validators.ge(LEAST_SIZE))
    keep: int | None = field(default=None, validator=validators.optional(validators.ge(1)))

    @staticmethod
    def size_of(text: str) -> int:
        """The bytes that a person means by `text`, such as 32M. Raises ValueError with the rule."""
        found = _SIZE.fullmatch(text.strip())
        size = int(found["number"]) << _SHIFTS[found["unit"].upper()] if found else 0
        if size < LEAST_SIZE:
            raise ValueError(f"{text!r} is no size of a segment; give one from 4K on, as in 32M")
        return size


@frozen
class Head:
    """What was before a segment: the last of `first` - 1 events was at `t` seconds.

    `number` counts segments from 1, `before` is the checksum of the line before, and `heard` how
    far the accelerator had been heard by then, where a line said so. `shared` and `slots` are
    the state that those events led to.
    """

    number: int = field(validator=validators.gt(FIRST))
    first: int = field(validator=validators.gt(1))
    t: float
    before: str
    shared: Shared
    slots: tuple[Slot, ...]
    heard: int | None = None


def segment_path(log: str, number: int) -> str:
    """The file of segment `number` of the log that is named `log`."""
    return log if number == FIRST else f"{log}.{number:06}"


def place_in_log(path: str) -> tuple[str, int]:
    """The log's name and the segment's number that `path` is the name of.

    Whether such a file is that segment, its header says.
    """
    found = _NUMBERED.fullmatch(path)
    if found is None or int(found["number"]) <= FIRST:
        return path, FIRST
    return found["log"], int(found["number"])


def numbers(log: str) -> list[int]:
    """The numbers of the segments that are there of the log named `log`, in order.

    Raises LogUnreadable where their directory cannot be read.
    """
    there = [FIRST] if os.path.lexists(log) else []
    return there + sorted(_later(Path(log)))


def _later(log: Path) -> Iterator[int]:
    try:
        with os.scandir(log.parent) as entries:
            for entry in entries:
                name, number = place_in_log(entry.name)
                if name == log.name and number > FIRST:
                    yield number
    except FileNotFoundError:
        return
    except OSError as error:
        raise LogUnreadable(str(log), error) from error


def is_written(log: str) -> bool:
    """Whether a writer has the log named `log`."""
    try:
        there = numbers(log) or [FIRST]
        with Path(segment_path(log, there[-1])).open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except (OSError, LogUnreadable):
        return False
    return False


def remove(log: str, doomed: list[int]) -> None:
    """Remove these segments of the log; one that is gone already is no matter."""
    for number in doomed:
        with contextlib.suppress(FileNotFoundError):
            Path(segment_path(log, number)).unlink()
