"""A log's bytes over all of its segments: each whole, each going on where the one before ends."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator
from os import PathLike, fspath
from pathlib import Path
from typing import IO

from hpcore.log.errors import LogDamaged, LogGap, LogUnreadable
from hpcore.log.header import Header
from hpcore.log.packed import unpacked
from hpcore.log.scan import Scan
from hpcore.log.segments import FIRST, Head, numbers, place_in_log, segment_path
from hpcore.log.tail import Place, Torn
from hpcore.log.versions import Formats

Source = str | PathLike[str] | IO[bytes]

More = Callable[[], bool]
"""Waits until there may be more of a log that is being written; False for no more waiting."""

TRIES = 5
"""To open the oldest segment, which a writer may remove between two looks."""


def no_more() -> bool:
    """What a reader does that takes a log as it is now."""
    return False


class Chain:
    """The segments from the one at `source` on, or of the whole log that is named so.

    A stream is one segment. Segments that end before event `since` are left out. `header` is that
    of the first segment that is read, and `head` what stands at the head of the one that is being
    read. A file is unpacked, and read as text is, but with `as_written`. Raises as `Scan`; close it
    after use.
    """

    def __init__(
        self,
        source: Source,
        formats: Formats,
        more: More = no_more,
        since: int = 1,
        *,
        as_written: bool = False,
    ) -> None:
        self._formats, self._more, self._as_written = formats, more, as_written
        self._owned: IO[bytes] | None = None
        self._last_look = False
        self._closed = False
        if isinstance(source, str | PathLike):
            self._log, self.number = fspath(source), FIRST
            self._scan = self._open_oldest()
            self._come_to(since)
        else:
            self._log, self.number = "", FIRST
            name = str(getattr(source, "name", "stream"))
            self._scan = Scan(source, name, formats, self._again)
        self.header: Header = self._scan.header

    @property
    def name(self) -> str:
        """What error messages call the segment that is being read."""
        return self._scan.name

    @property
    def head(self) -> Head | None:
        """What stands at the head of the segment that is being read."""
        return self._scan.header.segment

    @property
    def first(self) -> int:
        """The number of the first event of the segment that is being read."""
        return self._scan.good.first

    @property
    def torn(self) -> Torn | None:
        """What was left out at the end, once `lines` has ended."""
        return self._scan.torn

    def lines(self) -> Iterator[list[bytes]]:
        """As `Scan.lines`, of all segments. Raises LogGap where one is missing in between."""
        while True:
            yield from self._scan.lines()
            if self._closed or not self._next_is_there():
                return
            self._go_on()

    def close(self) -> None:
        """Read no more of files that were opened here."""
        self._closed = True
        if self._owned is not None:
            self._owned.close()

    # ------------------------------------------------------------------ its files

    def _open_oldest(self) -> Scan:
        """The segment at the path that was given, or else the oldest of the log of that name."""
        named = self._log
        for _ in range(TRIES):
            if os.path.lexists(named):
                break
            there = numbers(named)
            if there:
                self.number = there[0]
                try:
                    return self._open(segment_path(named, self.number))
                except LogUnreadable as error:
                    if not isinstance(error.__cause__, FileNotFoundError):
                        raise
        scan = self._open(named)
        log, number = place_in_log(named)
        self.number = scan.header.number
        if self.number == number:
            self._log = log
        return scan

    def _come_to(self, since: int) -> None:
        """Have the newest segment that begins with event `since` or before it."""
        later = [n for n in numbers(self._log) if n > self.number] if since > 1 else []
        for number in reversed(later):
            path = segment_path(self._log, number)
            with _opened(path) as file:
                first = self._scanned(file, path).header.first
            if first <= since:
                self.number = number
                self._scan = self._open(segment_path(self._log, number))
                return

    def _open(self, path: str) -> Scan:
        file = _opened(path)
        try:
            scan = self._scanned(file, path)
        except BaseException:
            file.close()
            raise
        if self._owned is not None:
            self._owned.close()
        self._owned = file
        return scan

    def _scanned(self, file: io.BufferedReader, path: str) -> Scan:
        """The scan of what is in `file`, which is opened at `path`."""
        if self._as_written:
            return Scan(file, path, self._formats, self._again)
        try:
            stream, packing = unpacked(file)
        except OSError as error:
            raise LogUnreadable(path, error) from error
        if packing is None:
            return Scan(stream, path, self._formats, self._again, as_text=True)
        if self._more is not no_more:
            raise LogUnreadable(path, f"it is packed with {packing}, so nobody goes on with it")
        packed = (f"is packed with {packing}",)
        return Scan(stream, f"{path}, unpacked", self._formats, as_text=True, wrapping=packed)

    def _again(self) -> bool:
        """Whether the segment being read may have grown since it seemed to be at its end.

        Once there is a next segment, this one is as long as it will ever be: one more look.
        """
        if self._last_look:
            return False
        if not self._next_is_there() and self._more():
            return True
        self._last_look = self._next_is_there()
        return self._last_look

    def _next_is_there(self) -> bool:
        if not self._log or self._closed:
            return False
        following = segment_path(self._log, self.number + 1)
        if os.path.lexists(following):
            return True
        later = [n for n in numbers(self._log) if n > self.number]
        if later and not os.path.lexists(following):
            raise LogGap(following, self.name, segment_path(self._log, later[0]))
        return False

    def _go_on(self) -> None:
        """To the next segment, which must begin where this one ends."""
        before, end, torn = self.name, self._scan.good, self._scan.torn
        header = self._scan.header
        if torn is not None:
            raise LogDamaged(
                before, torn.line, f"{torn.why}, and another segment follows", end.first
            )
        self.number += 1
        self._last_look = False
        self._scan = self._open(segment_path(self._log, self.number))
        why = why_not_next(self._scan.header, header, end)
        if why is not None:
            raise LogDamaged(self.name, 1, f"{why}, so it does not go on from {before}")


def _opened(path: str) -> io.BufferedReader:
    try:
        return Path(path).open("rb")
    except OSError as error:
        raise LogUnreadable(path, error) from error


def why_not_next(header: Header, before: Header, end: Place) -> str | None:
    """Why a segment that begins with `header` does not follow one that ends at `end`; or None."""
    head = header.segment
    if head is None:
        return "it is the beginning of a log"
    if head.number != before.number + 1:
        return f"it says that it is segment {head.number}"
    if head.first != end.seq:
        return f"it begins with event {head.first}, and {end.seq} belongs there"
    if head.before != end.sum.decode():
        return f"its line before ended with {head.before}, and that one with {end.sum.decode()}"
    if (header.machine, header.format) != (before.machine, before.format):
        return "it is of another machine, or in another format"
    return None
