"""An accelerator on paper: it does nothing but say so, and fails where it is told to.

For faults that no real accelerator can be made to have: an effect that fails, one that
never ends, a guest that is silent. It can keep a ledger of what it executed, a line an
effect, which outlives its process.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

from attrs import define, field

from hpcore.guest.protocol import Guest
from hpcore.model import stimuli as st
from hpcore.model.config import MachineConfig
from hpcore.model.effects import Effect, MachineStep, RunMachineStep, RunStep, Step
from hpcore.model.topology import mp_affinity
from hpcore.platform import firmware
from hpcore.run import admission
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
from hpcore.run.gate import ENDED, Gate
from tests.guest.consoles import FedConsole


@define
class Behaviour:
    """How the accelerator and its guest behave."""

    fails: set[tuple[Step, int]] = field(factory=set)
    hangs: set[tuple[Step, int]] = field(factory=set)
    deaf_to: set[MachineStep] = field(factory=set)
    """Steps of the machine that it takes and does not do; it still answers RESET, as any does."""
    dies_at: tuple[Step, int] | None = None
    guest: str = "linux"  # or "silent", "refusing"
    console: FedConsole | None = None
    """What its guest prints, where that is no played one."""
    ledger: Path | None = None
    before: Callable[[Effect], None] = lambda _effect: None


class PaperSession:
    """Executes effects on paper, and plays a guest."""

    played: Guest | None = None
    process_id: int | None = None

    def __init__(self, behaviour: Behaviour, possible: int, report: Report) -> None:
        self.console: Console | None = behaviour.console
        self._b, self._report = behaviour, report
        self._gate = Gate(possible)
        self._wired: set[int] = set()
        self.executed: list[Effect] = []
        self.closed = False

    async def execute(self, effect: Effect) -> int | None:
        self._b.before(effect)
        await asyncio.sleep(0)
        match effect:
            case RunStep(step=step, slot=slot):
                if await self._gate.admits(step, slot):
                    await self._misbehave(effect)
                    return self._step(effect)
            case RunMachineStep():
                self._gate.check(effect.step)
                self._write_down(effect)
                if effect.step not in self._b.deaf_to:
                    self._machine_step(effect)
                elif effect.step is not MachineStep.RESET:
                    await asyncio.Event().wait()
            case _:
                self._write_down(effect)
        return None

    async def close(self) -> None:
        self._gate.end(ENDED)
        if self._b.console is not None:
            self._b.console.end()
        self.closed = True

    def resets_itself(self) -> None:
        """The guest resets the machine."""
        self._gate.shut()
        self._report(st.ResetSeen())

    def powers_itself_off(self) -> None:
        """The guest powers the machine off."""
        self._gate.shut()
        self._report(st.PowerOffSeen())

    def lose(self, why: str) -> None:
        """The machine breaks."""
        if self._gate.end(why):
            self._report(st.Lost(why))

    def _step(self, effect: RunStep) -> int | None:
        self._write_down(effect)
        self._guest_reacts(effect)
        match effect.step:
            case Step.BIND:
                return mp_affinity(effect.slot)
            case Step.WIRE:
                self._wired.add(effect.slot)
            case Step.UNWIRE:
                self._wired.discard(effect.slot)
        return None

    def _machine_step(self, effect: RunMachineStep) -> None:
        match effect.step:
            case MachineStep.CREATE_VCPUS:
                self._gate.created()
            case MachineStep.INIT_GIC:
                self._gate.open()
            case MachineStep.RESET:
                self._gate.shut()
                self._report(st.ResetSeen())
            case MachineStep.RESTART:
                for slot in effect.enabled:
                    if slot not in self._wired:
                        raise EffectError(NEVER_WIRED.format(slot))
                self._gate.open()
            case MachineStep.PAUSE:
                self._gate.pause()
            case MachineStep.RESUME:
                self._gate.resume()
            case MachineStep.POWER_DOWN:
                self._gate.end(ENDED)

    async def _misbehave(self, effect: RunStep) -> None:
        key = (effect.step, effect.slot)
        if key in self._b.hangs:
            await asyncio.Event().wait()
        if key in self._b.fails:
            raise EffectError("as told")
        if key == self._b.dies_at:
            raise AcceleratorError("it died, as told")

    def _write_down(self, effect: Effect) -> None:
        self.executed.append(effect)
        if self._b.ledger is not None and isinstance(effect, RunStep):
            with self._b.ledger.open("ab", buffering=0) as file:
                file.write(f"{effect.step} {effect.slot}\n".encode())
                os.fsync(file.fileno())

    def _guest_reacts(self, effect: RunStep) -> None:
        if self._b.guest == "silent":
            return
        slot = effect.slot
        later = asyncio.get_running_loop().call_soon
        if effect.step is Step.NOTIFY_INSERT:
            registers: tuple[st.Stimulus, ...]
            registers = (st.InsertAcked(slot), st.ScanEnded(), st.OstReported(slot, 1, 0))
            for does in (st.ScanStarted(), *registers):
                later(self._report, does)
        if effect.step is Step.NOTIFY_REMOVE:
            answer: tuple[st.Stimulus, ...] = (st.EjectCalled(slot), st.OstReported(slot, 3, 0))
            if self._b.guest == "refusing":
                answer = (st.OstReported(slot, 3, 0x82),)
            for did in (st.ScanStarted(), st.RemoveAcked(slot), st.ScanEnded(), *answer):
                later(self._report, did)


class PaperAccelerator:
    """Gives paper sessions."""

    def __init__(self, behaviour: Behaviour | None = None) -> None:
        self.behaviour = behaviour or Behaviour()
        self.sessions: list[PaperSession] = []

    def probe(self) -> Capabilities:
        return Capabilities(versions={"paper": "A4"})

    async def open(
        self, machine: MachineConfig, guest: GuestImages | GuestScript | None, report: Report
    ) -> PaperSession:
        await admission.prepare(machine, firmware.QEMU_VIRT, admission.images_of("paper", guest))
        self.sessions.append(PaperSession(self.behaviour, machine.possible, report))
        return self.sessions[-1]
