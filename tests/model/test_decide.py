"""Single decisions: what a command or a guest's call is answered with."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as some

from hpcore.model import events as ev
from hpcore.model import stimuli as st
from hpcore.model.config import MachineConfig, cap
from hpcore.model.decide import decide
from hpcore.model.effects import (
    AnswerCpuOn,
    MachineStep,
    RaiseGed,
    Reassert,
    RunMachineStep,
    RunStep,
    Step,
)
from hpcore.model.machines import GiccState, Phase, SlotState
from hpcore.model.states import Owed, initial, madt_flags, sta
from tests.support.world import World


def running() -> World:
    return World().boot()


def settle(world: World) -> World:
    while world.steps or world.machine_steps:
        world.finish_one()
    return world


def plugged(slot: int = 2) -> World:
    world = running()
    world.feed(st.DeviceAdd(f"core{slot}", (("core-id", slot),)))
    return settle(world)


def registered(slot: int = 2) -> World:
    world = plugged(slot)
    for stimulus in (st.ScanStarted(), st.InsertAcked(slot), st.ScanEnded(),
                     st.OstReported(slot, 1, 0)):  # fmt: skip
        world.feed(stimulus)
    return world


def asked_to_eject(slot: int = 2) -> World:
    world = registered(slot)
    world.feed(st.DeviceDel(f"core{slot}"))
    return settle(world)


def refusal(world: World, stimulus: st.Stimulus) -> str:
    (event,) = decide(world.state, stimulus).events
    assert isinstance(event, ev.Refused)
    return event.message


def test_boot_creates_all_possible_vcpus_then_the_gic_then_starts() -> None:
    world = World()
    world.feed(st.Boot())
    order = []
    while world.steps or world.machine_steps:
        if world.machine_steps:
            order.append(world.machine_steps[0])
        world.finish_one()
    assert order == [
        RunMachineStep(MachineStep.CREATE_VCPUS),
        RunMachineStep(MachineStep.INIT_GIC),
        RunMachineStep(MachineStep.START, (0, 1)),
    ]
    assert world.state.shared.phase is Phase.RUNNING
    assert [s.lifecycle for s in world.state.slots] == [
        SlotState.ONLINE, SlotState.ENABLED, SlotState.PARKED, SlotState.PARKED,
    ]  # fmt: skip
    assert all(s.created for s in world.state.slots)


def test_a_plug_asks_for_its_steps_one_by_one_in_order() -> None:
    world = running()
    world.feed(st.DeviceAdd("core2", (("core-id", 2),)))
    order = []
    while world.steps:
        assert len(world.steps) == 1
        order.append(world.steps[0].step)
        world.finish_one()
    assert order == [Step.REALIZE, Step.BIND, Step.WIRE, Step.ENABLE, Step.NOTIFY_INSERT]


def test_an_eject_takes_everything_back_in_order() -> None:
    world = asked_to_eject()
    world.feed(st.EjectCalled(2))
    order = []
    while world.steps:
        order.append(world.steps[0].step)
        world.finish_one()
    assert order == [
        Step.DISABLE, Step.UNWIRE, Step.UNBIND, Step.STOP, Step.RELEASE, Step.PARK,
    ]  # fmt: skip
    assert world.state.slots[2].lifecycle is SlotState.PARKED


def test_force_disables_a_running_vcpu_before_it_is_powered_off() -> None:
    world = plugged()
    world.feed(st.CpuOnCalled(2))
    world.feed(st.DeviceDel("core2", force=True))
    order = []
    while world.steps:
        order.append(world.steps[0].step)
        world.finish_one()
    assert order[:3] == [Step.DISABLE, Step.POWER_OFF, Step.UNWIRE]


def test_force_overtakes_an_unplug_that_the_guest_sits_on() -> None:
    world = asked_to_eject()
    world.feed(st.DeviceDel("core2", force=True))
    assert settle(world).state.slots[2].lifecycle is SlotState.PARKED


def test_a_removal_waits_until_the_guest_has_taken_the_insertion() -> None:
    world = plugged()
    world.feed(st.DeviceDel("core2"))
    assert not world.steps
    world.feed(st.ScanStarted())
    world.feed(st.InsertAcked(2))
    assert world.steps == [RunStep(Step.NOTIFY_REMOVE, 2)]


def test_a_second_unplug_while_one_is_pending_asks_the_guest_again() -> None:
    world = asked_to_eject()
    for stimulus in (st.ScanStarted(), st.RemoveAcked(2), st.ScanEnded()):
        world.feed(stimulus)
    decision = decide(world.state, st.DeviceDel("core2"))
    assert decision.events == (
        ev.UnplugRepeated(2, "core2"), ev.StepBegun(2, Step.NOTIFY_REMOVE),
    )  # fmt: skip
    slot = decision.state.slots[2]
    assert slot.remove and slot.requested and decision.state.shared.ged
    assert slot.command is Owed.UNPLUG


def test_an_unplug_after_the_guests_silence_asks_it_again() -> None:
    world = asked_to_eject()
    for stimulus in (st.ScanStarted(), st.RemoveAcked(2), st.ScanEnded(), st.GuestSilent(2)):
        world.feed(stimulus)
    assert world.state.slots[2].requested and world.state.slots[2].command is Owed.NONE
    world.feed(st.DeviceDel("core2"))
    assert world.steps == [RunStep(Step.NOTIFY_REMOVE, 2)]


def test_an_unplug_while_the_guest_is_being_asked_asks_it_no_third_time() -> None:
    world = registered()
    world.feed(st.DeviceDel("core2"))
    world.feed(st.DeviceDel("core2"))
    assert world.steps == [RunStep(Step.NOTIFY_REMOVE, 2)]
    assert world.state.slots[2].requested, "the guest may act on it already"
    world.finish_one()
    assert not world.steps


def test_an_unplug_after_a_refusal_that_came_while_the_guest_was_asked_asks_it_again() -> None:
    world = registered()
    world.feed(st.DeviceDel("core2"))
    world.feed(st.RemoveAcked(2))
    world.feed(st.OstReported(2, 3, 0x82))
    world.feed(st.DeviceDel("core2"))
    world.finish_one()
    assert world.steps == [RunStep(Step.NOTIFY_REMOVE, 2)]


def test_a_refusal_withdraws_no_request_that_the_guest_has_yet_to_take() -> None:
    world = registered()
    world.feed(st.DeviceDel("core2"))
    world.finish_one()
    world.feed(st.OstReported(2, 3, 0x82))
    assert not world.state.slots[2].waits_for_guest
    world.feed(st.RemoveAcked(2))
    world.feed(st.EjectCalled(2))
    assert world.state.slots[2].command is Owed.UNPLUG
    assert world.state.slots[2].lifecycle is SlotState.EJECTING


def test_what_is_being_ejected_is_not_unplugged_again() -> None:
    world = asked_to_eject()
    world.feed(st.EjectCalled(2))
    for force in (False, True):
        text = refusal(world, st.DeviceDel("core2", force=force))
        assert text == "Device core2 is already in the process of unplug"


# -------------------------------------------------------------- during a reset


def resetting(world: World) -> World:
    world.feed(st.ResetSeen())
    assert world.state.shared.phase is Phase.RESETTING
    return world


def test_a_plug_during_a_reset_is_taken_and_ends_plugged() -> None:
    world = resetting(running())
    world.feed(st.DeviceAdd("core2", (("core-id", 2),)))
    assert world.state.slots[2].command is Owed.PLUG
    assert settle(world).state.slots[2].lifecycle is SlotState.ENABLED


def test_an_unplug_during_a_reset_is_put_to_the_guest_after_it() -> None:
    world = resetting(registered())
    world.feed(st.DeviceDel("core2"))
    assert world.state.slots[2].command is Owed.UNPLUG and not world.steps
    world.machine_outcome(world.machine_steps[0], ok=True)
    assert world.steps == [RunStep(Step.NOTIFY_REMOVE, 2)]


def test_an_unplug_that_no_guest_was_asked_for_outlasts_another_reset() -> None:
    world = resetting(registered())
    world.feed(st.DeviceDel("core2"))
    world.feed(st.ResetSeen())
    assert world.state.slots[2].command is Owed.UNPLUG
    world.machine_outcome(world.machine_steps[-1], ok=True)
    assert world.steps == [RunStep(Step.NOTIFY_REMOVE, 2)]


def test_force_during_a_reset_takes_the_vcpu() -> None:
    world = resetting(registered())
    world.feed(st.DeviceDel("core2", force=True))
    assert settle(world).state.slots[2].lifecycle is SlotState.PARKED


def test_a_booting_kernel_knows_what_is_enabled() -> None:
    assert [slot.registered for slot in running().state.slots] == [True, True, False, False]
    world = plugged()
    assert not world.state.slots[2].registered
    world = resetting(world)
    assert [slot.registered for slot in world.state.slots] == [True, True, True, False]


# ------------------------------------------------------ the word after an eject


def replugged_before_the_word() -> World:
    world = asked_to_eject()
    for stimulus in (st.ScanStarted(), st.RemoveAcked(2), st.ScanEnded(), st.EjectCalled(2)):
        world.feed(stimulus)
    assert settle(world).state.slots[2].lifecycle is SlotState.PARKED
    world.feed(st.DeviceAdd("core2", (("core-id", 2),)))
    assert world.state.slots[2].command is Owed.PLUG and not world.steps
    return world


@pytest.mark.parametrize("source", [0x3, 0x103])
@pytest.mark.parametrize("status", [0x0, 0x1, 0x82])
def test_a_slot_is_built_anew_once_the_guest_is_through_with_its_eject(
    source: int, status: int
) -> None:
    world = replugged_before_the_word()
    world.feed(st.OstReported(2, source, 0x84))
    world.feed(st.OstReported(2, 1, 0x0))
    assert not world.steps, "neither is the eject's end"
    world.feed(st.OstReported(2, source, status))
    assert world.steps == [RunStep(Step.REALIZE, 2)]


def test_a_slot_is_built_anew_though_the_guest_never_says_how_its_eject_went() -> None:
    world = replugged_before_the_word()
    world.feed(st.GuestSilent(2))
    assert world.log and world.steps == [RunStep(Step.REALIZE, 2)]


def test_a_slot_is_built_anew_after_a_reset_without_the_word() -> None:
    world = resetting(replugged_before_the_word())
    assert settle(world).state.slots[2].lifecycle is SlotState.ENABLED


def test_a_vcpu_that_was_taken_by_force_owes_no_word() -> None:
    world = registered()
    world.feed(st.DeviceDel("core2", force=True))
    settle(world)
    world.feed(st.DeviceAdd("core2", (("core-id", 2),)))
    assert world.steps == [RunStep(Step.REALIZE, 2)]


@pytest.mark.parametrize(
    ("stimulus", "says"),
    [
        (st.DeviceAdd("a", (("core-id", 0),)), "cpu(id0=0:0:0:0) with arch-id 0 exist"),
        (st.DeviceAdd("cpu0", (("core-id", 2),)), "Duplicate device ID 'cpu0'"),
        (st.DeviceAdd("a", (), "x"), "'x' is not a valid device model name"),
        (st.DeviceAdd("a", (), "max-arm-cpu"),
         "Invalid CPU type, expected cpu type: 'cortex-a57-arm-cpu'"),
        (st.DeviceAdd("4a"), "Parameter 'id' expects an identifier, not '4a'"),
        (st.DeviceDel("cpu1"), "Hot-unplug of cold-booted CPU not supported!"),
        (st.DeviceDel("cpu1", force=True), "Hot-unplug of cold-booted CPU not supported!"),
        (st.DeviceDel("nope"), "Device 'nope' not found"),
        (st.Boot(), "the machine is running; it is booted once"),
        (st.CpuOffSeen(9), "there is no vCPU 9; this machine has 0 to 3"),
        (st.GuestSilent(1), "vCPU 1 does not wait for the guest"),
    ],
)  # fmt: skip
def test_refusals_have_words(stimulus: st.Stimulus, says: str) -> None:
    assert refusal(running(), stimulus) == says


def test_a_property_left_out_is_any_free_vcpu_that_fits() -> None:
    """Kata's Go runtime gives `core-id` 0 alone for each vCPU of `cores=1,sockets=N`."""
    config = MachineConfig.of(cpus=1, maxcpus=4, sockets=4, cores=1, threads=1)
    world = World()
    world.config, world.state = config, initial(config)
    world.boot()
    for n in (1, 2, 3):
        (accepted, *_) = decide(world.state, st.DeviceAdd(f"cpu-{n}", (("core-id", 0),))).events
        assert accepted == ev.PlugAccepted(n, f"cpu-{n}")
        world.feed(st.DeviceAdd(f"cpu-{n}", (("core-id", 0),)))
    says = refusal(world, st.DeviceAdd("cpu-4", (("core-id", 0),)))
    assert says == "cpu(id0=0:0:0:0) with arch-id 0 exist"


