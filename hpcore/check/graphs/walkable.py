"""The reachable states of a small configuration, each with all that may come next in it.

A search over whole machines by the real `decide`, breadth first, so that a state is found by a
shortest way. It says more than the tables do: the very stimuli, and the events that they lead to.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

from attrs import field, frozen, mutable

from hpcore.check.properties import PROPERTIES, Properties
from hpcore.check.retrace import offers
from hpcore.check.tabulated.start import booted, config_of, local, take
from hpcore.check.world.environment import Environment
from hpcore.model.events import Event
from hpcore.model.properties import Invariants, Violation
from hpcore.model.rules import RULES, Rules
from hpcore.model.states import State
from hpcore.model.stimuli import Stimulus


@frozen
class Move:
    """What may come in a state: the stimulus, its events, and the number of the next state.

    `to` is None where an invariant is broken: the search goes no further there.
    """

    by: Stimulus
    events: tuple[Event, ...]
    to: int | None
    broken: Violation | None = None


@mutable(eq=False)
class Place:
    """A state, with the faults that are left. `came` are the place and the move that found it.

    `moves` is None where it was not looked into, because there are too many states.
    """

    state: State
    faults: int
    depth: int
    came: tuple[int, int] | None
    moves: list[Move] | None = field(default=None)


def whole_up_to(places: Sequence[Place]) -> int | None:
    """Of how many moves from the boot every way is among `places`; None for ways of any length."""
    return min((place.depth for place in places if place.moves is None), default=None)


def walkable(
    environment: Environment,
    rules: Rules = RULES,
    most: int = 5000,
    properties: Properties = PROPERTIES,
    tell: Callable[[int], None] = lambda _places: None,
) -> list[Place]:
    """The states that can be reached from the boot, the nearest first; `most` at most.

    A stimulus that changes nothing is left out.
    """
    invariants = Invariants(properties)
    start = booted(config_of(environment), rules, invariants, environment.plugged)
    places = [Place(start.state, environment.faults, 0, None)]
    numbers = {_key(environment, start.state, environment.faults): 0}
    todo = deque([0])
    while todo:
        at = todo.popleft()
        place = places[at]
        if environment.over(place.state.shared):
            place.moves = []
            continue
        if len(places) >= most:
            continue  # nor are those that wait looked into
        place.moves = []
        for stimulus, fault in offers(environment, place.state, place.faults):
            taken = take(place.state, stimulus, rules, invariants)
            if taken.broken is not None:
                place.moves.append(Move(stimulus, taken.events, None, taken.broken))
                continue
            if taken.after == place.state:
                continue
            faults = place.faults - fault
            key = _key(environment, taken.after, faults)
            to = numbers.setdefault(key, len(places))
            if to == at:
                continue
            if to == len(places):
                came = at, len(place.moves)
                places.append(Place(taken.after, faults, place.depth + 1, came))
                todo.append(to)
                if to % 100 == 0:
                    tell(to)
            place.moves.append(Move(stimulus, taken.events, to))
    return places


def _key(environment: Environment, state: State, faults: int) -> object:
    """What a search tells apart of a state."""
    slots = tuple(local(environment, i, slot) for i, slot in enumerate(state.slots))
    return state.shared, slots, faults
