"""The one fold: events become states, one by one, with every invariant held against each.

The controller folds what it has decided, a replay what a log holds, the checker what a
search tries; they differ only in what they make of a violation.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from hpcore.model.events import Event, slot_of
from hpcore.model.evolve import NoSuchSlot, evolve
from hpcore.model.invariants import HELD
from hpcore.model.machines import IllegalTransition
from hpcore.model.properties import Invariants, Violation
from hpcore.model.rules import RULES, Rules
from hpcore.model.states import State

TRANSITION = "transition"
"""Named like an invariant: an event that a machine's table has no transition for."""


class Folded(NamedTuple):
    """An event, the state before it and after it, and the first thing that it breaks, if any.

    `after` is `before` where there is no such transition. A tuple, and no attrs class,
    because it is made for every event of a log.
    """

    before: State
    event: Event
    after: State
    violation: Violation | None


def steps(
    state: State,
    events: Iterable[Event],
    rules: Rules = RULES,
    *,
    settled: bool = True,
    invariants: Invariants = HELD,
    only: int | None = None,
    states: tuple[State, ...] = (),
) -> Iterator[Folded]:
    """Apply the events of one decision to `state`, up to the first that breaks something.

    `settled` says that these are all of the decision's events; only then is the state after
    the last one held to what must be so between decisions. `only` is the one slot to look
    at, where the others are of no interest. `states` are those after each event, where a
    decision has found them already.
    """
    whole = tuple(events)
    last = len(whole) - 1
    for n, event in enumerate(whole):
        try:
            after = states[n] if states else evolve(state, event, rules)
        except (IllegalTransition, NoSuchSlot) as error:
            violation = Violation(TRANSITION, slot_of(event) or 0, str(error))
            yield Folded(state, event, state, violation)
            return
        rest = settled and n == last
        broken = invariants.first_broken(state, event, after, rest=rest, only=only)
        yield Folded(state, event, after, broken)
        if broken is not None:
            return
        state = after
