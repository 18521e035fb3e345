"""What a session does between a reset and RESTART, and what it has kept afterwards."""

from __future__ import annotations

import asyncio

from hpcore.model.effects import MachineStep, RaiseGed, Reassert, Step
from hpcore.model.rules import TEARDOWN
from hpcore.model.stimuli import InsertAcked, Lost, PowerOffSeen, ResetSeen
from hpcore.model.topology import mp_affinity
from hpcore.promises.promise import Promises, Subject, give_way, hold, hotplugs, refused
from hpcore.promises.rig import BACK, COLD_BUILD

RESETS = 8
UP_TO_WIRE = COLD_BUILD[: COLD_BUILD.index(Step.WIRE) + 1]

PROMISES = Promises()


@PROMISES.promise()
async def a_reset_is_told_once(subject: Subject) -> None:
    """A reset is reported once, and the machine goes on after RESTART, again and again."""
    async with subject.running() as rig:
        for resets in range(1, 4):
            since = len(rig.stimuli)
            await rig.machine_step(MachineStep.RESET)
            await rig.heard(ResetSeen(), since)
            await rig.machine_step(MachineStep.RESTART, tuple(subject.cold))
            await give_way()
            told = rig.stimuli.count(ResetSeen())
            hold(told == resets, f"{told} resets are reported after {resets}.")
        hold(not any(isinstance(s, Lost) for s in rig.stimuli), "The machine was lost.")


@PROMISES.promise(hotplugs)
async def what_is_plugged_stays_over_a_reset(subject: Subject) -> None:
    """What RESTART lists is as it was: it can be unplugged, and plugged again."""
    slot = subject.pluggable[0]
    async with subject.reset(slot) as rig:
        await rig.machine_step(MachineStep.RESTART, (*subject.cold, slot))
        await rig.steps(slot, *TEARDOWN)
        await rig.steps(slot, *COLD_BUILD)


@PROMISES.promise(hotplugs)
async def a_notification_in_a_reset_counts_as_done(subject: Subject) -> None:
    """A notification that is asked for between a reset and RESTART returns before RESTART."""
    slot = subject.pluggable[0]
    async with subject.reset(slot) as rig:
        await rig.steps(slot, Step.NOTIFY_INSERT, Step.NOTIFY_REMOVE)
        await rig.machine_step(MachineStep.RESTART, (*subject.cold, slot))


@PROMISES.promise(lambda subject: subject.hotplugs and subject.capabilities.plays_guest)
async def a_notification_in_a_reset_is_not_repeated(subject: Subject) -> None:
    """After RESTART the guest is not told what it was to be told during the reset."""
    slot = subject.pluggable[0]
    async with subject.reset(slot) as rig:
        asked = asyncio.ensure_future(rig.steps(slot, Step.NOTIFY_INSERT))
        await give_way([asked])
        await rig.machine_step(MachineStep.RESTART, (*subject.cold, slot))
        await asked
        hold(rig.session.played is not None, "The session has no played guest.")
        assert rig.session.played is not None
        await rig.session.played.wait_ready(subject.seconds)
        await give_way()
        hold(InsertAcked(slot) not in rig.stimuli, "The guest was told of the vCPU.")


@PROMISES.promise(hotplugs)
async def other_steps_wait_for_restart(subject: Subject) -> None:
    """Any other step that is asked for between a reset and RESTART is done after RESTART."""
    slot = subject.pluggable[0]
    async with subject.reset() as rig:
        plug = asyncio.ensure_future(rig.steps(slot, Step.REALIZE, Step.BIND))
        await give_way([plug])
        hold(not plug.done(), "REALIZE and BIND were answered before RESTART.")
        await rig.machine_step(MachineStep.RESTART, tuple(subject.cold))
        async with asyncio.timeout(subject.seconds):
            hold(await plug == mp_affinity(slot), "BIND did not return the affinity.")
        await rig.steps(slot, Step.WIRE, Step.ENABLE)


