"""What the log of a machine has come to, of a log that came with its machine."""

from __future__ import annotations

import io

from attrs import frozen

from hpcore.errors import HpcoreError
from hpcore.log import Header, LogError, read
from hpcore.log.fold import decisions, fold
from hpcore.model.states import State


class LogWrong(HpcoreError):
    """It is no log, or one that breaks the protocol that it is of."""


@frozen
class LogState:
    """A log's header, the state after its last event, and that event's number and time."""

    header: Header
    state: State
    last_seq: int
    last_t: float

    @classmethod
    def of(cls, log: bytes) -> LogState:
        """That of the log whose last or only segment is `log`. Raises LogWrong."""
        try:
            return cls._of(log)
        except LogError as error:
            raise LogWrong(f"its log: {error}") from error

    @classmethod
    def _of(cls, log: bytes) -> LogState:
        header, records = read(io.BytesIO(log))
        state, seq = header.state, header.first - 1
        t, by = 0.0 if header.segment is None else header.segment.t, header.protocol
        with records:
            for decision in decisions(records):
                for record, folded in fold(state, decision, header.invariants, by.rules):
                    if folded.violation is not None:
                        raise LogWrong(
                            f"its log is wrong at event {record.seq}: {folded.violation.says}"
                        )
                    state, seq, t = folded.after, record.seq, record.t
        return cls(header, state, seq, t)
