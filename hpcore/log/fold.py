"""The fold of a log: decision by decision, with every invariant held against each event."""

from __future__ import annotations

from collections.abc import Iterator

from attrs import frozen

from hpcore.log.errors import LogError
from hpcore.log.reader import Record
from hpcore.model.events import slot_of
from hpcore.model.fold import Folded, steps
from hpcore.model.invariants import HELD
from hpcore.model.properties import Invariants, Violation
from hpcore.model.rules import RULES, Rules
from hpcore.model.states import State

COUNTED = "counted_changes_nothing"
"""Named like an invariant: a line that stands for several decisions."""
_SAYS = "What is counted and not written each leaves the state as it is."


@frozen
class LoggedDecision:
    """The events of one decision. `settled`: another decision follows it in the log.

    The last one of a log may have been cut short, by a crash or by `head`, also between two
    whole lines; only the whole of a decision settles what it began.
    """

    records: tuple[Record, ...]
    settled: bool


def decisions(
    records: Iterator[Record], under_way: list[Record] | None = None
) -> Iterator[LoggedDecision]:
    """Records by decision: all but the first event of one name that first one as their batch.

    A decision is known to be whole once the next one has begun; until then its records are in
    `under_way`, for who wants to see them before.
    A LogError of `records` is raised after the decision that it cuts short.
    """
    under_way = [] if under_way is None else under_way
    try:
        for record in records:
            if under_way and record.batch is None:
                whole = LoggedDecision(tuple(under_way), settled=True)
                under_way.clear()
                yield whole
            under_way.append(record)
    except LogError:
        if under_way:
            yield LoggedDecision(tuple(under_way), settled=False)
        raise
    if under_way:
        yield LoggedDecision(tuple(under_way), settled=False)


def fold(
    state: State,
    decision: LoggedDecision,
    invariants: Invariants = HELD,
    rules: Rules = RULES,
) -> Iterator[tuple[Record, Folded]]:
    """Apply the events of `decision` to `state`, up to the first that breaks something."""
    events = (record.event for record in decision.records)
    folded = steps(state, events, rules, settled=decision.settled, invariants=invariants)
    if decision.records[0].counted != 1:
        folded = _unchanged(folded)
    return zip(decision.records, folded, strict=False)


def _unchanged(folded: Iterator[Folded]) -> Iterator[Folded]:
    """The same, with a violation where something changes: what is counted may not."""
    for each in folded:
        if each.violation is None and each.after != each.before:
            yield each._replace(violation=Violation(COUNTED, slot_of(each.event) or 0, _SAYS))
            return
        yield each
