"""PSCI, modelled: which vCPUs are on, and the calls of a guest that is played."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Protocol

from hpcore.model.effects import AnswerCpuOn
from hpcore.model.psci import PsciStatus
from hpcore.model.stimuli import CpuOffSeen, CpuOnCalled
from hpcore.run.accelerator import AcceleratorError, Report


class ModelledPower:
    """No vCPU of the machine runs; this is what would be so if they did."""

    def __init__(self, possible: int, report: Report) -> None:
        self._possible, self._report = possible, report
        self._calls: dict[tuple[int, int], deque[asyncio.Future[int]]] = {}
        self.on: set[int] = set()

    async def cpu_on(self, caller: int, cpu: int) -> int:
        """The guest's call, and the core's answer to it: a PSCI return code."""
        if not 0 <= cpu < self._possible:
            return PsciStatus.INVALID_PARAMETERS  # no vCPU has that MPIDR: nothing to decide
        future: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._calls.setdefault((cpu, caller), deque()).append(future)
        self._report(CpuOnCalled(cpu, caller))
        return await future

    def answer(self, effect: AnswerCpuOn) -> None:
        """The core's answer. It comes too late where the machine was reset meanwhile."""
        waiting = self._calls.get((effect.slot, effect.caller))
        if not waiting:
            return
        if effect.granted:
            self.on.add(effect.slot)
        future = waiting.popleft()
        if not future.done():  # done: whoever called is no more
            future.set_result(effect.status)

    def cpu_off(self, cpu: int) -> None:
        """The guest's call; one in the name of a vCPU that is off can't be."""
        if cpu in self.on:
            self.on.discard(cpu)
            self._report(CpuOffSeen(cpu))

    def reset(self) -> None:
        """All vCPUs are off, and no call is answered any more."""
        self.on.clear()
        self._calls.clear()

    def end(self, why: str) -> None:
        """Whoever waits learns that the machine is gone."""
        for future in (f for waiting in self._calls.values() for f in waiting):
            if not future.done():
                future.set_exception(AcceleratorError(why))
        self.reset()


class Reached(Protocol):
    """What a session is to its guest."""

    power: ModelledPower

    async def guest_may_act(self) -> None:
        """Wait for as long as the guest's time stands still."""

    async def reset(self) -> None:
        """Reset the machine."""

    def power_off(self) -> None:
        """Power the machine off."""


class PsciCalls:
    """The PSCI half of a `hpcore.guest.played.Hardware`, on the machine of `reached`."""

    def __init__(self, reached: Reached) -> None:
        self._reached = reached

    async def cpu_on(self, caller: int, cpu: int) -> int:
        """PSCI CPU_ON."""
        await self._reached.guest_may_act()
        status = await self._reached.power.cpu_on(caller, cpu)
        await self._reached.guest_may_act()
        return status

    async def cpu_off(self, cpu: int) -> None:
        """PSCI CPU_OFF."""
        await self._reached.guest_may_act()
        self._reached.power.cpu_off(cpu)

    async def system_reset(self) -> None:
        """PSCI SYSTEM_RESET."""
        await self._reached.guest_may_act()
        await self._reached.reset()

    async def system_off(self) -> None:
        """PSCI SYSTEM_OFF."""
        await self._reached.guest_may_act()
        self._reached.power_off()
