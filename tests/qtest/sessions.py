"""Qtest sessions for tests, spoken to directly."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from hpcore_qtest import QtestAccelerator
from hpcore_qtest.virt.session import VirtSession

from hpcore.model.config import MachineConfig
from hpcore.model.effects import Step
from hpcore.model.rules import BUILD, RULES, Rules
from hpcore.model.stimuli import Stimulus
from hpcore.promises.rig import SessionRig
from hpcore.run.accelerator import GuestScript
from tests.qemu.support import alive

CONFIG = MachineConfig.of(cpus=1, maxcpus=3, memory=256)
ALONE = GuestScript(append="maxcpus=1")
"""A guest that asks for no CPU_ON at its boot, which nobody here would answer."""
WIRE = BUILD[: BUILD.index(Step.WIRE) + 1]
"""A plug up to the step that wakes the redistributor."""


class VirtRig(SessionRig[VirtSession]):
    """A session without a core, and its QEMU."""

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
    config: MachineConfig = CONFIG,
    script: GuestScript | None = None,
    created: bool = True,
    rules: Rules = RULES,
) -> AsyncIterator[VirtRig]:
    """A session with a started QEMU, by `rules`; it leaves none behind."""
    stimuli: list[Stimulus] = []
    session = await QtestAccelerator(rules).open(config, script, stimuli.append)
    assert isinstance(session, VirtSession)
    pid = None
    try:
        async with VirtRig(session, stimuli) as made:
            if created:
                await made.created()
            yield made
            pid = session.process_id
    finally:
        assert pid is None or not alive(pid)
