"""A machine that is off, and one that is paused: what QEMU's commands do to it."""

from __future__ import annotations

import pytest

from hpcore.model import events as ev
from hpcore.model import stimuli as st
from hpcore.model.decide import decide
from hpcore.model.effects import MachineStep, RunMachineStep, RunStep, Step
from hpcore.model.machines import Phase, SlotState
from hpcore.model.states import Owed
from tests.model.test_decide import asked_to_eject, plugged, refusal, registered, running, settle
from tests.support.world import World

RESET_ASKED = (ev.MachineStepBegun(MachineStep.RESET),)
OFF = ev.MachinePoweredOff(ev.GUEST)


def off(world: World) -> World:
    world.feed(st.PowerOffSeen())
    assert world.state.shared.phase is Phase.OFF
    return world


def paused(world: World) -> World:
    world.feed(st.Pause())
    return settle(world)


def restarted(world: World) -> World:
    """Reset, and resume, a machine that stands still."""
    world.feed(st.Reset())
    settle(world)
    world.feed(st.Resume())
    return settle(world)


# ------------------------------------------------------------------------- off


def test_a_machine_that_its_guest_powers_off_keeps_what_is_plugged() -> None:
    world = off(registered())
    assert world.state.enabled == (0, 1, 2)
    assert not any(slot.powered for slot in world.state.slots)
    assert world.state.slots[2].id == "core2"


def test_it_stands_still_until_it_is_reset_and_resumed() -> None:
    world = off(registered())
    assert refusal(world, st.Resume()) == "Resetting the Virtual Machine is required"
    assert decide(world.state, st.Reset()).events == RESET_ASKED
    world.feed(st.Reset())
    settle(world)
    assert (world.state.shared.phase, world.state.shared.paused) == (Phase.RESETTING, True)
    world.feed(st.Resume())
    world.finish_one()
    assert world.machine_steps == [RunMachineStep(MachineStep.RESTART, (0, 1, 2))]
    settle(world)
    assert world.state.shared.phase is Phase.RUNNING
    assert world.state.slots[0].powered and world.state.slots[2].registered


def test_it_can_be_powered_off_and_reset_again_and_again() -> None:
    world = registered()
    for _ in range(3):
        restarted(off(world))
    assert world.state.enabled == (0, 1, 2)


@pytest.mark.parametrize("stimulus", [
    st.DeviceAdd("core3", (("core-id", 3),)), st.DeviceDel("core2"), st.Boot(), st.Migrate(),
    st.Resume(),
])  # fmt: skip
def test_it_takes_no_other_command(stimulus: st.Stimulus) -> None:
    world = off(registered())
    assert refusal(world, stimulus)
    assert decide(world.state, stimulus).effects == ()


def test_stop_of_a_machine_that_is_off_has_nothing_to_do() -> None:
    assert decide(off(running()).state, st.Pause()).events == ()


@pytest.mark.parametrize("call", [
    st.ScanStarted(), st.OstReported(2, 1, 0), st.EjectCalled(2), st.CpuOnCalled(2, verdict=True),
    st.CpuOnCalled(2), st.PowerOffSeen(), st.ResetSeen(),
])  # fmt: skip
def test_what_its_guest_still_said_as_it_went_off_changes_nothing(call: st.Stimulus) -> None:
    world = off(registered())
    decision = decide(world.state, call)
    assert isinstance(decision.events[0], ev.Refused)
    assert (decision.state, decision.effects) == (world.state, ())


def test_the_user_ends_it() -> None:
    world = off(registered())
    world.feed(st.PowerDown())
    settle(world)
    assert world.state.shared.phase is Phase.ENDED
    assert refusal(world, st.Reset()) == "the machine is ended"


def test_what_was_asked_of_the_guest_fails_when_it_powers_off() -> None:
    world = asked_to_eject()
    events = decide(world.state, st.PowerOffSeen()).events
    assert events == (ev.UnplugFailed(2, "core2", "the machine was powered off"), OFF)


def test_what_the_guest_was_not_asked_for_yet_fails_too() -> None:
    world = plugged()  # its device check is not taken yet
    world.feed(st.DeviceDel("core2"))
    assert world.state.slots[2].unasked
    events = decide(world.state, st.PowerOffSeen()).events
    assert events == (ev.UnplugFailed(2, "core2", "the machine was powered off"), OFF)


def test_a_device_del_that_is_given_while_an_older_request_is_under_way_fails_too() -> None:
    world = registered()
    world.feed(st.DeviceDel("core2"))  # its notification stays under way
    world.feed(st.OstReported(2, 3, 0x80))
    world.feed(st.DeviceDel("core2"))
    events = decide(world.state, st.PowerOffSeen()).events
    assert events == (ev.UnplugFailed(2, "core2", "the machine was powered off"), OFF)


