"""Qtest sessions for tests, spoken to directly."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from hpcore_qtest import QtestAccelerator
from hpcore_qtest.virt.session import VirtSession

from hpcore.model.config import MachineConfig
from hpcore.model.effects import MachineStep, RunMachineStep, RunStep, Step
from hpcore.model.stimuli import Stimulus
from hpcore.run.accelerator import GuestScript
from tests.qemu.support import alive

CONFIG = MachineConfig.of(cpus=1, maxcpus=3, memory=256)
ALONE = GuestScript(append="maxcpus=1")
"""A guest that asks for no CPU_ON at its boot, which nobody here would answer."""
WIRE = (Step.REALIZE, Step.BIND, Step.WIRE)


class Rig:
    """A session and what it has reported."""

    def __init__(self, session: VirtSession, told: list[Stimulus]) -> None:
        self.session, self.told = session, told

    async def whole(self, step: MachineStep, *enabled: int) -> None:
        await self.session.execute(RunMachineStep(step, enabled))

    async def steps(self, slot: int, *steps: Step) -> int | None:
        value = None
        for step in steps:
            value = await self.session.execute(RunStep(step, slot))
        return value

    @property
    def pid(self) -> int:
        assert self.session.process_id is not None
        return self.session.process_id

    async def register(self, slot: int, offset: int) -> int:
        machine = self.session.machine
        assert machine is not None
        return await machine.qemu.qtest.read(machine.gicr.frames[slot] + offset, 4)


@asynccontextmanager
async def rig(
    config: MachineConfig = CONFIG, script: GuestScript | None = None, created: bool = True
) -> AsyncIterator[Rig]:
    """A session with a started QEMU; it leaves none behind."""
    told: list[Stimulus] = []
    session = await QtestAccelerator().open(config, script, told.append)
    assert isinstance(session, VirtSession)
    made = Rig(session, told)
    try:
        if created:
            await made.whole(MachineStep.CREATE_VCPUS)
            await made.whole(MachineStep.INIT_GIC)
        yield made
    finally:
        pid = session.process_id
        await session.close()
        assert pid is None or not alive(pid)


async def booted(rig: Rig) -> None:
    """vCPU 0 is there and the guest runs."""
    await rig.steps(0, *WIRE, Step.ENABLE)
    await rig.whole(MachineStep.START, 0)
