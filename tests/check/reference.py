"""The obviously right search: whole machines, `decide` and `evolve`, one page.

What every engine is held against. It knows nothing of tables, roles or common parts.
"""

from __future__ import annotations

import attrs
from attrs import field, frozen

from hpcore.check.tabulated.start import Start, booted, config_of, local, placed, take
from hpcore.check.world.conditions import met
from hpcore.check.world.environment import Environment
from hpcore.model.invariants import HELD
from hpcore.model.properties import Invariants
from hpcore.model.rules import RULES, Rules
from hpcore.model.states import State, initial
from hpcore.model.stimuli import Stimulus

Node = tuple[State, int]


@frozen
class Reference:
    """What the plain search found. A path is from the start to the stimulus that breaks.

    `transitions` are pairs of a state and another one that it leads to.
    """

    states: int
    transitions: int
    depth: int
    broken: str | None = None
    path: tuple[Stimulus, ...] = ()
    reached: frozenset[Node] = field(factory=frozenset, repr=False)


def normal(environment: Environment, state: State, before: State | None = None) -> State:
    """A state with what the searches do not tell apart left out, as it is already `before` it."""
    kept = before.slots if before is not None else (None,) * len(state.slots)
    slots = (
        slot if slot is kept[i] else placed(i, local(environment, i, slot))
        for i, slot in enumerate(state.slots)
    )
    return attrs.evolve(state, slots=tuple(slots))


def search(
    environment: Environment, rules: Rules = RULES, invariants: Invariants = HELD
) -> Reference:
    """Breadth first; ends with the first violation, which is as near as any."""
    config = config_of(environment)
    start = (
        Start(initial(config)) if environment.before_boot
        else booted(config, rules, invariants, environment.plugged)
    )  # fmt: skip
    if start.broken is not None:
        return Reference(0, 0, 0, start.broken.invariant, start.stimuli)
    first = (normal(environment, start.state), environment.faults)
    came: dict[Node, tuple[Node, Stimulus] | None] = {first: None}
    layer, transitions, depth = [first], 0, 0
    while layer:
        after: list[Node] = []
        for node in layer:
            leads_to: set[Node] = set()
            for stimulus, fault in offers(environment, *node):
                taken = take(node[0], stimulus, rules, invariants)
                if taken.broken is not None:
                    path = (*way(came, node), stimulus)
                    return Reference(
                        len(came), transitions, depth, taken.broken.invariant, path
                    )
                if taken.after is node[0]:
                    continue
                state = normal(environment, taken.after, node[0])
                if state == node[0] or environment.over(state.shared):
                    continue
                found = (state, node[1] - fault)
                leads_to.add(found)
                if found not in came:
                    came[found] = (node, stimulus)
                    after.append(found)
            transitions += len(leads_to)
        layer = after
        depth += bool(layer)
    return Reference(len(came), transitions, depth, reached=frozenset(came))


def offers(
    environment: Environment, state: State, faults: int
) -> list[tuple[Stimulus, int]]:
    """All that may reach the machine next, with what it takes of the faults."""
    out = [
        (offer.stimulus, offer.fault)
        for offer in environment.about_machine(state.shared, faults)
        if met(offer.needs, state.slots)
    ]
    for i, slot in enumerate(state.slots):
        for offer in environment.about_slot(i, slot, state.shared, faults):
            if met(offer.needs, state.slots, but=i):
                out.append((offer.stimulus, offer.fault))
    return out


def way(came: dict[Node, tuple[Node, Stimulus] | None], node: Node) -> tuple[Stimulus, ...]:
    """The stimuli that led to `node`."""
    out: list[Stimulus] = []
    before = came[node]
    while before is not None:
        node, stimulus = before
        out.append(stimulus)
        before = came[node]
    return tuple(reversed(out))
