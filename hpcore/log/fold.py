"""The fold of a log: decision by decision, with every invariant held against each event."""

from __future__ import annotations

from collections.abc import Iterator

from attrs import frozen

from hpcore.log.errors import LogError
from hpcore.log.reader import Record
from hpcore.model.evolve import NoSuchSlot, evolve
from hpcore.model.invariants import TRANSITION, Violation, check_event
from hpcore.model.machines import IllegalTransition
from hpcore.model.states import State


@frozen
class LoggedDecision:
    """The events of one decision. `settled`: another decision follows it in the log.

    The last one of a log may have been cut short, by a crash or by `head`, also between two
    whole lines; only the whole of a decision settles what it began.
    """

    records: tuple[Record, ...]
    settled: bool


@frozen
class Folded:
    """An event, the state before it and after it, and what it breaks.

    Where it breaks something, `after` is the state before it, and the fold ends there.
    """

    record: Record
    before: State
    after: State
    violation: Violation | None


def decisions(records: Iterator[Record]) -> Iterator[LoggedDecision]:
    """Records by decision: the controller gives the events of one, and no other, one time.

    A LogError of `records` is raised after the decision that it cuts short.
    """
    under_way: list[Record] = []
    try:
        for record in records:
            if under_way and record.t != under_way[0].t:
                yield LoggedDecision(tuple(under_way), settled=True)
                under_way = []
            under_way.append(record)
    except LogError:
        if under_way:
            yield LoggedDecision(tuple(under_way), settled=False)
        raise
    if under_way:
        yield LoggedDecision(tuple(under_way), settled=False)


def fold(state: State, decision: LoggedDecision) -> Iterator[Folded]:
    """Apply the events of `decision` to `state`, up to the first that breaks something."""
    last = decision.records[-1]
    for record in decision.records:
        violation: Violation | None
        try:
            after = evolve(state, record.event)
        except (IllegalTransition, NoSuchSlot) as error:
            slot = getattr(record.event, "slot", 0) or 0
            violation = Violation(TRANSITION, slot, str(error))
        else:
            rest = decision.settled and record is last
            violation = next(check_event(state, record.event, after, rest=rest), None)
        if violation is not None:
            yield Folded(record, state, state, violation)
            return
        yield Folded(record, state, after, None)
        state = after