@PROMISES.promise(hotplugs)
async def steps_under_way_at_a_reset_are_done_after_it(subject: Subject) -> None:
    """A step under way when the machine is reset is done at the latest after RESTART."""
    first, second = subject.pluggable[:2]
    async with subject.running() as rig:
        enabled = (*subject.cold, first)
        for passes in range(RESETS):
            await rig.steps(first, *COLD_BUILD)
            since = len(rig.stimuli)
            under_way = [
                asyncio.ensure_future(rig.steps(first, Step.NOTIFY_INSERT)),
                asyncio.ensure_future(rig.steps(second, *UP_TO_WIRE)),
            ]
            for _ in range(passes):
                await asyncio.sleep(0)
            await rig.machine_step(MachineStep.RESET)
            await rig.heard(ResetSeen(), since)
            await rig.machine_step(MachineStep.RESTART, enabled)
            async with asyncio.timeout(subject.seconds):
                await asyncio.gather(*under_way)
            await rig.steps(second, *BACK[Step.WIRE])
            await rig.steps(first, *TEARDOWN)


@PROMISES.promise(hotplugs)
async def a_restart_that_is_refused_can_be_repeated(subject: Subject) -> None:
    """RESTART with a vCPU that was never plugged is refused, and a right one is then done."""
    plugged, never = subject.pluggable[:2]
    async with subject.reset(plugged) as rig:
        wrong = rig.machine_step(MachineStep.RESTART, (*subject.cold, plugged, never))
        await refused(wrong, f"RESTART with vCPU {never}, which was never plugged,")
        await rig.machine_step(MachineStep.RESTART, (*subject.cold, plugged))
        await rig.steps(plugged, *TEARDOWN)
        await rig.steps(never, *COLD_BUILD)


@PROMISES.promise()
async def a_reset_in_a_pause_is_told_at_once(subject: Subject) -> None:
    """RESET of a machine that is paused is reported in the pause, also twice, and RESTART after
    RESUME has it go on."""
    async with subject.running() as rig:
        await rig.machine_step(MachineStep.PAUSE)
        for _ in range(2):
            since = len(rig.stimuli)
            await rig.machine_step(MachineStep.RESET)
            await rig.heard(ResetSeen(), since)
        await rig.machine_step(MachineStep.RESUME)
        await rig.machine_step(MachineStep.RESTART, tuple(subject.cold))
        await give_way()
        told = rig.stimuli.count(ResetSeen())
        hold(told == 2, f"{told} resets are reported after 2.")
        hold(not any(isinstance(s, Lost) for s in rig.stimuli), "The machine was lost.")


@PROMISES.promise(lambda subject: subject.hotplugs and subject.capabilities.plays_guest)
async def a_machine_that_is_off_can_be_reset(subject: Subject) -> None:
    """A machine that its guest has powered off takes RESET, RESUME and RESTART, again and again,
    and keeps what is plugged."""
    slot = subject.pluggable[0]
    async with subject.running() as rig:
        played = rig.session.played
        hold(played is not None, "The session has no played guest.")
        assert played is not None
        await rig.steps(slot, *COLD_BUILD, Step.NOTIFY_INSERT)
        for _ in range(2):
            await played.wait_ready(subject.seconds)
            since = len(rig.stimuli)
            await played.power_off()
            await rig.heard(PowerOffSeen(), since)
            await rig.machine_step(MachineStep.RESET)
            await rig.heard(ResetSeen(), since)
            await rig.machine_step(MachineStep.RESUME)
            await rig.machine_step(MachineStep.RESTART, (*subject.cold, slot))
        await played.wait_ready(subject.seconds)
        await rig.steps(slot, *TEARDOWN)
        hold(not any(isinstance(s, Lost) for s in rig.stimuli), "The machine was lost.")


@PROMISES.promise()
async def a_reset_settles_what_was_to_be_answered(subject: Subject) -> None:
    """Reassert and RaiseGed between a reset and RESTART are taken, and do nothing."""
    async with subject.reset() as rig:
        since = len(rig.stimuli)
        await rig.do(Reassert(0))
        await rig.do(RaiseGed())
        hold(not rig.stimuli[since:], f"It reported {rig.stimuli[since:]}.")
        await rig.machine_step(MachineStep.RESTART, tuple(subject.cold))
