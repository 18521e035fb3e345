"""Replaying a log: its fold, every invariant at every event, and where it goes wrong.

Every decision is also made again from the stimulus that it answers, where the log has it.
"""

from __future__ import annotations

from collections.abc import Callable
from os import PathLike
from typing import IO

from attrs import field, frozen, mutable

from hpcore.log import Head, Header, LogDamaged, LogError, Record, Records, read
from hpcore.log.chain import More, no_more
from hpcore.log.fold import LoggedDecision, decisions, fold
from hpcore.model.properties import Invariants, Violation
from hpcore.model.states import State
from hpcore.triage.at_once import AtOnce
from hpcore.triage.decide_again import (
    DecidedOtherwise,
    decide_again,
    lacking,
    wrongly_answered,
)
from hpcore.version import __version__


@frozen
class WrongEvent:
    """The first event that breaks something: what, and the state before it.

    Where it is a decision that breaks something as a whole, `record` is its first event.
    """

    record: Record
    violation: Violation
    before: State


@frozen
class ReplayedDecision:
    """The events of one decision: what one stimulus made happen."""

    records: tuple[Record, ...]
    after: State

    @property
    def t(self) -> float:
        """When, in seconds since the log was opened."""
        return self.records[0].t


@mutable
class Replay:
    """What a replay found. `wrong` and `damage` are None for a good log."""

    header: Header
    state: State
    events: int = 0
    wrong: WrongEvent | None = None
    damage: LogError | None = None
    torn: str | None = None
    at: State | None = None
    """The state at the sequence number asked for."""
    stopped: bool = False
    """Whether there is more of the log, which was not asked for."""
    lacks: int = 0
    """Events of its last decision that the log does not have: it was cut there, at a line's end."""
    in_flight: list[str] = field(factory=list)
    """Effects that were begun and whose outcome the log does not have."""
    decided_again: int = 0
    """Decisions that were made again from their stimuli; none before format 1.2."""
    otherwise: DecidedOtherwise | None = None
    """The first of them that this hpcore makes otherwise."""

    @property
    def last_seq(self) -> int:
        """The number of the last event that was right."""
        return self.header.first - 1 + self.events

    @property
    def says_the_end(self) -> bool:
        """Whether the machine has ended by the last event, or is off.

        Where it has not, the log may have been cut: nothing in it says how long it was.
        """
        return self.state.shared.halted

    @property
    def written_by(self) -> str:
        """The version of the hpcore that wrote the log."""
        return self.header.versions.get("hpcore", "unknown")

    @property
    def same_version(self) -> bool:
        """Whether the hpcore that wrote the log is the one that replays it."""
        return self.written_by == __version__

    @property
    def ok(self) -> bool:
        """Whether the log is whole and breaks nothing.

        Another version of hpcore may decide otherwise; the same one may not.
        """
        whole = self.wrong is None and self.damage is None
        return whole and (self.otherwise is None or not self.same_version)


def replay(
    source: str | PathLike[str] | IO[bytes],
    at: int | None = None,
    each: Callable[[ReplayedDecision], None] | None = None,
    *,
    since: int = 1,
    until: int | None = None,
    more: More = no_more,
) -> Replay:
    """Fold the log at `source`, checking every invariant; `each` is told every decision.

    Where nobody is to be told, what was replayed before is replayed at once. Segments that end
    before event `since` are left out, and what comes after the decision of event `until`. `more`
    waits for a log that is being written: see `hpcore.log.read`. `each` is then told of a decision
    as soon as it is there; `more` is not asked once the machine has ended.

    The invariants are those that the hpcore which wrote the log has kept. Stops at the first
    event that is wrong. The state at the head of a segment is held against what the events before
    led to, where these are kept, and against the invariants where they are not. Raises LogError
    where the header cannot be read; damage further down is in the result, with all that came
    before it.
    """
    tell = None if each is None else _Teller(each)

    def caught_up() -> bool:
        if tell is not None:
            tell.early(result.state)
        return not result.state.shared.ended and more()

    header, records = read(source, more=no_more if more is no_more else caught_up, since=since)
    result = Replay(header, header.state)
    invariants = header.invariants
    if at == header.first - 1:
        result.at = result.state
    with records:
        try:
            _check_first_state(result.state, records, invariants)
            if tell is None and at is None and until is None:
                _replay_at_once(result, records, invariants)
            else:
                _replay_plainly(result, records, invariants, at, until, tell)
        except LogError as error:
            result.damage = error
        if records.torn is not None:
            result.torn = str(records.torn)
    result.in_flight = _in_flight(result.state)
    return result


