"""A guest of our own that does what Linux never would, against the real monitor."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
from functools import partial
from pathlib import Path

from hpcore_tcg import build
from hpcore_tcg.machine import TcgMachine
from hpcore_tcg.session import TcgSession

from hpcore.guest.boot import BootFiles
from hpcore.model.effects import MachineStep, Reassert, Step
from hpcore.model.rules import TEARDOWN
from hpcore.model.stimuli import (
    CpuOnCalled,
    EjectCalled,
    OstReported,
    PowerOffSeen,
    ScanEnded,
    Stimulus,
)
from hpcore.platform import firmware
from hpcore.promises.rig import COLD_BUILD
from hpcore.qemu import find_qemu
from tests.qemu.support import needs_qemu
from tests.tcg.rig import TcgRig, config

pytestmark = needs_qemu

SOURCES = Path(__file__).parent / "hostile"


def program(directory: Path) -> Path:
    """The guest, compiled as the monitor is."""
    (directory / "constants.h").write_text(build.constants_header())
    elf, image = directory / "hostile.elf", directory / "hostile.bin"
    done = subprocess.run(
        [
            sys.executable, "-m", "ziglang", "cc", "-target", build.TARGET, *build.CFLAGS,
            "-static", "-I", str(directory), "-T", str(SOURCES / "hostile.ld"),
            str(SOURCES / "hostile.c"), "-o", str(elf),
        ],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    image.write_bytes(build.flash_image(elf.read_bytes()))
    return image


class HostileRig(TcgRig):
    """A session of that guest, and the values that it prints."""

    def __init__(self, image: Path) -> None:
        machine, stimuli = config(1, 3), list[Stimulus]()
        tree = firmware.build(machine).device_tree(
            bootargs="", initrd_size=0, kaslr_seed=bytes(8), rng_seed=bytes(32)
        )
        boot = BootFiles(bytes(0x10_0000), tree, image, SOURCES / "hostile.ld")
        start = partial(TcgMachine.start, machine, boot, find_qemu(), build.ensure_monitor())
        super().__init__(TcgSession(machine, start, stimuli.append, boots=True), stimuli)
        self._printed = b""

    async def value(self, name: str) -> int:
        """What the guest says that `name` is, as a signed number."""
        pattern = re.compile(rf"^{name}=0x([0-9a-f]{{16}})$".encode(), re.MULTILINE)
        assert self.session.console is not None
        async with asyncio.timeout(60):
            while not (match := pattern.search(self._printed)):
                data = await self.session.console.read()
                assert data, f"the guest ended without saying {name}: {self._printed!r}"
                self._printed += data
        value = int(match[1], 16)
        return value - (1 << 64) if value >> 63 else value

    async def values(self, names: str) -> dict[str, int]:
        return {name: await self.value(name) for name in names.split()}


def test_a_hostile_guest_gets_nothing(tmp_path: Path) -> None:
    async def run() -> None:
        async with HostileRig(program(tmp_path)) as rig:
            await rig.created()
            await rig.started(0)
            await psci(rig)
            await secure_world(rig)
            await ring(rig)
            await plugged(rig)

    asyncio.run(run())


async def psci(rig: HostileRig) -> None:
    denied, bad, unsupported, already = -3, -2, -1, -4
    expected = {
        "version": 0x10001, "smccc": 0x10001, "migrate_type": 2,
        "features_cpu_on": 0, "features_nonsense": unsupported, "nonsense": unsupported,
        "on_self": already, "on_parked": denied, "on_none": bad, "on_bad_aff0": bad,
        "on_bad_aff2": bad, "on_bad_aff3": bad, "on_bad_entry": -9,
        "info_self": 0, "info_parked": 1, "info_level": bad, "info_none": bad,
    }  # fmt: skip
    assert await rig.values(" ".join(expected)) == expected
    # the console and the link are two sockets: what was said first may be read last
    await rig.heard(CpuOnCalled)
    calls = [s for s in rig.stimuli if isinstance(s, CpuOnCalled)]
    assert [(c.slot, c.caller, c.context, c.verdict) for c in calls] == [(1, 0, 7, False)]


async def secure_world(rig: HostileRig) -> None:
    aborts = {"read_link": 1, "read_secure_ram": 1, "read_flash": 1, "read_power_gpio": 1}
    expected = {**aborts, "mask_group0": 1, "mask_group0_class": 0}
    assert await rig.values(" ".join(expected)) == expected


async def ring(rig: HostileRig) -> None:
    expected = {
        "ring_drained": 1, "sta_0": 0x0F, "sta_1": 0x0D, "overrun_drained": 1, "tail_drained": 1,
    }  # fmt: skip
    assert await rig.values(" ".join(expected)) == expected
    await rig.heard(ScanEnded())
    first = [s for s in rig.stimuli if not isinstance(s, CpuOnCalled)][:4]
    assert first == [
        EjectCalled(0), EjectCalled(1), EjectCalled(600), OstReported(0xFFFF, 0xDEAD, 0xBEEF),
    ]  # fmt: skip


async def plugged(rig: HostileRig) -> None:
    await rig.value("ready_for_plug")
    for slot in (0, 1, 600):  # as the core answers those ejects
        await rig.do(Reassert(slot))
    since = len(rig.stimuli)
    await rig.steps(1, *COLD_BUILD, Step.NOTIFY_INSERT)
    expected = {"on_plugged": 0, "context": 0x5EC0, "on_running": -4, "info_running": 0}
    assert await rig.values(" ".join(expected)) == expected
    await rig.steps(1, Step.NOTIFY_REMOVE)
    expected = {"eject_drained": 1, "sta_running": 0x0F, "on_still": -4}
    assert await rig.values(" ".join(expected)) == expected
    await rig.heard(EjectCalled(1), since)
    await rig.steps(1, *TEARDOWN)
    assert await rig.value("on_revoked") == -3
    assert await rig.value("done") == 5
    await rig.steps(1, *COLD_BUILD, Step.NOTIFY_INSERT)
    await rig.heard(PowerOffSeen())
    await rig.machine_step(MachineStep.POWER_DOWN)
