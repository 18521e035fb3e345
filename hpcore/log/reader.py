"""Reading a log: every line is verified, decoded, and given out in order."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping
from os import PathLike, fspath
from pathlib import Path
from typing import IO, Any, NamedTuple, Self

import orjson

from hpcore.log.codec import ANSWERS, BATCH, HEARD, Codec, model_codec
from hpcore.log.errors import LogDamaged, LogTooNew, LogUnreadable
from hpcore.log.foreign import no_text
from hpcore.log.forms import WrongFields
from hpcore.log.framing import MAGIC
from hpcore.log.header import Header
from hpcore.log.scan import Scan
from hpcore.log.tail import Torn
from hpcore.log.versions import FORMATS, Formats
from hpcore.model.events import Event
from hpcore.model.stimuli import Stimulus
from hpcore.version import __version__

Source = str | PathLike[str] | IO[bytes]


class Record(NamedTuple):
    """One event of a log.

    `seq` counts from 1. `t` is in seconds on a monotonic clock, since the log was opened.
    The first event of a decision has no `batch`; it has the stimulus that it
    `answers`, where the log says so (format 1.2), and how far the accelerator had been `heard`,
    where that was said. The later ones have the seq of the first as their `batch`.

    A tuple, and no attrs class, because it is made a million times: 0.2 us less each.
    """

    seq: int
    t: float
    event: Event
    batch: int | None = None
    answers: Stimulus | None = None
    heard: int | None = None


def is_log(path: str | PathLike[str]) -> bool:
    """Whether the file at `path` begins like a log; False for what cannot be read."""
    try:
        with Path(path).open("rb") as file:
            return file.read(len(MAGIC)) == MAGIC
    except OSError:
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
    source: Source, codec: Codec | None = None, formats: Formats = FORMATS
) -> tuple[Header, Records]:
    """The header and the events of the log at the path `source`, or of a binary stream.

    Strict: each line's checksum, sequence number and fields are verified before its event
    is given out. A pipe, such as stdin's `buffer`, is read as its bytes come.

    Raises LogUnreadable, LogEmpty, NotALog, LogTooNew, LogTooOld, or LogDamaged for the
    header; for the errors of later lines see Records.
    """
    name = str(getattr(source, "name", "stream"))
    owned: IO[bytes] | None = None
    if isinstance(source, str | PathLike):
        name = fspath(source)
        try:
            source = owned = Path(name).open("rb", buffering=0)  # noqa: SIM115
        except OSError as error:
            raise LogUnreadable(name, error) from error
    try:
        scan = Scan(source, name, formats)
    except BaseException:
        if owned is not None:
            owned.close()
        raise
    return scan.header, Records(scan, name, codec or model_codec(), formats, owned)


class Records:
    """An iterator over the events of a log, in order, in bounded memory.

    Iterating raises LogDamaged, which names the line; LogTooNew for an event that a later
    hpcore has added; LogUnreadable. Where a log ends in a torn tail, iteration just ends,
    and `torn` says what was left out. Close it, or use it in a `with`, where you may stop
    before the end.
    """

    def __init__(
        self, scan: Scan, name: str, codec: Codec, formats: Formats, owned: IO[bytes] | None
    ) -> None:
        self._scan = scan
        self._owned = owned
        self._records = self._read(name, codec, formats)

    @property
    def torn(self) -> Torn | None:
        """What was left out at the end of the log; None until iteration has ended."""
        return self._scan.torn

    def __iter__(self) -> Iterator[Record]:
        return self._records  # the generator itself saves a call for each event

    def __next__(self) -> Record:
        return next(self._records)

    def close(self) -> None:
        """Read no more. A stream that was passed to `read` stays open."""
        self._records.close()
        if self._owned is not None:
            self._owned.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _read(  # noqa: PLR0912 - one loop, flat because it is the reader's speed
        self, name: str, codec: Codec, formats: Formats
    ) -> Generator[Record, None, None]:
        version = self._scan.header.format or formats.current
        decoders = codec.decoders(
            ignore_unknown=version > formats.current, fill=version != formats.current
        )
        stimulus = codec.stimulus_decoder(
            ignore_unknown=version > formats.current, fill=version != formats.current
        )
        upgrade = formats.event_upgrade(version)
        # Bound to names that are cheap to look up.
        loads, new, record = orjson.loads, tuple.__new__, Record
        fields: Any = None
        seq, first = 0, 0  # of the line, and of the decision that it belongs to
        try:
            for lines in self._scan.lines():
                for line in lines:
                    seq += 1
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
                        heard = fields.pop(HEARD, None)
                        event = decoders[fields["event"]](fields)
                        if batch is None:
                            first = seq
                            if answers is not None:
                                answers = stimulus(answers)
                            if heard is not None:
                                _check_heard(heard)
                        else:
                            _check_later(batch, first, answers, heard)
                    except (ValueError, LookupError, TypeError, WrongFields) as error:
                        if isinstance(error, orjson.JSONDecodeError):
                            fields = None  # and not those of the line before
                        elif version > formats.current and _is_unknown(fields, codec):
                            raise _too_new(name, seq, fields, self._scan.header) from None
                        raise LogDamaged(name, seq + 1, _why(error, fields)) from None
                    yield new(record, (seq, t, event, batch, answers, heard))
        finally:
            if self._owned is not None:
                self._owned.close()


def _seconds(t: Any) -> float:
    if type(t) is not int:
        raise WrongFields(f"its time, t, is {t!r}; it must be a number of seconds")
    return float(t)


def _check_heard(heard: Any) -> None:
    if type(heard) is not int or heard < 0:
        raise WrongFields(f"it has {HEARD} {heard!r}, which is no number")


def _check_later(batch: Any, first: int, answers: Any, heard: Any) -> None:
    """Raises WrongFields for a line that is not the first of its decision and is wrong."""
    if type(batch) is not int or batch != first:
        raise WrongFields(f"it has {BATCH} {batch!r}, and its decision began at seq {first}")
    if answers is not None or heard is not None:
        raise WrongFields(f"it has {ANSWERS} or {HEARD}, which only a decision's first line has")


def _is_unknown(fields: Any, codec: Codec) -> bool:
    return isinstance(fields, dict) and not codec.knows(fields.get("event"))


def _too_new(name: str, seq: int, fields: Mapping[str, Any], header: Header) -> LogTooNew:
    wrote = header.versions.get("hpcore", "unknown")
    return LogTooNew(
        f"{name}: line {seq + 1} (seq {seq}) is an event {fields.get('event')!r} of log "
        f"format {header.format}, which this hpcore, {__version__}, does not know. "
        f"Install hpcore {wrote} or later"
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