def test_a_vcpu_that_left_out_properties_took_is_free_again_once_it_is_parked() -> None:
    world = asked_to_eject(2)
    world.feed(st.EjectCalled(2))
    settle(world)
    world.feed(st.OstReported(2, 3, 0))
    (accepted, *_) = decide(world.state, st.DeviceAdd("any")).events
    assert accepted == ev.PlugAccepted(2, "any")


def test_a_capped_machine_says_why_it_cannot_plug() -> None:
    config = cap(MachineConfig.of(cpus=2, maxcpus=4, gic_version=2), None)
    world = World()
    world.config, world.state = config, initial(config)
    world.boot()
    text = refusal(world, st.DeviceAdd("a", (("core-id", 1),)))
    assert text.startswith("CPU hotplug not supported on this machine: a GICv2")


def test_cpu_on_is_denied_for_a_parked_vcpu_and_granted_once_enabled() -> None:
    denied = decide(running().state, st.CpuOnCalled(2, caller=1))
    assert denied.effects == (AnswerCpuOn(2, 1, False, -3),)
    granted = decide(plugged().state, st.CpuOnCalled(2, 1, 0x40, 7))
    assert granted.effects == (AnswerCpuOn(2, 1, True, 0, 0x40, 7),)


def test_cpu_on_of_what_is_on_is_already_on() -> None:
    assert decide(running().state, st.CpuOnCalled(0)).effects == (AnswerCpuOn(0, 0, False, -4),)


