"""Linux since 6.11, which hotplugs arm64 vCPUs, as it acts towards its machine.

Sources: kernel/cpu.c, arch/arm64/kernel/{smp,acpi}.c, drivers/acpi/{scan,acpi_processor}.c
of 6.12; what it was seen to do on the tcg accelerator is held against it by tests.
"""

from __future__ import annotations

from hpcore.guest.errors import GuestError
from hpcore.guest.linux import CPU_DIRECTORY
from hpcore.guest.played.command_line import cpu_limits
from hpcore.guest.played.hardware import Hardware
from hpcore.guest.played.kernel import PlayedKernel
from hpcore.guest.protocol import Masks
from hpcore.model.acpi import Notification, OstStatus
from hpcore.model.config import MachineConfig
from hpcore.model.psci import PsciStatus
from hpcore.model.rules import RULES, Rules

NO_SUCH_FILE, BUSY = "No such file or directory", "Device or resource busy"
NOT_PERMITTED, INVALID = "Operation not permitted", "Invalid argument"


class LinuxKernel(PlayedKernel):
    """One boot of Linux. Every possible vCPU is present; those in `_STA` are enabled."""

    def __init__(
        self, config: MachineConfig, append: str, hardware: Hardware, rules: Rules = RULES
    ) -> None:
        super().__init__(config, append, hardware, rules)
        limits = cpu_limits(append)
        self.possible = self.usable()[: limits.possible]
        self.at_boot = limits.at_boot
        # without secondary CPUs none is prepared (smp_prepare_cpus)
        self.present = self.possible[:1] if limits.at_boot == 0 else self.possible

    def usable(self) -> list[int]:
        """The vCPUs that the kernel takes from the MADT: enabled and online-capable ones."""
        return list(range(self.config.possible))

    @property
    def masks(self) -> Masks:
        online = frozenset(self.online)
        return Masks(
            possible=frozenset(self.possible),
            present=frozenset(self.present),
            enabled=frozenset(self.registered),
            online=online,
            offline=frozenset(self.possible) - online,
        )

    async def boot(self) -> None:
        """Bring up what answers, then enumerate the processors of the ACPI namespace.

        Every present vCPU is tried until `maxcpus` have been, vCPU 0 counted; those that
        are not enabled answer DENIED (bringup_nonboot_cpus).
        """
        self.online = {0}
        for cpu in self.present[: self.at_boot]:
            if cpu not in self.online and await self.cpu_on(cpu) == PsciStatus.SUCCESS:
                self.online.add(cpu)
        for cpu in range(self.config.possible):
            if await self.firmware.enabled(cpu) and cpu in self.present:
                self.registered.add(cpu)

    async def notified(self, cpu: int, notification: Notification) -> None:
        """acpi_device_hotplug: act, then say how it went."""
        if notification is Notification.DEVICE_CHECK:
            status = await self.device_check(cpu)
        else:
            await self.firmware.ost(cpu, Notification.EJECT_REQUEST, OstStatus.IN_PROGRESS)
            status = await self.hot_remove(cpu)
        await self.firmware.ost(cpu, notification, status)

    async def device_check(self, cpu: int) -> int:
        """Register the vCPU if it is enabled and the kernel has room for it.

        The status for `_OST` is success either way: the namespace was scanned
        (acpi_scan_device_check), and no scan fails for a processor that nobody takes.
        """
        if not await self.firmware.enabled(cpu):
            self.registered.discard(cpu)
        elif cpu in self.present:
            self.registered.add(cpu)
        return OstStatus.SUCCESS

    async def hot_remove(self, cpu: int) -> int:
        """Offline, `_EJ0`, unregister (acpi_scan_hot_remove); the status for `_OST`."""
        if cpu in self.online:
            if self.online == {cpu}:
                return OstStatus.DEVICE_BUSY
            await self.cpu_off(cpu)
        if self.rules.stays(cpu, cold=self.config.cold_booted(cpu)):
            return OstStatus.FAILURE  # it has no _EJ0
        await self.firmware.eject(cpu)
        await self.firmware.enabled(cpu)  # "Eject incomplete"?
        await self.firmware.enabled(cpu)  # still present? (arch_unregister_cpu)
        self.registered.discard(cpu)
        return OstStatus.SUCCESS

    async def cpu_on(self, cpu: int) -> int:
        """PSCI CPU_ON from whichever vCPU this runs on: here the lowest that is online."""
        return await self.hardware.cpu_on(min(self.online), cpu)

    async def cpu_off(self, cpu: int) -> None:
        """Off the lists first, for nothing is asked of a vCPU that is going."""
        self.online.discard(cpu)
        await self.hardware.cpu_off(cpu)

    # ------------------------------------------------------------------- sysfs

    async def write_online(self, cpu: int, wanted: bool) -> None:
        """`echo 1 > cpuN/online`, or 0. Raises GuestError with the shell's words."""
        async with self.hotplug:
            error = await self._write_online(cpu, wanted)
        if error is not None:
            raise GuestError(not_written(cpu, wanted, error))

    async def _write_online(self, cpu: int, wanted: bool) -> str | None:
        if cpu not in self.registered:
            return NO_SUCH_FILE
        if wanted and cpu not in self.online:
            status = await self.cpu_on(cpu)
            if status != PsciStatus.SUCCESS:
                return NOT_PERMITTED if status == PsciStatus.DENIED else INVALID
            self.online.add(cpu)
        elif not wanted and cpu in self.online:
            if self.online == {cpu}:
                return BUSY
            await self.cpu_off(cpu)
        return None


def not_written(cpu: int, wanted: bool, error: str) -> str:
    """What the guest's shell says of `error` when it writes a vCPU's `online`."""
    path = f"{CPU_DIRECTORY}/cpu{cpu}/online"
    if error == NO_SUCH_FILE:
        said = f"eval: can't create {path}: nonexistent directory"
    else:
        said = f"write error: {error}"
    return f"the guest can't write {int(wanted)} to {path}: {said} (status 1)"
