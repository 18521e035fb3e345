"""Reading a log: every line is verified, decoded, and given out in order."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterator, Mapping
from os import PathLike, fspath
from pathlib import Path
from typing import Any, NamedTuple, Self

import orjson

from hpcore.log.chain import Chain, More, Source, no_more
from hpcore.log.codec import ANSWERS, BATCH, COUNTED, GROUP, HEARD, Codec, model_codec
from hpcore.log.errors import LogDamaged, LogTooNew, LogUnreadable
from hpcore.log.foreign import BOM, no_text
from hpcore.log.forms import WrongFields
from hpcore.log.framing import MAGIC
from hpcore.log.header import Header
from hpcore.log.packed import PackedDamaged, unpacked
from hpcore.log.segments import Head, numbers, segment_path
from hpcore.log.tail import Torn
from hpcore.log.versions import FORMATS, Formats
from hpcore.model.events import Event
from hpcore.model.stimuli import Stimulus
from hpcore.version import __version__


class Record(NamedTuple):
    """One event of a log.

    `seq` counts from 1. `t` is in seconds on a monotonic clock, since the log was opened.
    The first event of a decision has no `batch`; it has the stimulus that it
    `answers`, where the log says so (format 1.2), and how far the accelerator had been `heard`,
    where that was said. The later ones have the seq of the first as their `batch`. `counted` is
    how many decisions the line stands for (format 1.3): itself, and those like it right before,
    all in the same state, which the last one's line was written for.

    A tuple, and no attrs class, because it is made a million times: 0.2 us less each.
    """

    seq: int
    t: float
    event: Event
    batch: int | None = None
    answers: Stimulus | None = None
    heard: int | None = None
    counted: int = 1


def is_log(path: str | PathLike[str]) -> bool:
    """Whether the file at `path`, or the oldest segment of a log named so, begins like a log.

    It may be packed, and have a byte order mark. False for what cannot be read.
    """
    try:
        there = [] if os.path.lexists(path) else numbers(fspath(path))
        with Path(segment_path(fspath(path), there[0]) if there else path).open("rb") as file:
            beginning = unpacked(file)[0].read(len(BOM + MAGIC))
            return beginning.removeprefix(BOM).startswith(MAGIC)
    except (OSError, LogUnreadable, PackedDamaged):
        return False


def why_no_text(path: str | PathLike[str]) -> str | None:
    """What the file at `path` is, where it is no text that could be read, and what to do about it.

    Compressed, say. None for text, and for what cannot be read.
    """
    try:
        with Path(path).open("rb") as file:
            return no_text(file.read(2 * len(MAGIC)))
    except OSError:
        return None


def read(
    source: Source,
    codec: Codec | None = None,
    formats: Formats = FORMATS,
    *,
    more: More = no_more,
    since: int = 1,
    as_written: bool = False,
) -> tuple[Header, Records]:
    """The header and the events of the log at the path `source`, or of a binary stream.

    Strict: each line's checksum, sequence number and fields are verified before its event
    is given out. A pipe, such as stdin's `buffer`, is read as its bytes come. A log in segments
    is read from its oldest one on, or from the one that `source` names; the header is that
    one's, and so is the state before the first event. At the end, `more` is asked whether to
    look again, for a log that is being written. Segments that end before event `since` are not
    read.

    A file may be packed with gzip, zstd, xz or bzip2, begin with a byte order mark, or have lines
    that end in CRLF: the header's `wrapping` says so. With `as_written`, and of a stream, none of
    that is taken, as none of it can be appended to; nor is what is packed together with `more`.

    Raises LogUnreadable, LogEmpty, NotALog, LogTooNew, LogTooOld, or LogDamaged for the
    header; for the errors of later lines see Records.
    """
    chain = Chain(source, formats, more, since, as_written=as_written)
    return chain.header, Records(chain, codec or model_codec(), formats)


class Records:
    """An iterator over the events of a log, in order, in bounded memory.

    Iterating raises LogDamaged, which names the line; LogGap for a segment that is missing;
    LogTooNew for an event that a later hpcore has added; LogUnreadable. Where a log ends in a
    torn tail, iteration just ends, and `torn` says what was left out. Close it, or use it in a
    `with`, where you may stop before the end.
    """

    def __init__(self, chain: Chain, codec: Codec, formats: Formats) -> None:
        self._chain = chain
        self._seq = chain.first - 1
        """Of the last line, and `_first` that of the decision which it belongs to."""
        self._first = 0
        self._record = self._maker(codec, formats)
        self._records = self._read()

    @property
    def torn(self) -> Torn | None:
        """What was left out at the end of the log; None until iteration has ended."""
        return self._chain.torn

    @property
    def head(self) -> Head | None:
        """What stands at the head of the segment that the last record is of; None for the first.

        Once iteration has ended: of the last segment, even if it has no event.
        """
        return self._chain.head

    @property
    def file(self) -> str:
        """The file that the last record is in."""
        return self._chain.name

    def __iter__(self) -> Iterator[Record]:
        return self._records  # the generator itself saves a call for each event

    def __next__(self) -> Record:
        return next(self._records)

    def close(self) -> None:
        """Read no more. A stream that was passed to `read` stays open."""
        self._records.close()
        self._chain.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def lines(self) -> Iterator[list[bytes]]:
        """The lines, in the place of their records, each with the right checksum: see `record`."""
        return self._chain.lines()

    @property
    def next_seq(self) -> int:
        """The number of the event on the line that `record` takes next."""
        return self._seq + 1

    def record(self, line: bytes) -> Record:
        """What `line`, the next one of `lines`, says. Raises LogDamaged, LogTooNew."""
        return self._record(line)

    def skip(self, lines: int, first: int) -> None:
        """Pass over so many lines, whose records are known; the last decision began at `first`."""
        self._seq += lines
        self._first = first

    def _read(self) -> Generator[Record, None, None]:
        record = self._record
        try:
            for lines in self._chain.lines():
                for line in lines:
                    yield record(line)
        finally:
            self._chain.close()

    def _maker(self, codec: Codec, formats: Formats) -> Callable[[bytes], Record]:
        """What makes a record of the next line. A closure: it is called for every event."""
        chain = self._chain
        version = chain.header.format or formats.current
        decoders = codec.decoders(
            ignore_unknown=version > formats.current, fill=version != formats.current
        )
        stimulus = codec.stimulus_decoder(
            ignore_unknown=version > formats.current, fill=version != formats.current
        )
        upgrade = formats.event_upgrade(version)
        loads, new = orjson.loads, tuple.__new__  # bound to names that are cheap to look up

        def record(line: bytes) -> Record:
            seq = self._seq = self._seq + 1
            fields: Any = None
            try:
                fields = loads(line)
                if upgrade is not None:
                    fields = upgrade(fields)
                if fields["seq"] != seq:
                    raise WrongFields(f"it has seq {fields['seq']!r}")
                t = fields["t"]
                if type(t) is not float:
                    t = _seconds(t)
                answers, batch = fields.pop(ANSWERS, None), fields.pop(BATCH, None)
                heard, counted = fields.pop(HEARD, None), fields.pop(COUNTED, 1)
                fields.pop(GROUP, None)
                event = decoders[fields["event"]](fields)
                if batch is None:
                    self._first = seq
                    if answers is not None:
                        answers = stimulus(answers)
                    if heard is not None:
                        _check_heard(heard)
                    if counted != 1:
                        _check_counted(counted)
                else:
                    _check_later(batch, self._first, answers, heard, counted)
            except (ValueError, LookupError, TypeError, WrongFields) as error:
                if version > formats.current and _is_unknown(fields, codec):
                    raise _too_new(chain, seq, fields) from None
                at = seq - chain.first + 2
                raise LogDamaged(chain.name, at, _why(error, fields), chain.first) from None
            return new(Record, (seq, t, event, batch, answers, heard, counted))

        return record


def _seconds(t: Any) -> float:
    if type(t) is not int:
        raise WrongFields(f"its time, t, is {t!r}; it must be a number of seconds")
    return float(t)


def _check_heard(heard: Any) -> None:
    if type(heard) is not int or heard < 0:
        raise WrongFields(f"it has {HEARD} {heard!r}, which is no number")


def _check_counted(counted: Any) -> None:
    if type(counted) is not int or counted < 1:
        raise WrongFields(f"it has {COUNTED} {counted!r}, which is no number of decisions")


def _check_later(batch: Any, first: int, answers: Any, heard: Any, counted: Any) -> None:
    """Raises WrongFields for a line that is not the first of its decision and is wrong."""
    if type(batch) is not int or batch != first:
        raise WrongFields(f"it has {BATCH} {batch!r}, and its decision began at seq {first}")
    if answers is not None or heard is not None or counted != 1:
        raise WrongFields(
            f"it has {ANSWERS}, {HEARD} or {COUNTED}, which only a decision's first line has"
        )


def _is_unknown(fields: Any, codec: Codec) -> bool:
    return isinstance(fields, dict) and not codec.knows(fields.get("event"))


def _too_new(chain: Chain, seq: int, fields: Mapping[str, Any]) -> LogTooNew:
    header = chain.header
    wrote = header.versions.get("hpcore", "unknown")
    return LogTooNew(
        f"{chain.name}: line {seq - chain.first + 2} (seq {seq}) is an event "
        f"{fields.get('event')!r} of log format {header.format}, which this hpcore, "
        f"{__version__}, does not know. Install hpcore {wrote} or later"
    )


def _why(error: Exception, fields: Any) -> str:
    """What is wrong with a line that is sealed, and so was written as it is."""
    if isinstance(error, orjson.JSONDecodeError):
        return f"it is sealed, but is not JSON: {error}"
    if isinstance(error, WrongFields):
        return f"it is sealed, but {error}"
    if isinstance(error, KeyError) and error.args[0] in ("seq", "t", "event"):
        return f"it is sealed, but has no field {error.args[0]!r}"
    if isinstance(fields, dict):
        return f"it is sealed, but its event is unknown: {fields.get('event')!r}"
    return "it is sealed, but is no JSON object"
