"""Our GED's event register against the one of QEMU's arm `virt`, where memory is hotplugged.

Stock arm `virt` hotplugs no vCPU, but it has a GED as soon as there is firmware, and a DIMM
or a power button makes it tell of something.
"""

from __future__ import annotations

import asyncio
import random

from hpcore_qtest.native.boards import ARM_VIRT
from hpcore_qtest.native.hotpluggable_cpus import NoHotplug, ask
from hpcore_qtest.qemu.machine import Ears, StoppedQemu

from hpcore.platform import virt
from hpcore.platform.ged import EventRegister, GedEvent
from hpcore.qemu.find import find_qemu
from tests.qemu.support import needs_qemu

pytestmark = needs_qemu

DIMMS = 8
ROUNDS = 400
ARGUMENTS = [
    "-machine", ARM_VIRT.machine, "-cpu", "cortex-a57", "-smp", "1",
    "-m", f"256M,slots={DIMMS},maxmem=4G", *ARM_VIRT.options,
]  # fmt: skip


class ArmGed:
    """QEMU's, and how its line has moved."""

    def __init__(self) -> None:
        self.line: list[bool] = []
        self.dimms = 0
        self.machine: StoppedQemu

    async def start(self) -> None:
        self.machine = await StoppedQemu.start(find_qemu(), ARGUMENTS, Ears(irq=self._irq))
        await self.machine.qtest.intercept_in(await self.machine.device(ARM_VIRT.controller))

    async def read(self, offset: int, size: int) -> int:
        return await self.machine.qtest.read(virt.GED_BASE + offset, size)

    async def raise_event(self, event: GedEvent) -> None:
        if event is GedEvent.POWER_DOWN:
            await self.machine.qmp.execute("system_powerdown")
        else:
            memory, dimm = f"memory{self.dimms}", f"dimm{self.dimms}"
            backend = {"qom-type": "memory-backend-ram", "id": memory, "size": 128 << 20}
            await self.machine.qmp.execute("object-add", backend)
            device = {"driver": "pc-dimm", "id": dimm, "memdev": memory}
            await self.machine.qmp.execute("device_add", device)
            self.dimms += 1
        await self.machine.qtest.read(virt.GICD_BASE, 4)  # the line's changes come before

    def moved(self) -> list[bool]:
        """How the line has moved since the last call."""
        found = self.line.copy()
        self.line.clear()
        return found

    def _irq(self, number: int, raised: bool) -> None:
        if number == virt.ACPI_GED_GSI - 32:
            self.line.append(raised)


def test_our_event_register_answers_as_arm_virts() -> None:
    async def scene() -> None:
        draw, ours, theirs = random.Random(11), EventRegister(), ArmGed()
        await theirs.start()
        try:
            for _ in range(ROUNDS):
                kind = draw.random()
                if kind < 0.2:
                    event = GedEvent.POWER_DOWN
                    if draw.random() < 0.2 and theirs.dimms < DIMMS:
                        event = GedEvent.MEMORY_HOTPLUG
                    ours.events |= event
                    await theirs.raise_event(event)
                    assert theirs.moved() == [True, False], "an edge for each event"
                else:
                    offset, size = (0, 4) if kind < 0.4 else _access(draw)
                    read = await theirs.read(offset, size)
                    assert read == ours.read(offset, size), (offset, size)
                    assert not theirs.moved()
            assert theirs.dimms >= 5
        finally:
            await theirs.machine.close()

    asyncio.run(scene())


def _access(draw: random.Random) -> tuple[int, int]:
    size = draw.choice((1, 2, 4, 8))
    return size * draw.randrange(virt.GED_SIZE // size), size


def test_arm_virt_with_firmware_refuses_to_hotplug_a_vcpu() -> None:
    """Its GED is there, so that this is not for the lack of one."""

    async def scene() -> None:
        ged = ArmGed()
        await ged.start()
        try:
            await ask(ged.machine.qmp)
        except NoHotplug as error:
            assert "query-hotpluggable-cpus" in str(error)
        else:
            raise AssertionError("this QEMU's arm virt hotplugs vCPUs: prove the core on it")
        finally:
            await ged.machine.close()

    asyncio.run(scene())
