"""Three searches, one answer: whole machines, packed states, decision diagrams."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

import pytest
from attrs import frozen

from hpcore.check import prove
from hpcore.check.before_boot import search as boot_search
from hpcore.check.explicit import engine as explicit
from hpcore.check.graphs.graph import explore
from hpcore.check.symbolic import engine as symbolic
from hpcore.check.tabulated.schema import Tables
from hpcore.check.tabulated.start import config_of
from hpcore.check.tabulated.tabulate import tabulate
from hpcore.check.variants.known_bugs import ALL
from hpcore.check.world.environment import Environment, EnvironmentRefused
from hpcore.check.world.guests import LEGACY, LINUX, Linux
from hpcore.model.config import MachineConfig
from hpcore.model.decide import decide
from hpcore.model.effects import MachineStep
from hpcore.model.invariants import HELD
from hpcore.model.rules import RULES
from hpcore.model.states import Shared, Slot, State, initial
from hpcore.model.stimuli import Boot, EjectCalled, InsertAcked, RemoveAcked, Stimulus
from tests.check.reference import search


@frozen
class Sparing(Linux):
    """Linux as far as it makes calls of these kinds: few states of a slot, and so many slots."""

    kinds: tuple[type[Stimulus], ...] = (InsertAcked, RemoveAcked)
    name: str = "sparing"
    reads_registered: bool = False

    def calls(self, index: int, slot: Slot, shared: Shared) -> Iterator[Stimulus]:
        for call in super().calls(index, slot, shared):
            if isinstance(call, self.kinds):
                yield call


EJECTS = Sparing(kinds=(InsertAcked, RemoveAcked, EjectCalled))
SMALL = {
    "one slot": Environment(slots=1),
    "all cold-booted": Environment(slots=2, boot=2, pause=True),
    "hostile, no fault": Environment(slots=2, faults=0, power_off=False),
    "hostile, a fault, alone": Environment(slots=2, reset=False, migration=False, power_off=False),
    "linux": Environment(slots=2, guest=LINUX, faults=0, migration=False, power_off=False),
    "legacy, a fault": Environment(slots=2, guest=LEGACY, power_off=False),
    "off and on again, plugged before": Environment(
        slots=2, faults=0, migration=False, power_off=False, power_on=True, plugged=1
    ),
    "what is off is reset alone": Environment(
        slots=1, guest=LINUX, reset=False, power_on=True, pause=True
    ),
    "one command in flight, resets": Environment(
        slots=3, guest=Sparing(), faults=0, power_off=False, commands=1
    ),
    "one command in flight, ejects": Environment(
        slots=3, guest=EJECTS, faults=0, reset=False, power_off=False, commands=1
    ),
}  # fmt: skip

LARGER = {
    "hostile": Environment(slots=3),
    "pausing": Environment(slots=3, pause=True, faults=0),
    "two cold, one command in flight": Environment(slots=4, boot=2, commands=1),
    "linux": Environment(slots=3, guest=LINUX),
    "three faults": Environment(slots=3, boot=2, guest=LEGACY, faults=3),
    "off and on again": Environment(slots=3, boot=2, power_on=True, pause=True, faults=0),
}


@cache
def tables_of(environment: Environment) -> Tables:
    return tabulate(environment)


@pytest.mark.parametrize("name", SMALL)
def test_the_tables_reach_what_whole_machines_reach(name: str) -> None:
    tables = tables_of(SMALL[name])
    plain = search(SMALL[name])
    packed, diagram = explicit.check(tables), symbolic.check(tables)
    assert plain.broken is None
    assert packed.states == diagram.states == plain.states
    assert packed.depth == plain.depth
    # Two stimuli that lead to one state are one pair of states, and two moves.
    assert packed.transitions is not None
    assert plain.transitions <= packed.transitions <= 1.1 * plain.transitions
    graph = explore(tables, plain.states)
    assert len(graph) == plain.states
    leads_to = sum(len({arrow.to for arrow in arrows}) for arrows in graph.values())
    assert leads_to == plain.transitions


@pytest.mark.parametrize("name", LARGER)
def test_both_engines_prove_the_same(name: str) -> None:
    tables = tables_of(LARGER[name])
    packed, diagram = explicit.check(tables), symbolic.check(tables)
    assert packed.proven and diagram.proven
    assert packed.states == diagram.states
    assert packed.missing == diagram.missing == ()


@pytest.mark.parametrize(
    "name", ["not_cold_booted", "bind_matches_affinity", "removal_lost", "slot_vacant"]
)
def test_all_find_a_way_of_the_same_length(name: str) -> None:
    mutant = ALL[name]
    environment = mutant.smallest()
    tables = tabulate(environment, mutant.rules)
    plain = search(environment, mutant.rules)
    ways = [
        found.counterexample for found in (explicit.check(tables), symbolic.check(tables))
    ]
    assert [way.length for way in ways if way] == [len(plain.path)] * 2


BEFORE_BOOT = {
    "one slot, a fault": Environment(slots=1, before_boot=True),
    "a plug, a fault": Environment(
        slots=2, guest=Sparing(kinds=()), reset=False, migration=False, before_boot=True
    ),
    "two cold-booted": Environment(
        slots=2, boot=2, faults=0, pause=True, migration=False, before_boot=True
    ),
    "two plugs": Environment(
        slots=3, guest=Sparing(kinds=()), faults=0, reset=False, migration=False, power_off=False,
        before_boot=True,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BEFORE_BOOT)
def test_what_comes_before_the_boot_and_after_is_what_whole_machines_reach(name: str) -> None:
    """The boot in every order, then the machines that have started, by tables."""
    environment = BEFORE_BOOT[name]
    plain = search(environment)
    packed, diagram = (prove(environment, engine=e) for e in ("explicit", "symbolic"))
    assert plain.broken is None
    assert packed.violations == diagram.violations == ()
    assert packed.states == diagram.states == plain.states
    before = boot_search(environment, RULES, HELD)
    assert 1 < before.states < plain.states
    assert len(before.started) == len({(s.start.state, s.faults) for s in before.started})


def take_all(stimuli: tuple[Stimulus, ...], config: MachineConfig) -> State:
    state = initial(config)
    for stimulus in stimuli:
        state = decide(state, stimulus).state
    return state


def test_a_way_that_begins_before_the_boot_leads_from_a_machine_that_is_off() -> None:
    """Also where what is broken comes after the start: the start's own way is in the log."""
    asked = Environment(slots=2, reset=False, migration=False, power_off=False, before_boot=True)
    late = prove(asked, RULES.without("eject_powered_off"))
    assert late.counterexample is not None
    begun = late.counterexample.start
    assert begun.state.shared.step is MachineStep.START
    assert Boot() in begun.stimuli
    assert take_all(begun.stimuli, config_of(asked)) == begun.state
    early = prove(asked, RULES.without("machine_new"))
    assert early.counterexample is not None
    assert early.counterexample.start.state == initial(config_of(asked))
    assert early.counterexample.stimuli == (Boot(), Boot())
    for found in (late, early):
        assert found.depth == len(found.counterexample.stimuli if found.counterexample else ())


