"""Writing a log: one writer at a time, each append acknowledged as its policy promises."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable
from os import PathLike, fspath
from typing import NamedTuple, Self

import attrs

from hpcore.log import header as headers
from hpcore.log import segments
from hpcore.log.codec import ANSWERS, BATCH, COUNTED, GROUP, HEARD, Codec, model_codec
from hpcore.log.disk import LogFile
from hpcore.log.errors import (
    EventRefused,
    LogEmpty,
    LogError,
    LogExists,
    LogLocked,
    LogTooOld,
    LogWriteError,
)
from hpcore.log.framing import MAX_BATCH, MAX_LINE, NO_SUM, seal
from hpcore.log.header import Header, Sync
from hpcore.log.recovery import Recovered, Sound, recover
from hpcore.log.scan import Scan
from hpcore.log.segments import Head, Rotation, segment_path
from hpcore.log.tail import Place
from hpcore.log.versions import FORMATS, Fields, Formats
from hpcore.model.states import State

BUFFER = 1 << 18
"""Bytes that a `buffered` writer holds back, at most, between two appends."""

Name = str | PathLike[str]


class Entry(NamedTuple):
    """One decision to be logged: its events, when it was made, and the stimulus that it answers.

    `t` is in seconds. `heard` is how far the accelerator had been heard, a number of its own.
    `counted` is how many decisions this one stands for: itself, and those like it right before.
    """

    events: Iterable[object]
    t: float
    answers: object | None = None
    heard: int | None = None
    counted: int = 1


class LogWriter:
    """The one writer of a log; make it with `create` or `resume`. Not for several threads.

    `header` is the one in the file that is appended to. `recovered` is what `resume` cut off the
    log's end, or None. With a `rotation`, the log is in segments; `settled` begins them.
    """

    def __init__(
        self, name: str, file: LogFile, codec: Codec, sound: Sound, rotation: Rotation | None
    ) -> None:
        self.header: Header = sound.header
        self.recovered: Recovered | None = sound.cut
        self.rotation = rotation
        self._name, self._file, self._codec = name, file, codec
        self._seq, self._sum, self._t = sound.end.seq, sound.end.sum, sound.last_t
        self._heard = None if self.header.segment is None else self.header.segment.heard
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
        rotation: Rotation | None = None,
        codec: Codec | None = None,
        formats: Formats = FORMATS,
    ) -> Self:
        """Start a log at `path`. Its header, and its name, are on the disk on return.

        A file that is there already is refused unless it is empty or a log whose header
        was never finished, and so are later segments of a log of that name; `overwrite` removes
        these, and makes the file empty first, whatever it is.

        Raises LogExists, LogLocked, LogUnreadable, LogWriteError.
        """
        name = fspath(path)
        header = headers.completed(header, sync, formats)
        line, own = seal(headers.encode(header), NO_SUM)
        _make_room(name, overwrite=overwrite)
        file = LogFile.open(name, create=True)
        try:
            if not overwrite and not _is_empty(file, formats):
                raise LogExists(name)
            file.begin(line + b"\n")
        except BaseException:
            file.close()
            raise
        end = Place(1, file.size, own, header.first)
        began = 0.0 if header.segment is None else header.segment.t
        return cls(name, file, codec or model_codec(), Sound(header, end, began, None), rotation)

    @classmethod
    def resume(
        cls,
        path: Name,
        *,
        rotation: Rotation | None = None,
        codec: Codec | None = None,
        formats: Formats = FORMATS,
    ) -> Self:
        """Open the log at `path` to append to it, under the policy in its header.

        The segment that it ends with, of most logs the only one, is verified first and a torn
        tail is cut, which `recovered` reports. Times go on from `last_t`.

        Raises LogLocked, LogUnreadable, LogEmpty, NotALog, LogDamaged, LogTooNew,
        LogWriteError where a torn tail cannot be cut, and LogTooOld for any format but the
        current one: such a log can only be read.
        """
        name = fspath(path)
        file = _open_last(name)
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
        return cls(name, file, codec or model_codec(), sound, rotation)

    @classmethod
    def go_on(
        cls,
        path: Name,
        so_far: bytes,
        *,
        segment: int = segments.FIRST,
        overwrite: bool = False,
        rotation: Rotation | None = None,
    ) -> Self:
        """Start a log named `path` with all that another's `so_far` was, and append to that.

        Where that was a later `segment`, the log begins with that one. Raises as `create` and
        `resume` do.
        """
        name = fspath(path)
        _make_room(name, overwrite=overwrite)
        if overwrite:
            segments.remove(name, [segments.FIRST])
        elif segment != segments.FIRST and os.path.lexists(name):
            raise LogExists(name)
        file = LogFile.open(segment_path(name, segment), create=True)
        try:
            if not _is_empty(file, FORMATS):
                raise LogExists(name)
            file.begin(so_far)
        finally:
            file.close()
        return cls.resume(path, rotation=rotation)

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
        """All of the segment that is written, of most logs the only one, as acknowledged.

        Raises LogWriteError, LogUnreadable.
        """
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
        return self.append_all((Entry(events, t, answers, heard),))

    def append_all(self, entries: Iterable[Entry]) -> int:
        """Append several decisions in one write; as `append`.

        Likewise all of them are acknowledged, or none is.
        """
        self._file.check()
        began = seq = self._seq
        before, heard, t = self._sum, self._heard, self._t
        lines: list[bytes] = []
        encode, dump = self._codec.encode, self._codec.dump
        for entry in entries:
            first, t = seq, _checked_time(entry.t, t)
            for event in entry.events:
                fields = encode(event, seq, t)
                if seq != first:
                    fields[BATCH] = first
                elif entry[2:] != _BARE:
                    fields |= self._first_line(entry)
                    heard = heard if entry.heard is None else max(heard or 0, entry.heard)
                if first != began:
                    fields[GROUP] = began
                line, before = seal(dump(fields), before)
                if len(line) > MAX_LINE:
                    raise EventRefused(
                        f"event {fields['event']}: its line has {len(line)} bytes; "
                        f"a log holds {MAX_LINE} at most"
                    )
                lines.append(line)
                seq += 1
        if not lines:
            return began
        lines.append(b"")
        data = b"\n".join(lines)
        if len(data) > MAX_BATCH:
            raise EventRefused(
                f"{seq - began} events make {len(data)} bytes; append at most {MAX_BATCH} at a time"
            )
        if self.header.sync is Sync.BUFFERED:
            self._buffer += data
            if len(self._buffer) > BUFFER:
                self.flush()
        else:
            self._file.append(data, durable=self.header.sync is Sync.DURABLE)
        self._seq, self._sum, self._t, self._heard = seq, before, t, heard
        return began

    def settled(self, state: State) -> None:
        """Say that the events so far have led to `state`, and nothing of it is left to append.

        Where the segment is full by the log's `rotation`, a new one begins, with this state at
        its head. The one before is on the disk by then, whatever the policy. Raises
        LogWriteError.
        """
        if self.rotation is None or self._file.size < self.rotation.size:
            return
        if self._seq == self.header.first:  # a state of this size leaves room for nothing else
            return
        if self._begin_segment(state, self.header.kept) and self.rotation.keep is not None:
            most = self.header.number - self.rotation.keep
            segments.remove(self._name, [n for n in segments.numbers(self._name) if n <= most])

    def moved(self, state: State, kept: str | None) -> None:
        """Say that the machine, whose `state` the events so far have led to, is another one from
        here on, which lives at `kept` and was not heard yet: see Header. A new segment says so.

        Raises LogWriteError.
        """
        self._heard = None
        if not self._begin_segment(state, kept):
            why = "the machine's state is too large for the head of a segment"
            raise LogWriteError(self._name, why)

    def _begin_segment(self, state: State, kept: str | None) -> bool:
        """Go on in a new segment; False where the state takes more than a line can have."""
        self.sync()
        number = self.header.number + 1
        head = Head(
            number, self._seq, self._t, self._sum.decode(), state.shared, state.slots, self._heard
        )
        header = attrs.evolve(self.header, segment=head, kept=kept)
        line, own = seal(headers.encode(header), NO_SUM)
        if len(line) > MAX_LINE:
            return False
        path = segment_path(self._name, number)
        full, self._file = self._file, LogFile.begun(path, path + segments.UNFINISHED, line + b"\n")
        self.header, self._sum = header, own
        full.close()
        return True

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

    def _first_line(self, entry: Entry) -> Fields:
        fields: Fields = {}
        if entry.answers is not None:
            fields[ANSWERS] = self._codec.encode_stimulus(entry.answers)
        if entry.heard is not None:
            fields[HEARD] = entry.heard
        if entry.counted != 1:
            fields[COUNTED] = entry.counted
        return fields


_BARE = (None, None, 1)
"""What an entry has beside its events and their time, where it has nothing."""


def _checked_time(t: float, last: float) -> float:
    if not math.isfinite(t):
        raise EventRefused(f"a time of {t!r} seconds is no time")
    t = round(float(t), 6)
    if t < last:
        raise EventRefused(
            f"a time of {t} seconds is before the last event's, {last}; after "
            "resume, go on from last_t"
        )
    return t


def _make_room(name: str, *, overwrite: bool) -> None:
    """See to it that no later segment of a log named `name` is there.

    The newest goes first: whatever is left by then is a log that ends earlier. Raises LogExists,
    LogLocked, LogUnreadable.
    """
    later = [number for number in segments.numbers(name) if number > segments.FIRST]
    if later and not overwrite:
        raise LogExists(name)
    for number in reversed(later):
        LogFile.open(segment_path(name, number)).close()  # nobody writes it
        segments.remove(name, [number])


def _open_last(name: str) -> LogFile:
    """The file of the last segment, opened and locked. Raises LogUnreadable, LogLocked."""
    there = segments.numbers(name) or [segments.FIRST]
    file = LogFile.open(segment_path(name, there[-1]))
    if segments.numbers(name)[-1:] not in ([], there[-1:]):
        file.close()
        raise LogLocked(name)  # by whoever has begun a segment just now
    return file


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