@pytest.mark.parametrize("done", range(5))
def test_a_plug_under_way_goes_on_when_the_machine_does(done: int) -> None:
    world = running()
    world.feed(st.DeviceAdd("core2", (("core-id", 2),)))
    for _ in range(done):
        world.finish_one()
    under_way = list(world.steps)
    off(world)
    assert world.steps == under_way
    restarted(world)
    assert world.state.slots[2].command is Owed.NONE
    assert world.state.enabled == (0, 1, 2)


@pytest.mark.parametrize("done", range(7))
def test_an_eject_under_way_goes_on_and_ends(done: int) -> None:
    world = asked_to_eject()
    world.feed(st.EjectCalled(2))
    for _ in range(min(done, 5)):
        world.finish_one()
    restarted(off(world))
    assert world.state.slots[2].lifecycle is SlotState.PARKED
    assert world.state.enabled == (0, 1)


def test_a_plug_that_waits_for_the_word_on_an_eject_is_built_after_the_reset() -> None:
    world = asked_to_eject()
    world.feed(st.EjectCalled(2))
    settle(world)
    world.feed(st.DeviceAdd("core2", (("core-id", 2),)))
    assert not world.steps and world.state.slots[2].unconfirmed
    restarted(off(world))
    assert world.state.enabled == (0, 1, 2)


def test_a_reset_that_is_under_way_when_it_goes_off_is_followed() -> None:
    world = running()
    world.feed(st.Reset())
    off(world)
    settle(world)
    assert (world.state.shared.phase, world.state.shared.paused) == (Phase.RESETTING, True)


def test_a_resumption_that_is_under_way_when_it_goes_off_lets_nothing_go_on() -> None:
    world = paused(running())
    world.feed(st.Resume())
    off(world)
    settle(world)
    assert (world.state.shared.phase, world.state.shared.paused) == (Phase.OFF, True)


def test_a_reset_that_fails_leaves_it_off() -> None:
    world = off(running())
    world.feed(st.Reset())
    world.machine_outcome(world.machine_steps[0], ok=False)
    assert world.state.shared.step is None
    assert restarted(world).state.shared.phase is Phase.RUNNING


@pytest.mark.parametrize("step", [MachineStep.START, MachineStep.RESTART])
def test_a_guest_that_powers_off_as_it_starts_had_started(step: MachineStep) -> None:
    world = World()
    world.feed(st.Boot())
    if step is MachineStep.RESTART:
        settle(world)
        world.feed(st.ResetSeen())
    while world.state.shared.step is not step:
        world.finish_one()
    events = decide(world.state, st.PowerOffSeen()).events
    assert events == (ev.MachineStepDone(step), OFF)


@pytest.mark.parametrize("effects", range(4))
def test_no_machine_is_powered_off_by_a_guest_that_never_ran(effects: int) -> None:
    world = World()
    if effects:
        world.feed(st.Boot())
    for _ in range(effects - 1):
        world.finish_one()
    assert "no guest runs" in refusal(world, st.PowerOffSeen())


# ---------------------------------------------------------------------- paused


def test_stop_when_stopped_and_cont_when_running_have_nothing_to_do() -> None:
    world = running()
    assert decide(world.state, st.Resume()).events == ()
    assert decide(paused(world).state, st.Pause()).events == ()


def test_what_is_under_way_already_is_not_begun_again() -> None:
    world = running()
    world.feed(st.Pause())
    assert decide(world.state, st.Pause()).events == ()
    settle(world)
    world.feed(st.Resume())
    assert decide(world.state, st.Resume()).events == ()


def test_the_opposite_of_what_is_under_way_waits_for_it() -> None:
    world = running()
    world.feed(st.Pause())
    assert "another operation" in refusal(world, st.Resume())
    settle(world)
    world.feed(st.Resume())
    assert "another operation" in refusal(world, st.Pause())


def test_a_reset_in_a_pause_is_begun_and_carried_out_when_the_machine_goes_on() -> None:
    world = paused(registered())
    world.feed(st.Reset())
    settle(world)
    assert (world.state.shared.phase, world.state.shared.step) == (Phase.RESETTING, None)
    world.feed(st.Reset())
    settle(world)
    world.feed(st.Resume())
    settle(world)
    assert world.state.shared.phase is Phase.RUNNING
    assert world.state.enabled == (0, 1, 2)


def test_a_guest_that_resets_itself_as_it_is_paused_starts_when_it_is_resumed() -> None:
    world = running()
    world.feed(st.Pause())
    world.feed(st.ResetSeen())
    settle(world)
    assert (world.state.shared.phase, world.state.shared.step) == (Phase.RESETTING, None)
    world.feed(st.Resume())
    settle(world)
    assert world.state.shared.phase is Phase.RUNNING


def test_a_plug_in_a_reset_that_waits_for_a_resumption_is_accepted_and_ends() -> None:
    world = paused(running())
    world.feed(st.Reset())
    settle(world)
    world.feed(st.DeviceAdd("core2", (("core-id", 2),)))
    assert world.steps == [RunStep(Step.REALIZE, 2)]
    world.feed(st.Resume())
    settle(world)
    assert world.state.enabled == (0, 1, 2)
