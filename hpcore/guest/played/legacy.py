"""Linux before 6.11 on arm64, to which online-capable means nothing.

Source: 6.1, arch/arm64/kernel/smp.c (acpi_map_gic_cpu_interface: a GICC that is not
enabled is skipped), drivers/acpi/scan.c without CONFIG_ACPI_HOTPLUG_CPU.
"""

from __future__ import annotations

from attrs import evolve

from hpcore.guest.hand import Masks
from hpcore.guest.played.firmware import Notify
from hpcore.guest.played.linux import OST_FAILURE, LinuxKernel

OST_EJECT_NOT_SUPPORTED = 0x80


class LegacyKernel(LinuxKernel):
    """Its AML reads the event bits, and nothing comes of them but `_OST` with a failure."""

    def usable(self) -> list[int]:
        return [cpu for cpu in super().usable() if self.config.cold_booted(cpu)]

    @property
    def masks(self) -> Masks:
        return evolve(super().masks, enabled=None)

    async def notified(self, cpu: int, notification: Notify) -> None:
        check = notification is Notify.DEVICE_CHECK
        await self.firmware.ost(
            cpu, notification, OST_FAILURE if check else OST_EJECT_NOT_SUPPORTED
        )
