"""How the played guest reaches its machine: our registers, QEMU's, and PSCI."""

from __future__ import annotations

from typing import Protocol

from hpcore.platform.hotplug_device import HotplugDevice
from hpcore.run.accelerator import AcceleratorError
from hpcore_qtest.power import Power
from hpcore_qtest.virt_machine import VirtMachine


class Reached(Protocol):
    """What a session is to the guest."""

    device: HotplugDevice
    power: Power
    machine: VirtMachine | None

    async def guest_may_act(self) -> None:
        """Wait for as long as the guest's time stands still."""

    async def reset(self) -> None:
        """Reset the machine."""

    def power_off(self) -> None:
        """Power the machine off."""


class MachineWiring:
    """A `hpcore.guest.played.Wiring`.

    The hotplug registers and the GED are `HotplugDevice`'s; everything else on the bus is
    QEMU's own.
    """

    def __init__(self, session: Reached) -> None:
        self._session = session

    async def read(self, address: int, size: int) -> int:
        """Read a register."""
        await self._session.guest_may_act()
        if self._ours(address):
            return self._session.device.read(address, size)
        return await self._qemu().machine.qtest.read(address, size)

    async def write(self, address: int, size: int, value: int) -> None:
        """Write a register."""
        await self._session.guest_may_act()
        if self._ours(address):
            self._session.device.write(address, size, value)
        else:
            await self._qemu().machine.qtest.write(address, size, value)

    async def cpu_on(self, caller: int, cpu: int) -> int:
        """PSCI CPU_ON."""
        await self._session.guest_may_act()
        status = await self._session.power.cpu_on(caller, cpu)
        await self._session.guest_may_act()
        return status

    async def cpu_off(self, cpu: int) -> None:
        """PSCI CPU_OFF."""
        await self._session.guest_may_act()
        self._session.power.cpu_off(cpu)

    async def system_reset(self) -> None:
        """PSCI SYSTEM_RESET."""
        await self._session.guest_may_act()
        await self._session.reset()

    async def system_off(self) -> None:
        """PSCI SYSTEM_OFF."""
        await self._session.guest_may_act()
        self._session.power_off()

    def _ours(self, address: int) -> bool:
        regions = self._session.device.regions
        return any(base <= address < base + size for base, size in regions)

    def _qemu(self) -> VirtMachine:
        if self._session.machine is None:
            raise AcceleratorError("there is no machine")
        return self._session.machine
