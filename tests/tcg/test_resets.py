"""Resets at any moment: every step still ends, and the monitor has what the core thinks."""

from __future__ import annotations

import asyncio
import random
from functools import partial
from pathlib import Path

from hpcore_tcg import build
from hpcore_tcg.machine import TcgMachine
from hpcore_tcg.protocol import Op, StateBit
from hpcore_tcg.session import TcgSession

from hpcore.guest.boot import BootFiles
from hpcore.model.effects import MachineStep, RunStep, Step
from hpcore.model.rules import TEARDOWN
from hpcore.model.stimuli import ResetSeen, Stimulus
from hpcore.platform import firmware
from hpcore.promises.rig import COLD_BUILD
from hpcore.qemu import find_qemu
from tests.qemu.support import needs_qemu
from tests.support.waits import until
from tests.tcg.rig import TcgRig, config

pytestmark = needs_qemu

RESETS = 25
SLOTS = range(1, 8)
SPIN = bytes.fromhex("00000014")  # b .


class World(TcgRig):
    """A guest that only spins, and workers that plug and unplug every slot all the time."""

    def __init__(self, directory: Path, seed: int) -> None:
        machine, stimuli = config(1, len(SLOTS) + 1), list[Stimulus]()
        kernel = directory / "kernel"
        kernel.write_bytes(SPIN)
        tree = firmware.build(machine).device_tree(
            bootargs="", initrd_size=0, kaslr_seed=bytes(8), rng_seed=bytes(32)
        )
        boot = BootFiles(b"", tree, kernel, kernel)
        start = partial(TcgMachine.start, machine, boot, find_qemu(), build.ensure_monitor())
        session = TcgSession(machine, start, stimuli.append, boots=True)
        super().__init__(session, stimuli)
        self.random = random.Random(seed)
        self.enabled = {0}
        self.stop = False

    async def work(self, slot: int) -> None:
        plugged = False
        while not self.stop:
            if plugged:
                steps: tuple[Step, ...] = TEARDOWN
            else:
                steps = (*COLD_BUILD, Step.NOTIFY_INSERT, Step.NOTIFY_REMOVE)
            for step in steps:
                await self.do(RunStep(step, slot))
                if step is Step.ENABLE:
                    self.enabled.add(slot)
                elif step is Step.DISABLE:
                    self.enabled.discard(slot)
            plugged = not plugged

    async def reset(self) -> None:
        """Reset, sometimes twice in a row or in the middle of RESTART, until it runs again."""
        since = len(self.stimuli)
        await self.machine_step(MachineStep.RESET)
        seen = 0
        while seen == 0 or self.seen(since) > seen:
            await self.heard(ResetSeen(), since)
            seen = self.seen(since)
            restart = asyncio.create_task(
                self.machine_step(MachineStep.RESTART, tuple(sorted(self.enabled)))
            )
            if seen == 1 and self.random.random() < 0.5:
                for _ in range(self.random.randrange(40)):
                    await asyncio.sleep(0)
                assert self.session._machine is not None
                await self.session._machine.qmp.execute("system_reset")
                await until(lambda: self.seen(since) >= 2, "both resets are seen")
            await restart

    def seen(self, since: int) -> int:
        return self.stimuli[since:].count(ResetSeen())


def test_resets_at_any_moment_lose_no_step(tmp_path: Path) -> None:
    async def run() -> None:
        async with World(tmp_path, seed=20261) as world:
            await world.created()
            await world.started(0)
            workers = [asyncio.create_task(world.work(slot)) for slot in SLOTS]
            for _ in range(RESETS):
                for _ in range(world.random.randrange(200)):
                    await asyncio.sleep(0)
                await world.reset()
            world.stop = True
            async with asyncio.timeout(60):
                await asyncio.gather(*workers)
            assert world.session._machine is not None
            for slot in SLOTS:
                state = await world.session._machine.link.send(Op.QUERY, slot)
                assert state >> StateBit.ALLOWED & 1 == (slot in world.enabled), slot
                assert state >> StateBit.REALIZED & 1 == (slot in world.enabled), slot
            assert set(map(type, world.stimuli)) == {ResetSeen}

    asyncio.run(run())
