"""Plugs before the boot: QEMU started with -S, and what stands on its command line."""

from __future__ import annotations

import pytest

from hpcore.model import events as ev
from hpcore.model import stimuli as st
from hpcore.model.decide import decide
from hpcore.model.effects import MachineStep, RunMachineStep, RunStep, Step
from hpcore.model.machines import Phase, SlotState
from hpcore.model.states import Owed
from tests.support.world import World

ADD = st.DeviceAdd("core2", (("core-id", 2),))
ACCEPTED = ev.PlugAccepted(2, "core2")
COMPLETED = ev.PlugCompleted(2, "core2")


def refusal(world: World, stimulus: st.Stimulus) -> str:
    (event,) = decide(world.state, stimulus).events
    assert isinstance(event, ev.Refused)
    return event.message


def plugged_before() -> World:
    world = World()
    world.feed(ADD)
    return world


def settle(world: World) -> World:
    while world.steps or world.machine_steps:
        world.finish_one()
    return world


def until_start(world: World) -> World:
    """Boot up to the effect that has vCPU 0 enter the kernel."""
    world.feed(st.Boot())
    while world.state.shared.step is not MachineStep.START:
        world.finish_one()
    return world


def test_a_plug_before_the_boot_is_accepted_and_begins_nothing() -> None:
    decision = decide(World().state, ADD)
    assert (decision.events, decision.effects) == ((ACCEPTED,), ())
    slot = decision.state.slots[2]
    assert (slot.id, slot.cold, slot.command) == ("core2", False, Owed.PLUG)


def test_the_slot_is_taken_and_the_id_is_too() -> None:
    world = plugged_before()
    assert "exist" in refusal(world, st.DeviceAdd("other", (("core-id", 2),)))
    assert "Duplicate" in refusal(world, st.DeviceAdd("core2", (("core-id", 3),)))


def test_a_cold_booted_slot_is_taken_before_the_boot_as_well() -> None:
    says = refusal(World(), st.DeviceAdd("a", (("core-id", 1),)))
    assert says == "cpu(id1=0:0:1:0) with arch-id 1 exist"


def test_it_is_built_with_the_cold_ones_and_the_machine_starts_with_it() -> None:
    world = until_start(plugged_before())
    assert world.machine_steps == [RunMachineStep(MachineStep.START, (0, 1, 2))]
    slot = world.state.slots[2]
    assert (slot.enabled, slot.registered, slot.insert) == (True, True, False)
    assert slot.command is Owed.PLUG


def test_the_start_waits_for_what_was_plugged_before() -> None:
    world = plugged_before()
    world.feed(st.Boot())
    world.finish_one()
    world.finish_one()
    for effect in list(world.steps):  # all that is cold-booted, first
        while effect.slot != 2 and (under_way := _of(world, effect.slot)) is not None:
            world.outcome(under_way, ok=True)
    assert world.state.shared.step is None
    assert [s.slot for s in world.steps] == [2]
    settle(world)
    assert world.state.shared.phase is Phase.RUNNING


def _of(world: World, slot: int) -> RunStep | None:
    return next((effect for effect in world.steps if effect.slot == slot), None)


def test_it_has_ended_when_the_machine_has_started_without_a_device_check() -> None:
    world = until_start(plugged_before())
    events = decide(world.state, st.MachineDone(MachineStep.START)).events
    assert events == (ev.MachineStepDone(MachineStep.START), COMPLETED)
    settle(world)
    assert world.state.slots[2].command is Owed.NONE
    assert not world.steps


def test_it_is_unplugged_afterwards_as_any_other() -> None:
    world = settle(until_start(plugged_before()))
    world.feed(st.DeviceDel("core2"))
    assert world.steps == [RunStep(Step.NOTIFY_REMOVE, 2)]
    settle(world)
    world.feed(st.EjectCalled(2))
    assert settle(world).state.slots[2].lifecycle is SlotState.PARKED


def test_a_device_del_before_the_boot_takes_it_back_at_once() -> None:
    world = plugged_before()
    events = decide(world.state, st.DeviceDel("core2")).events
    assert events == (
        ev.PlugFailed(2, "core2", "it was unplugged before the machine was booted"),
        ev.UnplugAccepted(2, "core2"),
        ev.UnplugCompleted(2, "core2"),
    )
    world.feed(st.DeviceDel("core2"))
    world.feed(ADD)
    assert settle(until_start(world)).state.enabled == (0, 1, 2)


def test_a_device_del_during_the_boot_waits_for_the_plugs_end() -> None:
    world = until_start(plugged_before())
    assert "unplugged while it runs" in refusal(world, st.DeviceDel("core2"))


@pytest.mark.parametrize("step", [Step.REALIZE, Step.BIND, Step.WIRE, Step.ENABLE])
def test_one_that_fails_is_taken_back_and_the_machine_starts_without_it(step: Step) -> None:
    world = plugged_before()
    world.feed(st.Boot())
    while RunStep(step, 2) not in world.steps:
        world.finish_one()
    world.outcome(RunStep(step, 2), ok=False)
    settle(world)
    assert world.state.shared.phase is Phase.RUNNING
    assert (world.state.slots[2].lifecycle, world.state.enabled) == (SlotState.PARKED, (0, 1))


@pytest.mark.parametrize("effects", range(10))
def test_a_plug_during_the_boot_is_accepted_and_ends(effects: int) -> None:
    world = World()
    world.feed(st.Boot())
    for _ in range(effects):
        world.finish_one()
    world.feed(ADD)
    assert settle(world).state.slots[2].lifecycle is SlotState.ENABLED
    assert world.state.slots[2].command is Owed.NONE


def test_a_plug_while_vcpu_0_starts_is_told_to_the_guest() -> None:
    world = until_start(World())
    world.feed(ADD)
    assert not world.steps
    settle(world)
    assert world.state.slots[2].insert


def test_a_guest_that_resets_itself_at_its_start_has_what_was_plugged() -> None:
    world = until_start(plugged_before())
    events = decide(world.state, st.ResetSeen()).events
    assert events[:2] == (ev.MachineStepDone(MachineStep.START), COMPLETED)


def test_the_end_of_a_machine_that_was_never_booted_ends_its_plugs() -> None:
    world = plugged_before()
    world.feed(st.PowerDown())
    events = decide(world.state, st.MachineDone(MachineStep.POWER_DOWN)).events
    assert ev.PlugFailed(2, "core2", "the machine was powered off") in events


@pytest.mark.parametrize("command", [st.Pause(), st.Reset()])
def test_stop_and_system_reset_before_the_boot_have_nothing_to_do(command: st.Stimulus) -> None:
    assert decide(World().state, command).events == ()
