"""From the numbers of a search back to stimuli, on a whole machine and the real `decide`.

Also a test of the tables: a way that a whole machine does not go is a fault of the checker.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import attrs

from hpcore.check.result import Counterexample
from hpcore.check.sightings import Numbers
from hpcore.check.tabulated.schema import Tables
from hpcore.check.tabulated.start import Common, Taken, local, take
from hpcore.check.world.conditions import met
from hpcore.check.world.environment import Environment
from hpcore.model.states import State
from hpcore.model.stimuli import DeviceAdd, Stimulus


class CannotRetrace(RuntimeError):
    """The tables say what the whole machine does not do: a fault of the checker."""


def retrace(tables: Tables, way: Sequence[Numbers]) -> Counterexample:
    """The stimuli that go through the states of `way`, then break something.

    The last state of `way` either is broken itself or is one stimulus before.
    Raises CannotRetrace.
    """
    start = tables.others.get(way[0], tables.start)
    state, faults = start.state, tables.commons[way[0][-1]].faults
    stimuli: list[Stimulus] = []
    for numbers in (*way[1:], None):
        for stimulus, fault, taken in taken_from(tables, state, faults):
            if taken.broken is not None:
                # A violation before the end of the way is not the one that is looked for.
                # One on the step into the last state is: the state itself was broken.
                if numbers is None or numbers == way[-1]:
                    return Counterexample.of(taken.broken, (*stimuli, stimulus), start)
                continue
            if numbers is not None and as_numbers(tables, taken.after, faults - fault) == numbers:
                state, faults = taken.after, faults - fault
                stimuli.append(stimulus)
                break
        else:
            raise CannotRetrace(f"no stimulus leads on from state {len(stimuli)}")
    raise CannotRetrace("the way breaks nothing")


def taken_from(
    tables: Tables, state: State, faults: int
) -> Iterator[tuple[Stimulus, int, Taken]]:
    """Every stimulus that may come, what it takes of the faults, and what it does."""
    for stimulus, fault in offers(tables.environment, state, faults):
        taken = take(state, stimulus, tables.rules, tables.invariants)
        changed = taken.after != state
        yield stimulus, fault if changed else 0, taken


def offers(
    environment: Environment, state: State, faults: int
) -> Iterator[tuple[Stimulus, int]]:
    """What the environment lets reach a whole machine."""
    for offer in environment.about_machine(state.shared, faults):
        if met(offer.needs, state.slots):
            yield offer.stimulus, offer.fault
    for i, slot in enumerate(state.slots):
        for offer in environment.about_slot(i, slot, state.shared, faults):
            if met(offer.needs, state.slots, but=i):
                yield _located(offer.stimulus, i, state), offer.fault


def _located(stimulus: Stimulus, index: int, state: State) -> Stimulus:
    """A device_add names its vCPU as the machine's topology has it."""
    topology = state.config.topology
    if not isinstance(stimulus, DeviceAdd) or topology.cores == topology.maxcpus:
        return stimulus
    return attrs.evolve(stimulus, props=tuple(topology.props(index).items()))


def as_numbers(tables: Tables, state: State, faults: int) -> Numbers | None:
    """The state as the tables number it, or None if they do not have it."""
    try:
        common = tables.commons.index(Common(state.shared, faults))
        return (*(
            tables.locals[role].index(local(tables.environment, i, state.slots[i]))
            for i, role in enumerate(tables.roles)
        ), common)  # fmt: skip
    except ValueError:
        return None
