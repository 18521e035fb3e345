"""Every rule is needed: without it, the checker finds an invariant that breaks."""

from __future__ import annotations

import pytest

from hpcore.check.proof import prove
from hpcore.check.variants.hunt import hunt
from hpcore.check.variants.known_bugs import ALL, KNOWN_BUGS, UnknownMutant, find_mutant
from hpcore.check.variants.mutants import MUTANTS, SECOND_LINES
from hpcore.check.world.environment import Environment
from hpcore.model.guards import SWITCHES
from hpcore.model.invariants import BY_NAME
from hpcore.model.rules import BUILD, TEARDOWN, Habit

SMALL = Environment(slots=2, faults=0, migration=False, power_off=False)
NAMED = {*BY_NAME, "transition", "decide_is_total"}


@pytest.mark.parametrize("name", ALL)
def test_a_mutant_is_found_unless_another_rule_stands_behind_it(name: str) -> None:
    (hunted,) = hunt(SMALL, [ALL[name]])
    assert hunted.as_expected, hunted.result
    assert set(hunted.result.violations) <= NAMED
    found = hunted.result.counterexample
    assert (found is None) == (ALL[name].clean is not None)
    if found is not None:
        assert found.invariant in hunted.result.violations
        assert found.length <= 22


@pytest.mark.parametrize("name", [n for n, bug in KNOWN_BUGS.items() if bug.clean is None])
def test_a_bug_of_the_research_branch_is_caught_by_what_it_breaks(name: str) -> None:
    assert KNOWN_BUGS[name].caught_by <= NAMED
    assert KNOWN_BUGS[name].caught_by


def test_every_guard_habit_and_order_is_a_mutant() -> None:
    assert {*SWITCHES, *map(str, Habit)} <= set(MUTANTS)
    orders = len(BUILD) - 1 + len(TEARDOWN) - 1
    assert len(MUTANTS) == len({*SWITCHES, *map(str, Habit)}) + orders
    assert set(SECOND_LINES) <= set(MUTANTS)
    assert {bug.peer.split(":")[0] for bug in KNOWN_BUGS.values() if bug.peer} == set("123456789")


def test_an_engine_changes_nothing_about_a_mutant() -> None:
    mutant = ALL["disable_clears_events"]
    found = [prove(mutant.smallest(), mutant.rules, e) for e in ("symbolic", "explicit")]
    assert found[0].violations == found[1].violations == ("notified_only_enabled",)
    assert found[0].depth == found[1].depth


def test_a_rule_that_breaks_the_boot_is_found_at_the_boot() -> None:
    mutant = ALL["notified_before_gic"]
    result = prove(mutant.smallest(), mutant.rules)
    assert result.counterexample is not None
    assert result.counterexample.start.stimuli == ()
    assert "MachineDone" in str(result.counterexample.stimuli)


def test_an_unknown_mutant_is_told_what_was_perhaps_meant() -> None:
    with pytest.raises(UnknownMutant, match="Did you mean 'migration_quiet'"):
        find_mutant("migration_quite")
