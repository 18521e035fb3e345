"""A machine that has shut down: in which order QEMU and the monitor say so, and what follows."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import attrs
import pytest
from hpcore_tcg.build import ensure_monitor
from hpcore_tcg.machine import TcgMachine, Told
from hpcore_tcg.protocol import Event, Frame
from hpcore_tcg.session import TcgSession

from hpcore.guest.boot import BootFiles
from hpcore.model import guards
from hpcore.model.effects import MachineStep
from hpcore.model.stimuli import PowerOffSeen, ResetSeen, Stimulus
from hpcore.platform import firmware
from hpcore.promises.rig import COLD_BUILD
from hpcore.qemu import find_qemu
from hpcore.qemu.qmp import QmpRefused
from hpcore.run.accelerator import EffectError
from tests.qemu.support import needs_qemu
from tests.tcg.rig import TcgRig, config

pytestmark = needs_qemu

POWERS_OFF = b"".join(
    word.to_bytes(4, "little")
    for word in (
        0x52800100,  # movz w0, #8
        0x72B08000,  # movk w0, #0x8400, lsl #16: SYSTEM_OFF
        0xD4000003,  # smc #0
        0x14000000,  # b .
    )
)
SPINS = bytes.fromhex("00000014")  # b .


class Rig(TcgRig):
    """A session whose machine is at hand; the monitor's word of a power-off waits for `heard_off`.
    """

    machine: TcgMachine

    def __init__(self, directory: Path, code: bytes) -> None:
        made, stimuli = config(1, 2), list[Stimulus]()
        kernel = directory / "kernel"
        kernel.write_bytes(code)
        tree = firmware.build(made).device_tree(
            bootargs="", initrd_size=0, kaslr_seed=bytes(8), rng_seed=bytes(32)
        )
        boot = BootFiles(b"", tree, kernel, kernel)
        self.heard_off = asyncio.Event()

        async def start(told: Told) -> TcgMachine:
            async def event(frame: Frame) -> None:
                if frame.kind == Event.SYSTEM_OFF:
                    await self.heard_off.wait()
                await told.event(frame)

            later = attrs.evolve(told, event=event)
            self.machine = await TcgMachine.start(
                made, boot, find_qemu(), ensure_monitor(), later
            )
            return self.machine

        super().__init__(TcgSession(made, start, stimuli.append, boots=True), stimuli)

    async def status(self) -> object:
        """QEMU's run state."""
        answer = await self.machine.qmp.execute("query-status")
        assert isinstance(answer, dict)
        return answer["status"]

    async def is_in(self, status: str) -> None:
        """Wait until QEMU is in that run state."""
        async with asyncio.timeout(self.seconds):
            while await self.status() != status:
                pass  # each question waits for QEMU's answer


@asynccontextmanager
async def started(directory: Path, code: bytes) -> AsyncIterator[Rig]:
    """A machine whose vCPU 0 runs `code`."""
    async with Rig(directory, code) as rig:
        await rig.created()
        await rig.steps(0, *COLD_BUILD)
        await rig.machine_step(MachineStep.START, (0,))
        yield rig


@pytest.mark.parametrize("overtaken", [False, True])
def test_a_reset_may_overtake_the_monitors_word_that_the_guest_is_off(
    tmp_path: Path, overtaken: bool
) -> None:
    """libvirt's came 2 ms after QEMU's SHUTDOWN."""

    async def run() -> None:
        async with started(tmp_path, POWERS_OFF) as rig:
            await rig.is_in("shutdown")
            with pytest.raises(QmpRefused, match=guards.RESET_FIRST.text):
                await rig.machine.qmp.execute("cont")
            if not overtaken:
                rig.heard_off.set()
                await rig.heard(PowerOffSeen())
            reset = asyncio.ensure_future(rig.machine_step(MachineStep.RESET))
            await rig.is_in("prelaunch")
            rig.heard_off.set()
            await reset
            await rig.heard(ResetSeen())
            assert rig.stimuli == [PowerOffSeen(), ResetSeen()]
            await rig.machine_step(MachineStep.RESUME)
            await rig.machine_step(MachineStep.RESTART, (0,))
            await rig.heard(PowerOffSeen(), since=2)
            assert rig.stimuli == [PowerOffSeen(), ResetSeen(), PowerOffSeen()]

    asyncio.run(run())


def test_a_shutdown_is_one_whatever_its_reason(tmp_path: Path) -> None:
    """With -no-reboot, which Kata gives, QEMU shuts down instead of a reset; `set-action` is the
    same later."""

    async def run() -> None:
        async with started(tmp_path, SPINS) as rig:
            await rig.machine.qmp.execute("set-action", {"reboot": "shutdown"})
            with pytest.raises(EffectError, match="-no-reboot"):
                await rig.machine_step(MachineStep.RESET)
            assert rig.stimuli == [PowerOffSeen()]
            assert await rig.status() == "shutdown"
            await rig.machine.qmp.execute("set-action", {"reboot": "reset"})
            await rig.machine_step(MachineStep.RESET)
            await rig.heard(ResetSeen())
            await rig.machine_step(MachineStep.RESUME)
            await rig.machine_step(MachineStep.RESTART, (0,))
            assert rig.stimuli == [PowerOffSeen(), ResetSeen()]

    asyncio.run(run())


def test_a_machine_that_was_reset_in_a_pause_takes_steps_after_it(tmp_path: Path) -> None:
    async def run() -> None:
        async with started(tmp_path, SPINS) as rig:
            await rig.machine_step(MachineStep.PAUSE)
            plug = asyncio.ensure_future(rig.steps(1, *COLD_BUILD))
            await rig.machine_step(MachineStep.RESET)
            await rig.heard(ResetSeen())
            await rig.machine_step(MachineStep.RESUME)
            await rig.machine_step(MachineStep.RESTART, (0,))
            await plug
            assert rig.stimuli == [ResetSeen()]

    asyncio.run(run())