class _Teller:
    """Tells of decisions, of each event once."""

    def __init__(self, each: Callable[[ReplayedDecision], None]) -> None:
        self._each, self._told = each, 0
        self.under_way: list[Record] = []

    def early(self, state: State) -> None:
        """Tell of what there is of the decision under way, which nothing follows yet."""
        self.of(tuple(self.under_way), state)

    def of(self, records: tuple[Record, ...], state: State) -> None:
        """Tell of those of `records` that were not told of."""
        new = tuple(record for record in records if record.seq > self._told)
        if new:
            self._told = new[-1].seq
            self._each(ReplayedDecision(new, state))


def _replay_plainly(
    result: Replay,
    records: Records,
    invariants: Invariants,
    at: int | None,
    until: int | None,
    tell: _Teller | None,
) -> None:
    """Decision by decision, up to the first that is wrong, or that of event `until`."""
    for decision in decisions(iter(records), None if tell is None else tell.under_way):
        if not _take(result, decision, at, invariants):
            break
        if tell is not None:
            tell.of(decision.records, result.state)
        last = decision.records[-1].seq
        _check_head(result.state, last, records)
        if until is not None and last >= until:
            result.stopped = decision.settled
            break


def _replay_at_once(result: Replay, records: Records, invariants: Invariants) -> None:
    """The same, faster, where nobody is to be told of each decision."""

    def plainly(state: State, decision: LoggedDecision) -> State | None:
        result.state = state
        return result.state if _take(result, decision, None, invariants) else None

    def after(state: State, seq: int) -> None:
        _check_head(state, seq, records)

    run = AtOnce(records, result.state, plainly, after)
    try:
        run.run()
    finally:
        result.events += run.counts.events
        result.decided_again += run.counts.decided_again
        if result.wrong is None:
            result.state = run.state


def _check_first_state(state: State, records: Records, invariants: Invariants) -> None:
    """Hold the invariants against the state that a log begins with. Raises LogDamaged."""
    for violation in invariants.of_state(state):
        raise LogDamaged(
            records.file, 1, f"its state breaks {violation.invariant} for vCPU {violation.slot}"
        )


def _check_head(state: State, seq: int, records: Records) -> None:
    """Hold `state`, that after event `seq`, against a segment's head that has come after it.

    Raises LogDamaged.
    """
    head = records.head
    if head is not None and head.first == seq + 1 and not _is_head(head, state):
        raise LogDamaged(records.file, 1, "its state is not what the events before it led to")


def _is_head(head: Head, state: State) -> bool:
    return (head.shared, head.slots) == (state.shared, state.slots)


def _take(
    result: Replay, decision: LoggedDecision, at: int | None, invariants: Invariants
) -> bool:
    rules = result.header.protocol.rules
    before = result.state
    if decision.records[0].answers is not None:
        result.decided_again += 1
        result.lacks = 0 if decision.settled else lacking(before, decision, rules)
        result.otherwise = result.otherwise or decide_again(before, decision, rules)
    for record, folded in fold(before, decision, invariants, rules):
        if folded.violation is not None:
            result.wrong = WrongEvent(record, folded.violation, folded.before)
            return False
        result.state = folded.after
        result.events += 1
        if record.seq == at:
            result.at = result.state
    broken = wrongly_answered(before, decision, result.state, invariants)
    if broken is None:
        return True
    result.wrong = WrongEvent(decision.records[0], broken, before)
    result.state = before
    result.events -= len(decision.records)
    return False


def _in_flight(state: State) -> list[str]:
    out = [] if state.shared.step is None else [str(state.shared.step)]
    return out + [f"{s.step} of vCPU {i}" for i, s in enumerate(state.slots) if s.step is not None]