def test_a_grant_that_raced_with_a_forced_removal_is_taken_off_again() -> None:
    world = plugged()
    world.feed(st.DeviceDel("core2", force=True))
    assert world.steps == [RunStep(Step.DISABLE, 2)]
    world.feed(st.CpuOnCalled(2, verdict=True))
    world.finish_one()
    assert world.steps == [RunStep(Step.POWER_OFF, 2)]


def test_a_grant_between_the_eject_and_its_first_step_is_taken_off_again() -> None:
    world = registered()
    world.feed(st.DeviceDel("core2"))  # its notification is still under way
    world.feed(st.EjectCalled(2))
    world.feed(st.CpuOnCalled(2, verdict=True))
    assert not world.state.shared.ended
    assert settle(world).state.slots[2].lifecycle is SlotState.PARKED


def test_an_eject_that_nobody_asked_for_is_refused_and_sta_put_back() -> None:
    decision = decide(registered().state, st.EjectCalled(2))
    (event,) = decision.events
    assert isinstance(event, ev.EjectRefused)
    assert event.guard == "eject_was_requested"
    assert decision.effects == (Reassert(2),)


def test_an_eject_of_a_running_vcpu_is_refused() -> None:
    world = asked_to_eject()
    world.feed(st.CpuOnCalled(2))
    (event,) = decide(world.state, st.EjectCalled(2)).events
    assert isinstance(event, ev.EjectRefused)
    assert event.guard == "eject_powered_off"


