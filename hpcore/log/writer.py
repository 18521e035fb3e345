"""Writing a log: one writer at a time, each append acknowledged as its policy promises."""

from __future__ import annotations

import math
from collections.abc import Iterable
from os import PathLike, fspath
from typing import Self

from hpcore.log import header as headers
from hpcore.log.codec import ANSWERS, BATCH, HEARD, Codec, model_codec
from hpcore.log.disk import LogFile
from hpcore.log.errors import EventRefused, LogEmpty, LogError, LogExists, LogTooOld
from hpcore.log.framing import MAX_BATCH, MAX_LINE, NO_SUM, seal
from hpcore.log.header import Header, Sync
from hpcore.log.recovery import Recovered, Sound, recover
from hpcore.log.scan import Scan
from hpcore.log.tail import Place
from hpcore.log.versions import FORMATS, Fields, Formats

BUFFER = 1 << 18
"""Bytes that a `buffered` writer holds back, at most, between two appends."""

Name = str | PathLike[str]


class LogWriter:
    """The one writer of a log; make it with `create` or `resume`. Not for several threads.

    `header` is the one in the file. `recovered` is what `resume` cut off the log's end,
    or None.
    """

    def __init__(self, file: LogFile, codec: Codec, sound: Sound) -> None:
        self.header: Header = sound.header
        self.recovered: Recovered | None = sound.cut
        self._file, self._codec = file, codec
        self._seq, self._sum, self._t = sound.end.lines, sound.end.sum, sound.last_t
        self._buffer = bytearray()

    # ------------------------------------------------------------------- opening

    @classmethod
    def create(
        cls,
        path: Name,
        header: Header,
        *,
        sync: Sync = Sync.DURABLE,
        overwrite: bool = False,
        codec: Codec | None = None,
        formats: Formats = FORMATS,
    ) -> Self:
        """Start a log at `path`. Its header, and its name, are on the disk on return.

        A file that is there already is refused unless it is empty or a log whose header
        was never finished; `overwrite` makes it empty first, whatever it is.

        Raises LogExists, LogLocked, LogUnreadable, LogWriteError.
        """
        name = fspath(path)
        header = headers.completed(header, sync, formats)
        line, own = seal(headers.encode(header), NO_SUM)
        file = LogFile.open(name, create=True)
        try:
            if not overwrite and not _is_empty(file, formats):
                raise LogExists(name)
            file.begin(line + b"\n")
        except BaseException:
            file.close()
            raise
        end = Place(1, file.size, own)
        return cls(file, codec or model_codec(), Sound(header, end, 0.0, None))

    @classmethod
    def resume(cls, path: Name, *, codec: Codec | None = None, formats: Formats = FORMATS) -> Self:
        """Open the log at `path` to append to it, under the policy in its header.

        The whole log is verified first and a torn tail is cut, which `recovered` reports.
        Times go on from `last_t`.

        Raises LogLocked, LogUnreadable, LogEmpty, NotALog, LogDamaged, LogTooNew,
        LogWriteError where a torn tail cannot be cut, and LogTooOld for any format but the
        current one: such a log can only be read.
        """
        file = LogFile.open(fspath(path))
        try:
            with file.stream() as stream:
                sound = recover(stream, file.name, formats)
            if sound.header.format != formats.current:
                raise LogTooOld(
                    f"{file.name}: the log's format is {sound.header.format}; this hpcore "
                    f"appends to {formats.current} only. Read it, and write a new log"
                )
        except BaseException:
            file.close()
            raise
        file.size = sound.end.offset
        return cls(file, codec or model_codec(), sound)

    @classmethod
    def go_on(cls, path: Name, so_far: bytes, *, overwrite: bool = False) -> Self:
        """Start a log at `path` with all that another's `so_far` was, and append to that.

        Raises as `create` and `resume` do.
        """
        file = LogFile.open(fspath(path), create=True)
        try:
            if not overwrite and not _is_empty(file, FORMATS):
                raise LogExists(fspath(path))
            file.begin(so_far)
        finally:
            file.close()
        return cls.resume(path)

    # ----------------------------------------------------------------- appending

    @property
    def next_seq(self) -> int:
        """The seq that the next event will have."""
        return self._seq

    @property
    def last_t(self) -> float:
        """The time of the last event, in seconds; no later one may be smaller."""
        return self._t

    @property
    def so_far(self) -> bytes:
        """All of the log's file, as acknowledged. Raises LogWriteError, LogUnreadable."""
        self.flush()
        with self._file.stream() as stream:
            return stream.read(self._file.size)

    def append(
        self,
        events: Iterable[object],
        t: float,
        answers: object | None = None,
        heard: int | None = None,
    ) -> int:
        """Append one decision's `events`, made at `t` seconds; return the seq of the first.

        `answers` is the stimulus that they answer, and `heard` how far the accelerator had been
        heard, a number of its own; both stand on the first line.

        On return they are as safe as the log's policy says. It is one write for all of
        them, and at most one fdatasync. `t` is kept to the microsecond.

        Raises EventRefused for an event or a time that the log cannot hold; then nothing
        was written, and the writer goes on. Raises LogWriteError for a full disk, an I/O
        error or a closed writer; then none of `events` is acknowledged, and the writer is
        dead: it refuses every later append. A `buffered` writer may learn of the failure
        some appends late, and loses what it held back.
        """
        self._file.check()
        t = self._checked_time(t)
        first = seq = self._seq
        before = self._sum
        lines: list[bytes] = []
        encode, dump = self._codec.encode, self._codec.dump
        for event in events:
            fields = encode(event, seq, t)
            if seq != first:
                fields[BATCH] = first
            elif answers is not None or heard is not None:
                fields |= self._first_line(answers, heard)
            line, before = seal(dump(fields), before)
            if len(line) > MAX_LINE:
                raise EventRefused(
                    f"event {fields['event']}: its line has {len(line)} bytes; "
                    f"a log holds {MAX_LINE} at most"
                )
            lines.append(line)
            seq += 1
        if not lines:
            return first
        lines.append(b"")
        data = b"\n".join(lines)
        if len(data) > MAX_BATCH:
            raise EventRefused(
                f"{seq - first} events make {len(data)} bytes; append at most {MAX_BATCH} at a time"
            )
        if self.header.sync is Sync.BUFFERED:
            self._buffer += data
            if len(self._buffer) > BUFFER:
                self.flush()
        else:
            self._file.append(data, durable=self.header.sync is Sync.DURABLE)
        self._seq, self._sum, self._t = seq, before, t
        return first

    def flush(self) -> None:
        """Hand to the kernel what a `buffered` writer holds back. Raises LogWriteError."""
        if self._buffer:
            data = bytes(self._buffer)
            self._buffer.clear()
            # These appends have long returned: whatever is whole of them is worth keeping.
            self._file.append(data, durable=False, keep_lines=True)

    def sync(self) -> None:
        """Make every event so far survive a loss of power. Raises LogWriteError."""
        self.flush()
        self._file.append(b"", durable=True)

    def close(self) -> None:
        """Flush, and let go of the log; a second time does nothing. Raises LogWriteError."""
        try:
            self.flush()
        finally:
            self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _first_line(self, answers: object | None, heard: int | None) -> Fields:
        fields: Fields = {}
        if answers is not None:
            fields[ANSWERS] = self._codec.encode_stimulus(answers)
        if heard is not None:
            fields[HEARD] = heard
        return fields

    def _checked_time(self, t: float) -> float:
        if not math.isfinite(t):
            raise EventRefused(f"a time of {t!r} seconds is no time")
        t = round(float(t), 6)
        if t < self._t:
            raise EventRefused(
                f"a time of {t} seconds is before the last event's, {self._t}; after "
                "resume, go on from last_t"
            )
        return t


def _is_empty(file: LogFile, formats: Formats) -> bool:
    """Whether the file has nothing in it that was ever acknowledged."""
    with file.stream() as stream:
        try:
            Scan(stream, file.name, formats)
        except LogEmpty:
            return True
        except LogError:
            return False
    return False