def test_what_is_plugged_before_the_boot_is_not_said_twice() -> None:
    with pytest.raises(EnvironmentRefused, match="plugged before the boot"):
        Environment(slots=2, plugged=1, before_boot=True)


def test_sixteen_slots_are_proven() -> None:
    result = symbolic.check(tables_of(Environment(slots=16)))
    assert result.proven
    assert result.states > 10**29


def test_a_bounded_number_of_commands_is_proven_beyond_what_can_be_listed() -> None:
    result = symbolic.check(tables_of(Environment(slots=5, commands=2)))
    assert result.proven
    assert result.states > 10**7


def test_the_tables_are_small() -> None:
    """Where they grow, something has crept into a slot's state that should be looked at."""
    tables = tables_of(Environment(slots=3))
    widths = {str(role): len(states) for role, states in tables.locals.items()}
    assert widths["boot"] <= 4
    assert widths["hot"] <= 150
    assert len(tables.commons) <= 120
    assert tables.rules == RULES


def test_how_far_the_tabulation_is_is_told() -> None:
    said: list[str] = []
    prove(Environment(slots=2, faults=2), tell=lambda progress: said.append(progress.doing))
    pairs = [words for words in said if words.endswith(" pairs")]
    assert len(pairs) > 2
    assert pairs == sorted(pairs, key=lambda words: int(words.split()[-2].replace(",", "")))