def test_a_scan_that_leaves_bits_set_is_followed_by_another() -> None:
    world = plugged()
    world.feed(st.ScanStarted())
    assert decide(world.state, st.ScanEnded()).effects == (RaiseGed(),)


@pytest.mark.parametrize("status", [0x80, 0x82, 0x83, 0x1234])
@pytest.mark.parametrize("source", [0x3, 0x103])
def test_the_guests_refusal_ends_the_unplug(source: int, status: int) -> None:
    world = asked_to_eject()
    world.feed(st.OstReported(2, source, status))
    assert world.state.slots[2].command is Owed.NONE
    assert world.state.slots[2].lifecycle is SlotState.ENABLED


@pytest.mark.parametrize("status", [0x0, 0x84])
def test_progress_does_not_end_the_unplug(status: int) -> None:
    world = asked_to_eject()
    world.feed(st.OstReported(2, 3, status))
    assert world.state.slots[2].command is Owed.UNPLUG


def test_a_gicc_of_another_vcpu_is_not_taken() -> None:
    world = running()
    world.feed(st.DeviceAdd("core2", (("core-id", 2),)))
    world.finish_one()
    world.outcome(world.steps[0], ok=True, affinity=3)
    assert world.state.slots[2].gicc is GiccState.UNBOUND
    assert world.state.slots[2].command is Owed.NONE


