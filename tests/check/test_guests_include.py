"""A hostile guest does all that any other does: what it is proven with holds for them, too."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

import attrs
import pytest

from hpcore.check import HOSTILE, LEGACY, LINUX, Environment, GuestModel
from hpcore.check.graphs.graph import Graph, explore
from hpcore.check.sightings import Numbers
from hpcore.check.tabulated.schema import Tables
from hpcore.check.tabulated.start import Common
from hpcore.check.tabulated.tabulate import tabulate
from hpcore.model.states import Slot
from hpcore.model.stimuli import Stimulus

SMALL = Environment(slots=2, faults=0, reset=True, migration=False, power_off=False)

State = tuple[tuple[Slot, ...], Common]
Behaviour = tuple[State, type[Stimulus], int | None, State]
"""A state, what came, about which slot, and the state that it led to."""


def plain(tables: Tables, state: Numbers) -> State:
    """A state by its values, without what only some guests tell apart: `registered`."""
    slots = tuple(
        attrs.evolve(tables.locals[role][state[i]], registered=False)
        for i, role in enumerate(tables.roles)
    )
    return slots, tables.commons[state[-1]]


@cache
def explored(guest: GuestModel, environment: Environment) -> tuple[Tables, Graph]:
    tables = tabulate(attrs.evolve(environment, guest=guest))
    return tables, explore(tables, 200_000)


def behaviours(guest: GuestModel, environment: Environment) -> set[Behaviour]:
    def all_of() -> Iterator[Behaviour]:
        tables, graph = explored(guest, environment)  # type: ignore[arg-type]  # frozen classes
        known = {state: plain(tables, state) for state in graph}
        for state, arrows in graph.items():
            for arrow in arrows:
                if known[arrow.to] != known[state]:
                    yield known[state], arrow.by, arrow.slot, known[arrow.to]

    return set(all_of())


@pytest.mark.parametrize(
    "options",
    [{}, {"faults": 1, "reset": False}],
    ids=str,
)
def test_a_hostile_guest_does_what_every_other_does(options: dict[str, bool]) -> None:
    environment = attrs.evolve(SMALL, **options)  # type: ignore[arg-type]
    hostile = behaviours(HOSTILE, environment)
    for guest in (LINUX, LEGACY):
        others = behaviours(guest, environment)
        assert others < hostile, f"{guest.name} does what no hostile guest does"
    assert len(hostile) > 1000


def test_linux_has_more_states_by_one_bit_alone() -> None:
    """Which vCPUs it has registered, on which its next call depends; without it, it has fewer."""
    found = {guest: explored(guest, SMALL) for guest in (HOSTILE, LINUX)}
    states = {guest: set(graph) for guest, (_, graph) in found.items()}
    told = {guest: {plain(tables, s) for s in graph} for guest, (tables, graph) in found.items()}
    assert len(told[HOSTILE]) == len(states[HOSTILE])
    assert len(states[LINUX]) > len(states[HOSTILE]) > len(told[LINUX])
