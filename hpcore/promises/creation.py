"""How a machine comes to be: CREATE_VCPUS, INIT_GIC, and no step before them."""

from __future__ import annotations

from hpcore.model.effects import MachineStep, RaiseGed, Reassert, Step
from hpcore.promises.promise import Promises, Subject, hold, refused
from hpcore.promises.rig import COLD_BUILD, SessionRig
from hpcore.run.accelerator import Session

BEYOND = 9999

PROMISES = Promises()


@PROMISES.promise()
async def a_machine_comes_to_be_in_order(subject: Subject) -> None:
    """Every step before CREATE_VCPUS and INIT_GIC is refused, and harms nothing."""
    async with subject.opened() as rig:
        for machine_step in MachineStep:
            if machine_step not in (MachineStep.CREATE_VCPUS, MachineStep.POWER_DOWN):
                before = f"{machine_step.name} before CREATE_VCPUS"
                await refused(rig.machine_step(machine_step), before)
        await _every_step_is_refused(rig, "CREATE_VCPUS")
        await rig.machine_step(MachineStep.CREATE_VCPUS)
        for machine_step in (MachineStep.START, MachineStep.RESET, MachineStep.RESTART):
            await refused(rig.machine_step(machine_step), f"{machine_step.name} before INIT_GIC")
        await _every_step_is_refused(rig, "INIT_GIC")
        await rig.machine_step(MachineStep.INIT_GIC)
        await rig.steps(0, *COLD_BUILD)


async def _every_step_is_refused(rig: SessionRig[Session], before: str) -> None:
    for step in Step:
        await refused(rig.steps(0, step), f"{step.name} before {before}")


@PROMISES.promise()
async def a_machine_is_made_once(subject: Subject) -> None:
    """A second CREATE_VCPUS or INIT_GIC is refused, and harms nothing."""
    async with subject.opened() as rig:
        for machine_step in (MachineStep.CREATE_VCPUS, MachineStep.INIT_GIC):
            await rig.machine_step(machine_step)
            await refused(rig.machine_step(machine_step), f"A second {machine_step.name}")
        await rig.steps(0, *COLD_BUILD)


@PROMISES.promise()
async def a_slot_that_there_is_not_is_refused(subject: Subject) -> None:
    """A step of a vCPU that the machine has not is refused, and harms nothing."""
    async with subject.created() as rig:
        for slot in (subject.config.possible, BEYOND, -1):
            for step in Step:
                await refused(rig.steps(slot, step), f"{step.name} of vCPU {slot}")
        await rig.steps(0, *COLD_BUILD)


@PROMISES.promise()
async def answers_that_nobody_asked_for_harm_nothing(subject: Subject) -> None:
    """Reassert and RaiseGed are taken at any time, also for a vCPU that there is not."""
    async with subject.running() as rig:
        for slot in (0, subject.config.possible, BEYOND):
            hold(await rig.do(Reassert(slot)) is None, "Reassert returned something.")
        hold(await rig.do(RaiseGed()) is None, "RaiseGed returned something.")
        await rig.machine_step(MachineStep.PAUSE)
        await rig.machine_step(MachineStep.RESUME)
