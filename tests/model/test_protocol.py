"""The protocol against a hostile guest and a faulty accelerator, in any order."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import settings
from hypothesis import strategies as some
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from hpcore.check.variants.mutants import SECOND_LINES
from hpcore.model.effects import Step
from hpcore.model.guards import SWITCHES
from hpcore.model.invariants import BY_NAME, HELD
from hpcore.model.rules import RULES, Habit, Rules
from hpcore.model.states import State
from hpcore.model.stimuli import Boot, PowerDown, Stimulus
from tests.support.world import InvariantBroken, World


class AnythingGoes(RuleBasedStateMachine):
    """Any stimulus at any time; `World` checks every invariant after every event."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World().boot()

    @rule(data=some.data())
    def something_happens(self, data: some.DataObject) -> None:
        moves = self.world.moves()
        name, args = data.draw(some.sampled_from(moves), label="move")
        self.world.call(name, *args)

    @rule()
    def an_effect_succeeds(self) -> None:
        if self.world.steps or self.world.machine_steps:
            self.world.finish_one()

    @invariant()
    def the_state_at_rest_is_sound(self) -> None:
        assert not list(HELD.of_state(self.world.state))


AnythingGoes.TestCase.settings = settings(max_examples=60, stateful_step_count=60)
TestAnythingGoes = AnythingGoes.TestCase


@pytest.mark.parametrize("seed", range(12))
def test_a_long_hostile_walk_breaks_nothing(seed: int) -> None:
    world, random = World().boot(), Random(seed)
    for _ in range(1500):
        world.random_move(random)
        if world.state.shared.ended:
            world = World().boot()


AT_ITS_END = 12
"""Moves on a walk whose machine is being ended, or has ended."""


def broken_by(rules: Rules, walks: int = 200, steps: int = 1000) -> str | None:
    """The invariant that some hostile walk breaks under `rules`, or None."""
    for seed in range(walks):
        world, random = World(rules), Random(seed)
        try:
            if seed % 4 == 3:  # some walks begin while the machine is still being made
                world.feed(Boot())
            elif seed % 8 != 5:  # and some before that
                world.boot()
            for _ in range(steps):
                if world.state.shared.ended:
                    break
                world.random_move(random)
            if not world.state.shared.ended:
                world.feed(PowerDown())
            for _ in range(AT_ITS_END):
                world.random_move(random)
        except InvariantBroken as error:
            return str(error).split(" ", maxsplit=1)[0].rstrip(":")
    return None


TOO_DEEP = {
    str(Habit.PLUG_WAITS_FOR_CONFIRMATION), str(Habit.EJECT_WAITS_FOR_MIGRATION), "not_ending",
}  # fmt: skip
"""Broken at the end of a long way alone, such as 22 steps with no word of the guest's among the
last ten: the checker finds that (tests/check/test_mutants.py), and a walk hardly ever."""

MUTANTS = [
    n for n in (*SWITCHES, *map(str, Habit)) if n not in SECOND_LINES and n not in TOO_DEEP
]


@pytest.mark.parametrize("name", MUTANTS)
def test_switching_off_a_rule_breaks_an_invariant(name: str) -> None:
    broken = broken_by(RULES.without(name))
    assert broken is not None, f"nothing notices that '{name}' is off"
    assert broken in {*BY_NAME, "transition"}


@pytest.mark.parametrize("name", SECOND_LINES)
def test_a_second_line_of_defence_is_one(name: str) -> None:
    assert broken_by(RULES.without(name), walks=3, steps=400) is None, (
        f"'{name}' is more than a second line: name the invariant that it keeps"
    )


def swapped(order: tuple[Step, ...], i: int) -> tuple[Step, ...]:
    out = list(order)
    out[i], out[i + 1] = out[i + 1], out[i]
    return tuple(out)


@pytest.mark.parametrize("i", range(len(RULES.build) - 1))
def test_a_plug_in_another_order_breaks_an_invariant(i: int) -> None:
    assert broken_by(Rules(build=swapped(RULES.build, i)), walks=10)


@pytest.mark.parametrize("i", range(len(RULES.teardown) - 1))
def test_an_eject_in_another_order_breaks_an_invariant(i: int) -> None:
    rules = Rules(teardown=swapped(RULES.teardown, i))
    assert broken_by(rules), f"nothing notices {rules.teardown[i]} before {rules.teardown[i + 1]}"


def test_walks_get_everywhere() -> None:
    """The walks would prove nothing if they never plugged, ejected, refused or reset."""
    seen: set[str] = set()

    class Watching(World):
        def feed(self, stimulus: Stimulus) -> None:
            before = self.state
            super().feed(stimulus)
            seen.update(_lifecycles(before, self.state))

    for seed in range(30):
        world, random = Watching().boot(), Random(seed)
        for _ in range(800):
            if world.state.shared.ended:
                break
            world.random_move(random)
    assert {
        "parked->realized", "realized->enabled", "enabled->online", "online->enabled",
        "enabled->ejecting", "online->ejecting", "ejecting->parked",
    } <= seen  # fmt: skip


def _lifecycles(before: State, after: State) -> set[str]:
    return {
        f"{b.lifecycle}->{a.lifecycle}"
        for b, a in zip(before.slots, after.slots, strict=True)
        if b.lifecycle is not a.lifecycle
    }
