"""Files as sightings: each line is recognised by what it holds, and each file has its clock.

A line is tried as QEMU's trace, as QMP, as a console's and as QEMU's own words, in this order, so
that files in which several writers have met are read as well.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable, Iterator
from enum import StrEnum

from attrs import field, mutable

from hpcore.foreign import console, process, qmp, trace
from hpcore.foreign import seen as s
from hpcore.foreign.source import Lines, SourceError
from hpcore.log.foreign import is_a_line

Progress = Callable[[str], None]
WINDOW = 128
"""Sightings of one trace that may stand in another order than that of their times: QEMU's threads
take the time first, and then wait for each other to print."""
TOLD_EVERY = 200_000
"""Lines between two words of progress."""
SAID_MOST = 20
"""Remarks about one file; there may be millions of lines that are none."""
WALL = 1e8
"""Seconds: a clock that is beyond began in 1970."""


class Clock(StrEnum):
    """What the times in a file are."""

    HOST = "the host's clock"
    MONOTONIC = "the host's monotonic clock"
    STAMPS = "QEMU's times of its events alone"
    PRINTK = "the guest's own clock"
    NONE = "none"


@mutable
class File:
    """What became of one file."""

    path: str
    place: str | None = None
    """Where it can be opened, if that is elsewhere."""
    lines: int = 0
    formats: Counter[str] = field(factory=Counter)
    """Lines by what they were recognised as."""
    unknown: int = 0
    first_unknown: int | None = None
    clock: Clock = Clock.NONE
    first: float = 0.0
    """The first time in it, on its own clock: what stands before has none that is earlier."""
    offset: float = 0.0
    """To be added to the file's times, to have them on the host's clock."""
    doubt: float = 0.0
    """By how many seconds the order against other files may be wrong."""
    said: list[str] = field(factory=list)
    whole: bool = True
    packed: str | None = None
    repeated: int = 0

    @property
    def format(self) -> str | None:
        """What most of the file's lines that could be used are."""
        return self.formats.most_common(1)[0][0] if self.formats else None


def read(file: File, progress: Progress = lambda _text: None) -> Iterator[s.Sighting]:
    """The sightings of one file in the order of its lines, on its own clock; fills in `file`.

    Raises SourceError for a file that cannot be read, or in which a log of hpcore's is.
    """
    path = file.path
    lines = Lines(path, file.place)
    transcript, guest = qmp.Reader(), console.Reader()
    name, number, traced = lines.name, 0, 0
    file.lines = file.unknown = 0
    file.formats = Counter()
    for raw in lines:
        text = raw
        number += 1
        if number % TOLD_EVERY == 0:
            progress(f"{path}: {number:,} lines")
        if is_a_line(text):
            raise SourceError(
                f"{path}: line {lines.number} is one of a log of hpcore's, which is not imported. "
                "`hpcore triage` judges a log as it is, and `hpcore replay` says why a file is none"
            )
        found = trace.line(text)
        if found is not None:
            traced += 1
            what, t, thread = found
            if what is not None:
                yield s.Sighting(what, s.Place(name, lines.number), t, thread, trace.FORMAT)
            continue
        place = s.Place(name, lines.number)
        glued = trace.cut_out(text) if "@" in text else None
        if glued is not None and (cut := trace.line(glued)) is not None:
            traced += 1
            if cut[0] is not None:
                yield s.Sighting(cut[0], place, cut[1], cut[2], trace.FORMAT)
            text = text[: -len(glued)]
        yield from _others(text, place, transcript, guest, file)
    if traced:
        file.formats[trace.FORMAT] = traced
    file.lines, file.whole, file.packed = lines.number, lines.ended_whole, lines.packed
    file.said = lines.said[:SAID_MOST]
    file.repeated = guest.again
    if transcript.given_up or transcript.inside:
        file.said.append(f"{path}: {transcript.given_up + transcript.inside} messages began and "
                         "have no end; they are left out")


def _others(
    text: str, place: s.Place, transcript: qmp.Reader, guest: console.Reader, file: File
) -> Iterator[s.Sighting]:
    message = transcript.line(text)
    if message is not None:
        file.formats[qmp.FORMAT] += 1
        if message[0] is not None:
            yield s.Sighting(message[0], place, message[1], None, qmp.FORMAT)
        return
    printed = guest.line(text)
    if printed is not None:
        file.formats[console.FORMAT] += 1
        what, host, printk = printed
        if what is not None:
            yield s.Sighting(what, place, host or printk, None, console.FORMAT)
        return
    words = process.line(text)
    if words is not None:
        file.formats[process.FORMAT] += 1
        yield s.Sighting(words, place, qmp.time_in(text), None, process.FORMAT)
    elif text.strip():
        file.unknown += 1
        if file.first_unknown is None:
            file.first_unknown = place.line


def timed(sightings: Iterator[s.Sighting], file: File) -> Iterator[tuple[float, s.Sighting]]:
    """Sightings with a time each on the host's clock, in the order of these times.

    What has no time of its own has the one before it. A clock that goes backwards for longer than
    a few lines is one that was set, or that of a guest which has booted anew: the order of the
    lines holds.
    """
    window: list[tuple[float, int, s.Sighting]] = []
    last, out, base = file.first, 0.0, 0.0
    for number, sighting in enumerate(sightings):
        own = own_time(sighting, file.clock)
        if own is not None:
            if own + base < last - 1.0 and file.clock is Clock.PRINTK:
                base = last - own
            last = own + base
        now = last + file.offset
        heapq.heappush(window, (now, number, sighting))
        if len(window) > WINDOW:
            t, _, first = heapq.heappop(window)
            out = max(out, t)
            yield out, first
    while window:
        t, _, first = heapq.heappop(window)
        out = max(out, t)
        yield out, first


def own_time(sighting: s.Sighting, clock: Clock) -> float | None:
    """The time that a sighting says itself, of those that `clock` is of."""
    if clock is Clock.STAMPS:
        return sighting.what.stamp if isinstance(sighting.what, s.Told) else None
    if sighting.t is None or clock is Clock.NONE:
        return None
    if clock is Clock.HOST and sighting.t < WALL:
        return None
    return sighting.t


def in_order(files: list[File], progress: Progress) -> Iterator[tuple[float, s.Sighting]]:
    """The sightings of all files, in one order by their clocks."""
    def one(index: int, file: File) -> Iterator[tuple[float, int, int, s.Sighting]]:
        for n, (t, sighting) in enumerate(timed(read(file, progress), file)):
            yield t, index, n, sighting

    for t, _, _, sighting in heapq.merge(*(one(i, file) for i, file in enumerate(files))):
        yield t, sighting
