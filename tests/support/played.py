"""An accelerator that is all in this process: the hotplug registers, PSCI, a played guest.

No QEMU and no KVM: for what is to be shown of a guest, or of the core beneath one, in
milliseconds. It does every effect at once, and keeps a vCPU's power as a machine would.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

from hpcore.guest.played import KINDS, PlayedGuest, make_guest
from hpcore.log import Sync
from hpcore.model import stimuli as st
from hpcore.model.config import MachineConfig
from hpcore.model.effects import (
    AnswerCpuOn,
    Effect,
    MachineStep,
    RaiseGed,
    Reassert,
    RunMachineStep,
    RunStep,
    Step,
)
from hpcore.model.psci import PsciStatus
from hpcore.model.topology import mp_affinity
from hpcore.platform.hotplug_device import HotplugDevice
from hpcore.run.accelerator import (
    NEVER_WIRED,
    AcceleratorError,
    Capabilities,
    Console,
    EffectError,
    GuestImages,
    GuestScript,
    Report,
)
from hpcore.run.discovery import Found
from hpcore.run.gate import ENDED, Gate
from hpcore.scenario.runner import Job, Outcome, run_job
from hpcore.scenario.values import Scenario


class PlayedSession:
    """A machine; it is the guest's `Hardware` as well."""

    console: Console | None = None
    process_id: int | None = None

    def __init__(self, config: MachineConfig, script: GuestScript, report: Report) -> None:
        self._config, self._report = config, report
        self.device = HotplugDevice(config, report, self._raise_ged)
        self.guest: PlayedGuest = make_guest(
            script.kind, config, script.append, self, answers=script.answers
        )
        self.powered: set[int] = set()
        self._gate = Gate(config.possible)
        self._wired: set[int] = set()
        self.steps_done: list[tuple[Step, int]] = []
        self._runs = asyncio.Event()
        self._answers: dict[int, asyncio.Future[int]] = {}

    @property
    def played(self) -> PlayedGuest:
        return self.guest

    def _raise_ged(self) -> None:
        self.guest.ged_interrupt()

    # ----------------------------------------------------------------- effects

    async def execute(self, effect: Effect) -> int | None:
        match effect:
            case RunStep(step=step, slot=slot):
                if await self._gate.admits(step, slot):
                    return self._step(step, slot)
            case Reassert(slot=slot):
                if self._gate.is_open and slot < self._config.possible:
                    self.device.reassert(slot)
            case RaiseGed():
                if self._gate.is_open:
                    self.device.raise_ged()
            case AnswerCpuOn(slot=slot, granted=granted, status=status):
                if granted:
                    self.powered.add(slot)
                if (waiting := self._answers.pop(slot, None)) is not None and not waiting.done():
                    waiting.set_result(0 if granted else status)
            case RunMachineStep():
                self._machine_step(effect)
        return None

    def _step(self, step: Step, slot: int) -> int | None:
        self.device.apply(step, slot)
        self.steps_done.append((step, slot))
        match step:
            case Step.BIND:
                return mp_affinity(slot)
            case Step.WIRE:
                self._wired.add(slot)
            case Step.UNWIRE:
                self._wired.discard(slot)
            case Step.POWER_OFF:
                self.powered.discard(slot)
        return None

    def _machine_step(self, effect: RunMachineStep) -> None:
        self._gate.check(effect.step)
        match effect.step:
            case MachineStep.CREATE_VCPUS:
                self._gate.created()
            case MachineStep.INIT_GIC:
                self._gate.open()
            case MachineStep.START | MachineStep.RESTART:
                self._start(effect.enabled)
                self._gate.open()
            case MachineStep.RESET:
                self._reset()
            case MachineStep.PAUSE:
                self._gate.pause()
                self._runs.clear()
            case MachineStep.RESUME:
                self._gate.resume()
                self._runs.set()
            case MachineStep.POWER_DOWN:
                self._end(ENDED)
            case MachineStep.MIGRATE:
                raise EffectError("there is nowhere to go")

    def _start(self, enabled: tuple[int, ...]) -> None:
        for slot in enabled:
            if slot not in self._wired:
                raise EffectError(NEVER_WIRED.format(slot))
        for slot in enabled:
            self.device.apply(Step.ENABLE, slot)
        self.powered.add(0)
        self.guest.start()
        self._runs.set()

    async def close(self) -> None:
        self._end(ENDED)
        await asyncio.sleep(0)

    def lose(self, why: str) -> None:
        """The machine breaks."""
        if self._end(why):
            self._report(st.Lost(why))

    def _end(self, why: str) -> bool:
        self.guest.stop()
        return self._gate.end(why)

    def _reset(self) -> None:
        self._gate.shut()
        self._runs.clear()
        self.guest.stop()
        self.powered.clear()
        self._answers.clear()
        self.device.reset()
        self._report(st.ResetSeen())

    # ------------------------------------------------------------- the guest's

    async def read(self, address: int, size: int) -> int:
        await self._turn()
        return self.device.read(address, size)

    async def write(self, address: int, size: int, value: int) -> None:
        await self._turn()
        self.device.write(address, size, value)

    async def cpu_on(self, caller: int, cpu: int) -> int:
        await self._turn()
        if not 0 <= cpu < self._config.possible:
            return PsciStatus.INVALID_PARAMETERS
        if cpu in self.powered or cpu in self._answers:
            return PsciStatus.ALREADY_ON
        answer: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._answers[cpu] = answer
        self._report(st.CpuOnCalled(cpu, caller))
        return await answer

    async def cpu_off(self, cpu: int) -> None:
        await self._turn()
        self.powered.discard(cpu)
        self._report(st.CpuOffSeen(cpu))

    async def system_reset(self) -> None:
        await self._turn()
        self._reset()

    async def system_off(self) -> None:
        await self._turn()
        self.guest.stop()
        self._gate.shut()
        self._report(st.PowerOffSeen())

    async def _turn(self) -> None:
        """Other tasks have their turn at every access; in a pause the guest has none."""
        await asyncio.sleep(0)
        await self._runs.wait()


class PlayedAccelerator:
    """Gives such sessions, of the class `make`."""

    make: type[PlayedSession] = PlayedSession

    def __init__(self) -> None:
        self.sessions: list[PlayedSession] = []

    def probe(self) -> Capabilities:
        return Capabilities(plays_guest=True, modelled={"everything": "it is a test's"})

    async def open(
        self, machine: MachineConfig, guest: GuestImages | GuestScript | None, report: Report
    ) -> PlayedSession:
        if not isinstance(guest, GuestScript):
            raise AcceleratorError("give it a guest to play: a GuestScript")
        if guest.kind not in KINDS:
            raise AcceleratorError(f"there is no guest '{guest.kind}' to play")
        self.sessions.append(self.make(machine, guest, report))
        return self.sessions[-1]


def found(accelerator: PlayedAccelerator | None = None) -> Found:
    """As `find` gives it."""
    accelerator = accelerator or PlayedAccelerator()
    return Found("played", "tests", accelerator, accelerator.probe())


def play(scenario: Scenario, log: Path, append: str = "") -> Outcome:
    """Run `scenario` on a played guest, and keep its log."""
    job = Job(scenario, found(), GuestScript(append=append), log, sync=Sync.OS)
    return asyncio.run(run_job(job))
