"""A log event by event, with the states before and after each, also beyond what is wrong.

`replay` judges a log and stops at the first event that is wrong. Whoever draws a log, or
looks for a smaller one, wants all of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from os import PathLike
from typing import IO, NamedTuple

from attrs import field, mutable

from hpcore.log import Header, LogError, Record, read
from hpcore.log.fold import LoggedDecision, decisions, fold
from hpcore.model.evolve import NoSuchSlot, evolve
from hpcore.model.machines import IllegalTransition
from hpcore.model.properties import Invariants, Violation
from hpcore.model.rules import Rules
from hpcore.model.states import State
from hpcore.triage.decide_again import DecidedOtherwise, decide_again, wrongly_answered

UNKNOWN = "unknown"


class Walked(NamedTuple):
    """One event of a walk. `violation` is on the first event that breaks something, or on the
    first of a decision that does so as a whole.

    A tuple, and no attrs class, because it is made for every event of a log.
    """

    record: Record
    before: State
    after: State
    violation: Violation | None


@mutable
class Walk:
    """An iterator over the steps of a log, and what it has found so far.

    Beyond the first wrong event the events are applied as they stand, with nothing held
    against them; one that no state machine has a transition for changes nothing.
    `otherwise` are the decisions that this hpcore would make otherwise, up to there.
    """

    header: Header
    state: State
    _decisions: Iterator[LoggedDecision]
    _records: object
    _invariants: Invariants
    _rules: Rules
    wrong: Walked | None = None
    damage: LogError | None = None
    otherwise: list[DecidedOtherwise] = field(factory=list)
    events: int = 0
    decided_again: int = 0

    @property
    def written_by(self) -> str:
        """The version of the hpcore that wrote the log."""
        return self.header.versions.get("hpcore", UNKNOWN)

    @property
    def torn(self) -> str | None:
        """What was left out at the end of the log, once it has been walked to its end."""
        torn = getattr(self._records, "torn", None)
        return None if torn is None else str(torn)

    def __iter__(self) -> Iterator[Walked]:
        return (step for decision in self.decisions() for step in decision[1])

    def decisions(self) -> Iterator[tuple[LoggedDecision, tuple[Walked, ...]]]:
        """Decision by decision, each with its steps. Damage ends it, and is in `damage`."""
        try:
            for decision in self._decisions:
                before, was_right = self.state, self.wrong is None
                took = tuple(self._take(decision))
                yield decision, self._answered(before, decision, took) if was_right else took
        except LogError as error:
            self.damage = error

    def _take(self, decision: LoggedDecision) -> Iterator[Walked]:
        judged = 0
        if self.wrong is None:
            if decision.records[0].answers is not None:
                self.decided_again += 1
                other = decide_again(self.state, decision, self._rules)
                if other is not None:
                    self.otherwise.append(other)
            for record, folded in fold(self.state, decision, self._invariants, self._rules):
                judged += 1
                step = Walked(record, folded.before, folded.after, folded.violation)
                if folded.violation is not None:
                    self.wrong = step
                yield self._at(step)
        for record in decision.records[judged:]:
            after = _applied(self.state, record, self._rules)
            yield self._at(Walked(record, self.state, after, None))

    def _answered(
        self, before: State, decision: LoggedDecision, took: tuple[Walked, ...]
    ) -> tuple[Walked, ...]:
        """The steps of a decision, the first of them wrong if it is no answer to its stimulus."""
        if self.wrong is not None:
            return took
        broken = wrongly_answered(before, decision, self.state, self._invariants)
        if broken is None:
            return took
        self.wrong = took[0]._replace(violation=broken)
        return (self.wrong, *took[1:])

    def _at(self, step: Walked) -> Walked:
        self.state = step.after
        self.events += 1
        return step


def walk(source: str | PathLike[str] | IO[bytes]) -> Walk:
    """The walk of the log at `source`. Raises LogError where its header cannot be read."""
    header, records = read(source)
    return Walk(
        header, header.state, decisions(iter(records)), records, header.invariants,
        header.protocol.rules,
    )  # fmt: skip


def _applied(state: State, record: Record, rules: Rules) -> State:
    try:
        return evolve(state, record.event, rules)
    except (IllegalTransition, NoSuchSlot):
        return state
