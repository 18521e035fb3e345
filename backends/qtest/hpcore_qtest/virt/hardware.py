"""How the played guest reaches its machine: our registers, QEMU's, and PSCI."""

from __future__ import annotations

from typing import Protocol

from hpcore.platform.hotplug_device import HotplugDevice
from hpcore.run.accelerator import AcceleratorError
from hpcore_qtest.power import PsciCalls, Reached
from hpcore_qtest.virt.machine import VirtMachine


class Registers(Reached, Protocol):
    """What a session on arm `virt` is to its guest."""

    device: HotplugDevice
    machine: VirtMachine | None


class VirtHardware(PsciCalls):
    """A `hpcore.guest.played.Hardware`.

    The hotplug registers and the GED are `HotplugDevice`'s; everything else on the bus is
    QEMU's own.
    """

    def __init__(self, session: Registers) -> None:
        super().__init__(session)
        self._session = session

    async def read(self, address: int, size: int) -> int:
        """Read a register."""
        await self._session.guest_may_act()
        if self._ours(address):
            return self._session.device.read(address, size)
        return await self._qemu().qemu.qtest.read(address, size)

    async def write(self, address: int, size: int, value: int) -> None:
        """Write a register."""
        await self._session.guest_may_act()
        if self._ours(address):
            self._session.device.write(address, size, value)
        else:
            await self._qemu().qemu.qtest.write(address, size, value)

    def _ours(self, address: int) -> bool:
        regions = self._session.device.regions
        return any(base <= address < base + size for base, size in regions)

    def _qemu(self) -> VirtMachine:
        if self._session.machine is None:
            raise AcceleratorError("there is no machine")
        return self._session.machine
