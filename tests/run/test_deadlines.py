"""What is waited for, and for how long."""

from __future__ import annotations

from typing import Any

import attrs

from hpcore.model.config import MachineConfig
from hpcore.model.effects import MachineStep, Step
from hpcore.model.machines import Phase, SlotState
from hpcore.model.states import Owed, State, initial
from hpcore.run.deadlines import (
    Deadlines,
    GuestWait,
    MachineWait,
    Patience,
    StepWait,
    WordWait,
    owed,
)

PATIENCE = Patience(guest=10, step=5, machine=20)


def state(**slot: Any) -> State:
    begin = initial(MachineConfig.of(cpus=1, maxcpus=2))
    return begin.with_slot(1, attrs.evolve(begin.slots[1], **slot))


WAITING = state(command=Owed.UNPLUG, lifecycle=SlotState.ENABLED)


def test_a_step_and_a_guest_are_waited_for_one_after_the_other() -> None:
    assert owed(state(command=Owed.UNPLUG, step=Step.NOTIFY_REMOVE)) == {
        StepWait(1, Step.NOTIFY_REMOVE)
    }
    assert owed(WAITING) == {GuestWait(1)}


def test_a_guest_that_is_reset_is_not_waited_for() -> None:
    shared = attrs.evolve(WAITING.shared, phase=Phase.RESETTING, step=MachineStep.RESTART)
    assert owed(attrs.evolve(WAITING, shared=shared)) == {MachineWait(MachineStep.RESTART)}


def test_the_word_on_an_eject_is_waited_for_less_long_than_the_eject() -> None:
    parked = state(unconfirmed=True)
    assert owed(parked) == {WordWait(1)}
    assert Patience().of(WordWait(1)) < Patience().of(GuestWait(1))
    assert owed(state(unconfirmed=True, step=Step.DISABLE)) == {
        WordWait(1), StepWait(1, Step.DISABLE)
    }  # fmt: skip


def test_nothing_is_owed_by_a_machine_at_rest() -> None:
    assert owed(state(lifecycle=SlotState.ENABLED)) == set()


def test_a_step_of_the_machine_is_waited_for() -> None:
    begin = state()
    assert owed(attrs.evolve(begin, shared=attrs.evolve(begin.shared, step=MachineStep.RESET))) == {
        MachineWait(MachineStep.RESET)
    }


def test_a_wait_ends_once_and_only_after_its_time() -> None:
    deadlines = Deadlines(PATIENCE)
    deadlines.follow(WAITING)
    assert deadlines.pass_time(9.9) == []
    assert deadlines.pass_time(0.2) == [GuestWait(1)]
    assert deadlines.pass_time(100) == []


def test_what_goes_on_being_owed_is_not_given_more_time() -> None:
    deadlines = Deadlines(PATIENCE)
    deadlines.follow(WAITING)
    deadlines.pass_time(9)
    deadlines.follow(WAITING)
    assert deadlines.pass_time(2) == [GuestWait(1)]


def test_a_sign_of_life_gives_the_whole_time_again() -> None:
    deadlines = Deadlines(PATIENCE)
    deadlines.follow(WAITING)
    deadlines.pass_time(9)
    deadlines.restart(GuestWait(1))
    assert deadlines.pass_time(9) == []


def test_what_is_no_longer_owed_is_forgotten() -> None:
    deadlines = Deadlines(PATIENCE)
    deadlines.follow(WAITING)
    deadlines.follow(state())
    assert deadlines.pass_time(100) == []
