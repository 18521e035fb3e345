"""One move of a run: what becomes of the machine, of the line at hand, and of the guest."""

from __future__ import annotations

from typing import NamedTuple

from hpcore.check.tabulated.start import Taken
from hpcore.model.properties import Violation
from hpcore.model.states import State
from hpcore.run.courses import End
from hpcore.scenario.judged import judged
from hpcore.scenario.values import Line
from hpcore.sequence.guests import SequenceGuest
from hpcore.sequence.waits import Situation
from hpcore.sequence.world import Move, Spot


class Went(NamedTuple):
    """Where a move led. `failure` says how a step went wrong with it, `broken` which property."""

    state: State
    spot: Spot
    failure: str | None = None
    broken: Violation | None = None


def go(
    guest: SequenceGuest,
    lines: tuple[Line, ...],
    state: State,
    spot: Spot,
    move: Move,
    taken: Taken | None,
) -> Went:
    """Take `move`, whose stimulus, if it has one, did what `taken` says."""
    events = () if taken is None else taken.events
    after = state if taken is None else taken.after
    if taken is not None and taken.broken is not None:
        return Went(after, spot, broken=taken.broken)
    kernel, wait = move.kernel, spot.wait
    for event in events:
        kernel = guest.after(kernel, event)
        wait = None if wait is None else wait.after(event)
    at, end = spot.at, None
    if move.passes:
        at, wait = at + 1, None
    elif move.then is not None:
        then = move.then(events, after)
        wait, end = (None, then) if isinstance(then, End) else (then, None)
    if wait is not None:
        end = wait.end(Situation(after, kernel, guest))
        if end is None and after.shared.halted:
            end = End(f"the machine is {after.shared.phase}")
    failure = None
    if end is not None:
        failure = judged(lines[at], end.why)
        at, wait = at + 1, None
    fault = move.fault if after is not state or kernel != spot.kernel else 0
    return Went(after, Spot(at, wait, kernel, spot.faults - fault), failure)
