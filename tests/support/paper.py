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
from hpcore.run.accelerator import (
    AcceleratorError,
    Capabilities,
    Console,
    EffectError,
    GuestImages,
    GuestScript,
    Report,
)


@define
class Behaviour:
    """How the accelerator and its guest behave."""

    fails: set[tuple[Step, int]] = field(factory=set)
    hangs: set[tuple[Step, int]] = field(factory=set)
    dies_at: tuple[Step, int] | None = None
    guest: str = "linux"  # or "silent", "refusing"
    ledger: Path | None = None
    before: Callable[[Effect], None] = lambda _effect: None


class PaperSession:
    """Executes effects on paper, and plays a guest."""

    console: Console | None = None
    played: Guest | None = None
    process_id: int | None = None

    def __init__(self, behaviour: Behaviour, report: Report) -> None:
        self._b, self._report = behaviour, report
        self.executed: list[Effect] = []
        self.closed = False

    async def execute(self, effect: Effect) -> int | None:
        self._b.before(effect)
        await asyncio.sleep(0)
        if isinstance(effect, RunStep):
            await self._misbehave(effect)
        self._write_down(effect)
        if isinstance(effect, RunStep):
            self._guest_reacts(effect)
            return mp_affinity(effect.slot) if effect.step is Step.BIND else None
        if isinstance(effect, RunMachineStep) and effect.step is MachineStep.RESET:
            self._report(st.ResetSeen())
        return None

    async def close(self) -> None:
        self.closed = True

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
        self.sessions.append(PaperSession(self.behaviour, report))
        return self.sessions[-1]