def test_a_reset_ends_what_waits_for_the_guest_and_keeps_what_is_plugged() -> None:
    world = asked_to_eject()
    world.feed(st.ResetSeen())
    assert world.machine_steps == [RunMachineStep(MachineStep.RESTART, (0, 1, 2))]
    slot = world.state.slots[2]
    assert (slot.lifecycle, slot.command) == (SlotState.ENABLED, Owed.NONE)
    assert not (slot.insert or slot.remove or slot.requested)


def test_migration_waits_for_quiet_and_changes_nothing() -> None:
    world = running()
    world.feed(st.DeviceAdd("core2", (("core-id", 2),)))
    assert "being plugged or unplugged" in refusal(world, st.Migrate())
    settle(world)
    before = world.state.slots
    world.feed(st.Migrate())
    assert "being migrated or saved" in refusal(world, st.DeviceDel("core2"))
    assert settle(world).state.slots == before


# ----------------------------------------------- steps of the machine that fail


def at(step: MachineStep) -> World:
    """A machine in which `step` is under way."""
    world = World()
    if step in (MachineStep.CREATE_VCPUS, MachineStep.INIT_GIC, MachineStep.START):
        world.feed(st.Boot())
        while [whole.step for whole in world.machine_steps] != [step]:
            world.finish_one()
        return world
    world.boot()
    if step is MachineStep.RESTART:
        world.feed(st.ResetSeen())
        return world
    if step is MachineStep.RESUME:
        world.feed(st.Pause())
        settle(world)
    world.feed(ASKS_FOR[step])
    return world


ASKS_FOR: dict[MachineStep, st.Stimulus] = {
    MachineStep.RESET: st.Reset(),
    MachineStep.PAUSE: st.Pause(),
    MachineStep.RESUME: st.Resume(),
    MachineStep.POWER_DOWN: st.PowerDown(),
    MachineStep.MIGRATE: st.Migrate(),
    MachineStep.SAVE: st.Save("file"),
}
MAY_FAIL = (MachineStep.PAUSE, MachineStep.RESUME, MachineStep.MIGRATE, MachineStep.SAVE)
"""The steps without which the machine goes on as it was."""


