"""What steps do, alone and together, and what the machine is like after one that failed."""

from __future__ import annotations

import asyncio

from hpcore.model.effects import MachineStep, Step
from hpcore.model.rules import TEARDOWN
from hpcore.model.stimuli import Lost, ScanEnded, ScanStarted
from hpcore.model.topology import mp_affinity
from hpcore.promises.promise import Promises, Subject, give_way, hold, hotplugs
from hpcore.promises.rig import BACK, COLD_BUILD, SessionRig
from hpcore.run.accelerator import EffectError, Session

ROUNDS = 2

PROMISES = Promises()


@PROMISES.promise()
async def bind_gives_the_affinity(subject: Subject) -> None:
    """BIND returns the affinity of the redistributor that it found, which is the slot's."""
    async with subject.created() as rig:
        slots = range(subject.config.possible)
        found = await asyncio.gather(
            *(rig.steps(slot, Step.REALIZE, Step.BIND) for slot in slots)
        )
        for slot, affinity in enumerate(found):
            wanted = mp_affinity(slot)
            hold(affinity == wanted, f"BIND of vCPU {slot} returned {affinity}, not {wanted}.")


@PROMISES.promise(hotplugs)
async def every_vcpu_is_plugged_and_unplugged_again(subject: Subject) -> None:
    """All vCPUs can be plugged at once, unplugged at once, and plugged again."""
    async with subject.running() as rig:
        since = len(rig.stimuli)
        for _ in range(ROUNDS):
            await _at_once(rig, subject.pluggable, COLD_BUILD)
            await _at_once(rig, subject.pluggable, TEARDOWN)
        told = [s for s in rig.stimuli[since:] if not isinstance(s, ScanStarted | ScanEnded)]
        hold(not told, f"It reported {told}, and no guest was told of anything.")


@PROMISES.promise(hotplugs)
async def a_plug_is_taken_back_from_wherever_it_got_to(subject: Subject) -> None:
    """A plug can be taken back after each of its steps, and the slot is as good as new."""
    async with subject.running() as rig:
        slot = subject.pluggable[0]
        for last, back in BACK.items():
            await rig.steps(slot, *COLD_BUILD[: COLD_BUILD.index(last) + 1])
            await rig.steps(slot, *back)
        await rig.steps(slot, *COLD_BUILD)
        await rig.steps(slot, *TEARDOWN)


@PROMISES.promise(hotplugs)
async def a_step_asked_for_in_a_pause_is_done_after_it(subject: Subject) -> None:
    """PAUSE and RESUME are done, and a step asked for in between after RESUME, not before."""
    async with subject.running() as rig:
        for slot in subject.pluggable[:ROUNDS]:
            await rig.machine_step(MachineStep.PAUSE)
            first = asyncio.ensure_future(rig.steps(slot, COLD_BUILD[0]))
            await give_way([first])
            hold(not first.done(), f"{COLD_BUILD[0].name} of vCPU {slot} was done in the pause.")
            await rig.machine_step(MachineStep.RESUME)
            await first
            await rig.steps(slot, *COLD_BUILD[1:])
        hold(not _lost(rig), "The machine was lost.")


@PROMISES.promise()
async def a_migration_is_done_or_refused(subject: Subject) -> None:
    """MIGRATE is done, or refused with an EffectError; the machine goes on in both cases."""
    async with subject.running() as rig:
        try:
            await rig.machine_step(MachineStep.MIGRATE)
        except EffectError as error:
            hold(str(error), "It was refused without a word of why.")
        await rig.machine_step(MachineStep.PAUSE)
        await rig.machine_step(MachineStep.RESUME)
        for slot in subject.pluggable[:1]:
            await rig.steps(slot, *COLD_BUILD)
            await rig.steps(slot, *TEARDOWN)
        hold(not _lost(rig), "The machine was lost.")


async def _at_once(rig: SessionRig[Session], slots: range, steps: tuple[Step, ...]) -> None:
    await asyncio.gather(*(rig.steps(slot, *steps) for slot in slots))


def _lost(rig: SessionRig[Session]) -> list[object]:
    return [stimulus for stimulus in rig.stimuli if isinstance(stimulus, Lost)]
