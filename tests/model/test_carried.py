"""A machine whose state is carried away: to another process, or into a file to restore it from."""

from __future__ import annotations

import attrs
import pytest

from hpcore.model import events as ev
from hpcore.model import stimuli as st
from hpcore.model.decide import decide
from hpcore.model.effects import MachineStep, RunMachineStep, RunStep, Step
from hpcore.model.invariants import BY_NAME, INVARIANTS
from hpcore.model.machines import Phase, SlotState
from hpcore.model.properties import Change, Invariants
from hpcore.model.rules import RULES
from hpcore.model.states import Owed, State
from tests.model.test_decide import asked_to_eject, plugged, settle
from tests.support.world import World

CARRIERS: dict[MachineStep, st.Stimulus] = {
    MachineStep.MIGRATE: st.Migrate(),
    MachineStep.SAVE: st.Save("file"),
}
ACCEPTED = ev.EjectAccepted(2)
DISABLE = RunStep(Step.DISABLE, 2)


def ejected_while(step: MachineStep) -> World:
    """A machine in which `step` is under way, and whose guest has ejected vCPU 2 since.

    The command was given up before: the guest was silent, and may eject later.
    """
    world = asked_to_eject()
    world.feed(st.GuestSilent(2))
    world.feed(CARRIERS[step])
    decision = decide(world.state, st.EjectCalled(2))
    assert decision.events == (ACCEPTED,)
    assert decision.effects == ()
    world.feed(st.EjectCalled(2))
    return world


@pytest.mark.parametrize("step", CARRIERS)
def test_what_the_guest_ejects_meanwhile_is_taken_down_once_that_has_ended(
    step: MachineStep,
) -> None:
    state = ejected_while(step).state
    assert state.slots[2].command is Owed.UNPLUG
    for end in (st.MachineDone(step), st.MachineFailed(step, "no more")):
        decision = decide(state, end)
        assert decision.effects == (DISABLE,)
        assert not decision.state.shared.migrating
    world = settle(ejected_while(step))
    assert world.state.slots[2].lifecycle is SlotState.PARKED


def test_an_eject_that_is_not_held_breaks_the_migration() -> None:
    state = ejected_while(MachineStep.MIGRATE).state
    rules = RULES.without("eject_waits_for_migration")
    decision = decide(state, st.OstReported(2, 3, 0), rules)
    assert decision.effects == (DISABLE,)
    found = {violation.invariant for violation in Invariants(INVARIANTS).of_state(decision.state)}
    assert found == {"migration_carries_all"}


def test_a_machine_is_restored_where_it_was_saved_and_stands_still() -> None:
    state = ejected_while(MachineStep.SAVE).state
    decision = decide(state, st.Restored("elsewhere"))
    assert decision.events == (ev.Restored("elsewhere"), ev.StepBegun(2, Step.DISABLE))
    restored = decision.states[0]
    assert restored.slots == state.slots
    assert (restored.shared.paused, restored.shared.step) == (True, None)
    assert decide(decision.state, st.Resume()).effects == (RunMachineStep(MachineStep.RESUME),)


def test_a_clone_owes_what_the_saved_machine_owed_and_the_saved_one_goes_on() -> None:
    state = ejected_while(MachineStep.SAVE).state
    clone = decide(state, st.Restored("file"))
    saved = decide(state, st.MachineDone(MachineStep.SAVE))
    assert clone.state.slots == saved.state.slots
    assert not saved.state.shared.paused


def test_a_machine_that_was_not_being_saved_is_not_restored() -> None:
    for world, doing in ((plugged(), "nothing"), (ejected_while(MachineStep.MIGRATE), "migrate")):
        (refused,) = decide(world.state, st.Restored("file")).events
        assert isinstance(refused, ev.Refused)
        assert refused.guard == "saved_before"
        assert f"{doing} is under way" in refused.message


def test_a_guest_that_is_reset_in_a_save_starts_in_the_clone_once_that_is_resumed() -> None:
    world = plugged()
    world.feed(st.Save("file"))
    world.feed(st.ResetSeen())
    assert world.state.shared.phase is Phase.RESETTING
    decision = decide(world.state, st.Restored("file"))
    assert decision.events == (ev.Restored("file"),)
    resumed = decide(decide(decision.state, st.Resume()).state, st.MachineDone(MachineStep.RESUME))
    assert resumed.effects == (RunMachineStep(MachineStep.RESTART, (0, 1, 2)),)


@pytest.mark.parametrize("event", [ev.MachineStepDone, ev.MachineStepFailed])
def test_a_migration_that_changes_a_slot_is_found(event: type) -> None:
    state = plugged().state
    before, after = state.slots[2], state.slots[3]
    said = event(MachineStep.MIGRATE, *(["x"] if event is ev.MachineStepFailed else []))
    change = Change(2, before, state.shared, said, after, state.shared)
    asked = BY_NAME["migration_carries_all"].on_event
    assert asked is not None
    assert not asked(change)


def _restored(before: State, after: State) -> bool:
    asked = BY_NAME["restored_as_saved"].on_event
    assert asked is not None
    event = ev.Restored("file")
    return all(
        asked(Change(i, b, before.shared, event, a, after.shared))
        for i, (b, a) in enumerate(zip(before.slots, after.slots, strict=True))
    )


def test_a_restored_machine_that_owes_less_or_was_told_more_is_found() -> None:
    saved = ejected_while(MachineStep.SAVE).state
    good = decide(saved, st.Restored("file")).states[0]
    assert _restored(saved, good)
    forgetful = good.with_slot(2, attrs.evolve(good.slots[2], command=Owed.NONE))
    told = attrs.evolve(good, shared=attrs.evolve(good.shared, ged=not good.shared.ged))
    runs = attrs.evolve(good, shared=attrs.evolve(good.shared, paused=False))
    unsaved = attrs.evolve(saved, shared=attrs.evolve(saved.shared, step=None))
    assert not any(_restored(saved, wrong) for wrong in (forgetful, told, runs))
    assert not _restored(unsaved, good)
