"""What comes of a command whose step fails, or is done otherwise than it was asked."""

from __future__ import annotations

import pytest

from hpcore.model import events as ev
from hpcore.model import stimuli as st
from hpcore.model.decide import decide
from hpcore.model.effects import MachineStep, RunStep, Step
from hpcore.model.machines import Phase, SlotState
from hpcore.model.states import Owed
from tests.model.test_decide import asked_to_eject, registered, running, settle
from tests.support.world import World

NOTIFY = RunStep(Step.NOTIFY_REMOVE, 2)


def being_notified() -> World:
    """A machine whose guest is just being told of an unplug."""
    world = registered()
    world.feed(st.DeviceDel("core2"))
    assert world.steps == [NOTIFY]
    return world


def test_an_unplug_whose_notification_fails_has_failed_and_the_vcpu_stays() -> None:
    decision = decide(being_notified().state, st.Failed(Step.NOTIFY_REMOVE, 2, "no GED"))
    assert decision.events == (
        ev.StepFailed(2, Step.NOTIFY_REMOVE, "no GED"),
        ev.UnplugFailed(2, "core2", "notify_remove failed: no GED"),
    )
    assert decision.state.slots[2].lifecycle is SlotState.ENABLED


def test_an_eject_that_came_before_its_notification_failed_goes_on() -> None:
    world = being_notified()
    world.feed(st.EjectCalled(2))
    assert decide(world.state, st.Failed(Step.NOTIFY_REMOVE, 2, "no GED")).events == (
        ev.StepFailed(2, Step.NOTIFY_REMOVE, "no GED"), ev.StepBegun(2, Step.DISABLE),
    )  # fmt: skip
    world.outcome(NOTIFY, ok=False)
    assert settle(world).state.slots[2].lifecycle is SlotState.PARKED


def test_force_does_not_need_the_notification_that_was_under_way() -> None:
    world = being_notified()
    world.feed(st.DeviceDel("core2", force=True))
    assert world.state.slots[2].command is Owed.REVOKE
    assert decide(world.state, st.Failed(Step.NOTIFY_REMOVE, 2, "no GED")).events == (
        ev.StepFailed(2, Step.NOTIFY_REMOVE, "no GED"),
        ev.TakenByForce(2), ev.StepBegun(2, Step.DISABLE),
    )  # fmt: skip
    world.outcome(NOTIFY, ok=False)
    assert settle(world).state.slots[2].lifecycle is SlotState.PARKED


@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize("n", range(6))
def test_an_eject_whose_step_fails_has_failed_with_its_words(n: int, force: bool) -> None:
    world = asked_to_eject()
    world.feed(st.DeviceDel("core2", force=True) if force else st.EjectCalled(2))
    for _ in range(n):
        world.finish_one()
    (under_way,) = world.steps
    decision = decide(world.state, st.Failed(under_way.step, 2, "no"))
    assert decision.events == (
        ev.StepFailed(2, under_way.step, "no"),
        ev.UnplugFailed(2, "core2", f"{under_way.step} failed: no"),
    )
    assert decision.state.slots[2].stalled


def test_what_fails_while_the_machine_is_made_is_the_machines_end() -> None:
    world = World()
    world.feed(st.Boot())
    while not world.steps:
        world.finish_one()
    first = world.steps[0]
    decision = decide(world.state, st.Failed(first.step, first.slot, "no"))
    assert decision.events[0] == ev.StepFailed(first.slot, first.step, "no")
    assert decision.events[-1] == ev.MachineLost(
        f"cold-booted vCPU {first.slot}: {first.step} failed: no"
    )
    assert decision.state.shared.phase is Phase.FAILED


@pytest.mark.parametrize(
    ("affinity", "found"), [(None, "nothing"), (3, "0x3"), (0x10002, "0x10002")]
)
def test_a_gicc_of_another_vcpu_fails_the_plug_with_both_affinities(
    affinity: int | None, found: str
) -> None:
    world = running()
    world.feed(st.DeviceAdd("core2", (("core-id", 2),)))
    world.finish_one()
    events = decide(world.state, st.Done(Step.BIND, 2, affinity)).events
    why = f"GICR_TYPER of vCPU 2 has affinity {found}, not 0x2"
    assert events[:2] == (
        ev.StepFailed(2, Step.BIND, why), ev.PlugFailed(2, "core2", f"bind failed: {why}"),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("stimulus", "says"),
    [
        (st.InsertAcked(2), "the insert bit of vCPU 2 is not set"),
        (st.RemoveAcked(2), "the remove bit of vCPU 2 is not set"),
        (st.CpuOffSeen(2), "vCPU 2 is off already"),
        (st.ScanEnded(), "the guest ends a scan of event bits that it did not begin"),
        (st.GuestSilent(2), "vCPU 2 does not wait for the guest"),
        (st.Done(Step.BIND, 2), "'bind' of vCPU 2 is reported, but nothing is under way"),
    ],
)
def test_a_word_of_the_guest_or_the_accelerator_out_of_turn_is_refused_by_its_slot(
    stimulus: st.Stimulus, says: str
) -> None:
    (refused,) = decide(registered().state, stimulus).events
    assert isinstance(refused, ev.Refused)
    slot = None if isinstance(stimulus, st.ScanEnded) else 2
    assert (refused.stimulus, refused.message, refused.slot) == (
        type(stimulus).__name__, says, slot,
    )  # fmt: skip


def test_a_reset_that_comes_while_the_machine_starts_has_started_it() -> None:
    world = World()
    world.feed(st.Boot())
    while [whole.step for whole in world.machine_steps] != [MachineStep.START]:
        world.finish_one()
    assert decide(world.state, st.ResetSeen()).events == (
        ev.MachineStepDone(MachineStep.START), ev.MachineWasReset((0, 1)),
        ev.MachineStepBegun(MachineStep.RESTART, (0, 1)),
    )  # fmt: skip
