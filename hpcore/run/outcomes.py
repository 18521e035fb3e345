"""How an effect ended, and what it means that nothing came of a wait: as stimuli."""

from __future__ import annotations

from hpcore.model import stimuli
from hpcore.model.effects import Effect, MachineStep, RunMachineStep, RunStep
from hpcore.model.stimuli import Stimulus
from hpcore.run.deadlines import GuestWait, MachineWait, Patience, StepWait, Wait, WordWait


def done(effect: Effect, value: int | None) -> Stimulus | None:
    """That it was done, and returned `value`; None where nobody waits for that."""
    match effect:
        case RunStep(step=step, slot=slot):
            return stimuli.Done(step, slot, value)
        case RunMachineStep(step=machine_step):
            return stimuli.MachineDone(machine_step)
    return None


def failed(effect: Effect, error: str) -> Stimulus:
    """That it failed; the machine is lost by one that cannot."""
    match effect:
        case RunStep(step=step, slot=slot):
            return stimuli.Failed(step, slot, error)
        case RunMachineStep(step=machine_step):
            return stimuli.MachineFailed(machine_step, error)
    return stimuli.Lost(f"{effect} failed: {error}")


def expired(wait: Wait, patience: Patience) -> Stimulus:
    """That what is waited for did not come in the time that it has."""
    seconds = f"{patience.of(wait):g} s"
    match wait:
        case GuestWait(slot=slot) | WordWait(slot=slot):
            return stimuli.GuestSilent(slot)
        case StepWait(slot=slot, step=step):
            return stimuli.Lost(f"the accelerator did not end {step} of vCPU {slot} in {seconds}")
        case MachineWait(step=MachineStep.RESET):
            return stimuli.Lost(f"the machine was not reset within {seconds}")
        case MachineWait(step=machine_step):
            return stimuli.Lost(f"the accelerator did not end {machine_step} in {seconds}")