@pytest.mark.parametrize("step", [step for step in MachineStep if step not in MAY_FAIL])
def test_a_machine_whose_step_fails_has_failed_with_it(step: MachineStep) -> None:
    world = at(step)
    world.machine_outcome(world.machine_steps[0], ok=False)
    assert world.state.shared.phase is Phase.FAILED
    decision = decide(at(step).state, st.MachineFailed(step, "no more"))
    assert decision.events == (
        ev.MachineStepFailed(step, "no more"),
        *(e for e in decision.events if isinstance(e, ev.PlugFailed | ev.UnplugFailed)),
        ev.MachineLost(f"{step} failed: no more"),
    )


@pytest.mark.parametrize("step", MAY_FAIL)
def test_a_pause_a_resume_a_migration_and_a_save_may_fail_and_the_machine_goes_on(
    step: MachineStep,
) -> None:
    world = at(step)
    before = world.state.shared
    world.machine_outcome(world.machine_steps[0], ok=False)
    shared = world.state.shared
    assert (shared.phase, shared.step, shared.migrating) == (Phase.RUNNING, None, False)
    assert shared.paused is before.paused
    world.feed(ASKS_FOR[step])
    assert [whole.step for whole in world.machine_steps] == [step]


def test_a_pause_that_fails_in_a_reset_lets_the_restart_begin() -> None:
    world = at(MachineStep.PAUSE)
    world.feed(st.ResetSeen())
    assert [whole.step for whole in world.machine_steps] == [MachineStep.PAUSE]
    world.machine_outcome(world.machine_steps[0], ok=False)
    assert world.machine_steps == [RunMachineStep(MachineStep.RESTART, (0, 1))]


def test_a_failure_of_a_step_that_is_not_under_way_is_refused() -> None:
    text = refusal(running(), st.MachineFailed(MachineStep.START, "late"))
    assert text == "'start' of the machine is reported, but nothing is under way"
    assert decide(at(MachineStep.PAUSE).state, st.MachineFailed(MachineStep.RESET, "late")).events[
        0
    ] == ev.Refused(
        "MachineFailed", "outcome_expected",
        "'reset' of the machine is reported, but pause is under way",
    )  # fmt: skip


@pytest.mark.parametrize(
    "command",
    [
        st.Resume(), st.Migrate(), st.DeviceDel("cpu1"), st.DeviceDel("cpu1", force=True),
    ],
)  # fmt: skip
def test_a_command_before_the_boot_is_refused_and_the_machine_boots_after_it(
    command: st.Stimulus,
) -> None:
    world = World()
    assert refusal(world, command) == {
        st.DeviceDel: "the machine is defined; vCPUs are unplugged while it runs or is reset",
        st.Resume: "the machine is defined; boot it first",
        st.Migrate: "the machine is defined; commands are taken while it runs",
    }[type(command)]
    world.feed(command)
    assert world.boot().state.shared.phase is Phase.RUNNING


def test_sta_is_present_always_and_the_madt_says_one_thing() -> None:
    world = plugged()
    assert [sta(s) for s in world.state.slots] == [0xF, 0xF, 0xF, 0xD]
    assert [madt_flags(s) for s in world.state.slots] == [1, 1, 8, 8]


@given(some.text(max_size=5), some.lists(some.tuples(some.text(max_size=5), some.integers())))
def test_any_device_add_is_answered(id_: str, props: list[tuple[str, int]]) -> None:
    events = decide(running().state, st.DeviceAdd(id_, tuple(props))).events
    assert events


def test_words_that_a_log_cannot_hold_are_made_plain() -> None:
    (event,) = decide(running().state, st.Note("a\ud800" + "b" * 9000)).events
    assert isinstance(event, ev.Noted)
    assert event.text.startswith("a\\ud800b")
    assert len(event.text) < 2100
