"""A whole accelerator, and whether it keeps the promises of one.

    python examples/small_accelerator.py

It runs no guest. It only notes which vCPUs are wired. docs/accelerators.md explains the
parts; in a distribution of your own, an entry point of the group `hpcore.accelerators`
makes it known to `hpcore run --accel`.
"""

from __future__ import annotations

from hpcore.model.config import MachineConfig
from hpcore.model.effects import Effect, MachineStep, RunMachineStep, RunStep, Step
from hpcore.model.stimuli import ResetSeen
from hpcore.model.topology import mp_affinity
from hpcore.promises import PromiseBroken, Subject, promises_of
from hpcore.run.accelerator import (
    NEVER_WIRED,
    AcceleratorError,
    Capabilities,
    EffectError,
    GuestImages,
    GuestScript,
    Report,
)
from hpcore.run.gate import ENDED, Gate


class NotebookAccelerator:
    """Writes down what it is asked to do."""

    def probe(self) -> Capabilities:
        return Capabilities(modelled={"realize": "nothing runs; it is only noted"})

    async def open(
        self, machine: MachineConfig, guest: GuestImages | GuestScript | None, report: Report
    ) -> NotebookSession:
        if guest is not None:
            raise AcceleratorError("the notebook runs no guest; give it none")
        return NotebookSession(machine, report)


class NotebookSession:
    """One machine: the slots that are wired."""

    console = None  # no guest code runs that could print
    played = None  # and no guest is played
    process_id = None  # and no other process runs for it

    def __init__(self, machine: MachineConfig, report: Report) -> None:
        self._report = report
        self._gate = Gate(machine.possible)
        self._wired: set[int] = set()

    async def execute(self, effect: Effect) -> int | None:
        match effect:
            case RunStep(step=step, slot=slot):
                if await self._gate.admits(step, slot):
                    return self._slot_step(step, slot)
            case RunMachineStep(step=machine_step, enabled=enabled):
                self._gate.check(machine_step)
                self._machine_step(machine_step, enabled)
        return None  # the other effects answer a guest, and there is none

    async def close(self) -> None:
        self._gate.end(ENDED)

    def _slot_step(self, step: Step, slot: int) -> int | None:
        if step is Step.BIND:
            return mp_affinity(slot)
        if step is Step.WIRE:
            self._wired.add(slot)
        elif step is Step.UNWIRE:
            self._wired.discard(slot)
        return None

    def _machine_step(self, step: MachineStep, enabled: tuple[int, ...]) -> None:
        match step:
            case MachineStep.CREATE_VCPUS:
                self._gate.created()
            case MachineStep.INIT_GIC:
                self._gate.open()
            case MachineStep.RESET:
                self._gate.shut()
                self._report(ResetSeen())
            case MachineStep.RESTART:
                for slot in enabled:
                    if slot not in self._wired:
                        raise EffectError(NEVER_WIRED.format(slot))
                self._gate.open()
            case MachineStep.PAUSE:
                self._gate.pause()
            case MachineStep.RESUME:
                self._gate.resume()
            case MachineStep.POWER_DOWN:
                self._gate.end(ENDED)
            case MachineStep.MIGRATE:
                raise EffectError("the notebook cannot migrate a machine")


def main() -> None:
    """Hold every promise that is not about a guest; under pytest, see docs/accelerators.md."""
    subject = Subject(NotebookAccelerator())
    broken = 0
    promises = list(promises_of(subject))
    for promise in promises:
        try:
            promise.hold(subject)
        except PromiseBroken as error:
            broken += 1
            print(f"{promise.name}: {error}")
    print(f"{len(promises)} promises, {broken} of them broken")


if __name__ == "__main__":
    main()
