"""What happens before the kernel starts, in every order: a plain search over whole machines.

The tables know slots that meet in the shared part alone. Before the boot they meet elsewhere,
too: vCPU 0 starts once *every* slot is ready. So this part, which is small, is searched without
tables, and each machine whose vCPU 0 is told to start is one that the search by tables begins with.
"""

from __future__ import annotations

from collections.abc import Callable

from attrs import frozen

from hpcore.check.result import CheckError, Counterexample
from hpcore.check.retrace import offers
from hpcore.check.tabulated.start import Decided, Start, config_of, local, take
from hpcore.check.world.environment import Environment
from hpcore.model.effects import MachineStep
from hpcore.model.machines import Phase
from hpcore.model.properties import Invariants
from hpcore.model.rules import Rules
from hpcore.model.states import Shared, Slot, State, initial
from hpcore.model.stimuli import Stimulus

MOST = 20_000
"""States before the boot: some minutes."""
TOLD_EVERY = 256
"""States between two words on how far the search is."""

_Key = tuple[tuple[Slot, ...], Shared, int]
"""What a search tells apart of a machine, and the faults left."""


@frozen
class Started:
    """A machine whose vCPU 0 was told to start, the way there, and the faults left."""

    start: Start
    faults: int


@frozen
class BeforeBoot:
    """What was found: how many states, the machines that start, and what is broken, if anything."""

    states: int
    started: tuple[Started, ...]
    found: Counterexample | None = None
    ending: tuple[tuple[State, int], ...] = ()
    """Those of the states, and the faults left, that a machine may come to after its start, too:
    vCPU 0 is ready, and off, and the user is ending the machine."""


@frozen
class _Node:
    state: State
    faults: int
    came_from: _Node | None = None
    by: Stimulus | None = None

    @property
    def stimuli(self) -> tuple[Stimulus, ...]:
        out: list[Stimulus] = []
        node: _Node | None = self
        while node is not None and node.by is not None:
            out.append(node.by)
            node = node.came_from
        return tuple(reversed(out))


def search(
    environment: Environment,
    rules: Rules,
    invariants: Invariants,
    tell: Callable[[int], None] = lambda _states: None,
) -> BeforeBoot:
    """Breadth first, up to where vCPU 0 is told to start, or to the first violation.

    Raises CheckError where there are too many states.
    """
    off = initial(config_of(environment))
    first = _Node(off, environment.faults)
    seen = {_key(environment, first): first}
    layer, started = [first], list[_Node]()
    while layer:
        after: list[_Node] = []
        for node in layer:
            for stimulus, fault in offers(environment, node.state, node.faults):
                taken = take(node.state, stimulus, rules, invariants)
                if taken.broken is not None:
                    way = (*node.stimuli, stimulus)
                    found = Counterexample.of(taken.broken, way, Start(off))
                    return BeforeBoot(len(seen), (), found)
                if taken.after is node.state or environment.over(taken.after.shared):
                    continue
                faults = node.faults
                if _key(environment, _Node(taken.after, faults)) != _key(environment, node):
                    faults -= fault
                reached = _Node(taken.after, faults, node, stimulus)
                key = _key(environment, reached)
                if key in seen:
                    continue
                seen[key] = reached
                (started if _starts(taken.after.shared) else after).append(reached)
                if len(seen) % TOLD_EVERY == 0:
                    tell(len(seen))
        if len(seen) > MOST:
            raise CheckError(
                f"more than {MOST:,} states before the boot, which are listed one by one; take "
                "fewer: --slots, --faults, --no-power-off"
            )
        layer = after
    made = tuple(
        Started(_start(off, node, rules, invariants), node.faults) for node in started
    )
    ending = tuple(
        (n.state, n.faults) for n in seen.values()
        if n.state.shared.ending and n.state.shared.phase is Phase.READY
    )  # fmt: skip
    return BeforeBoot(len(seen) - len(started), made, ending=ending)


def _starts(shared: Shared) -> bool:
    return shared.step is MachineStep.START or not shared.booting


def _key(environment: Environment, node: _Node) -> _Key:
    slots = tuple(local(environment, i, slot) for i, slot in enumerate(node.state.slots))
    return slots, node.state.shared, node.faults


def _start(off: State, node: _Node, rules: Rules, invariants: Invariants) -> Start:
    state, decisions = off, list[Decided]()
    for stimulus in node.stimuli:
        taken = take(state, stimulus, rules, invariants)
        state = taken.after
        decisions.append(Decided(stimulus, taken.events))
    return Start(state, tuple(decisions))
