"""Stock UEFI firmware takes the tables, and hands them to a stock Linux: one boot, one reboot."""

from __future__ import annotations

import asyncio
import re
import time

from hpcore.guest.images import fetch_guest
from tests.platform.machines import machine
from tests.qemu.support import needs_qemu
from tests.support.uefi import UefiMachine, started_by_uefi

HOUR = 3600.0
UUID = "5b4a1c7e-6d0f-4f0e-8f43-0d2b7a9c1e55"
COMPLAINT = r"ACPI.*(Error|Warning|Exception|BIOS|Invalid|failed)|Firmware Bug|FW_BUG|_OSC: not"
TABLES = ["APIC", "DSDT", "FACP", "GTDT", "IORT", "MCFG", "PPTT", "SPCR", "SRAT"]


@needs_qemu
def test_linux_starts_by_uefi_with_these_tables_and_reboots() -> None:
    guest = fetch_guest()
    devices = ["-device", "pcie-root-port,id=root1,chassis=1,slot=1", "-uuid", UUID]
    kernel = [
        "-kernel", str(guest.kernel), "-initrd", str(guest.initramfs()),
        # QEMU's own PSCI grants every CPU_ON, and Linux asks for all present vCPUs
        "-append", "console=ttyAMA0 panic=-1 maxcpus=2",
    ]  # fmt: skip

    async def main() -> None:
        async with started_by_uefi(machine(4, booted=2), *devices, *kernel) as uefi:
            await it_has_the_tables(uefi)
            await it_has_what_qemu_says_of_the_machine(uefi)
            await it_knows_the_time(uefi)
            await it_has_a_power_button(uefi)
            await it_takes_a_pci_device(uefi)
            await uefi.linux.reboot()
            await it_has_the_tables(uefi)

    asyncio.run(main())


async def it_has_the_tables(uefi: UefiMachine) -> None:
    dmesg = (await uefi.shell.run("dmesg")).output
    assert re.search(r"efi: EFI v2\.\d+ by EDK II", dmesg)
    found = re.findall(r"ACPI: (\w{4}) 0x\w+ \w+ \(v\d+ HPCORE[ )]", dmesg)
    assert sorted(found) == sorted([*TABLES, "RSDP", "XSDT"])
    assert [line for line in dmesg.splitlines() if re.search(COMPLAINT, line)] == []
    assert "_OSC: OS now controls [PCIeHotplug PME AER PCIeCapability]" in dmesg
    masks = await uefi.linux.masks()
    assert masks.possible == masks.present == {0, 1, 2, 3}
    assert masks.enabled == masks.online == {0, 1}


async def it_has_what_qemu_says_of_the_machine(uefi: UefiMachine) -> None:
    """SMBIOS is QEMU's own: it makes it for firmware whether or not there is ACPI."""
    told = await uefi.linux.run("cd /sys/class/dmi/id; cat sys_vendor product_uuid bios_vendor")
    assert told.splitlines() == ["QEMU", UUID, "EFI Development Kit II / OVMF"]


async def it_knows_the_time(uefi: UefiMachine) -> None:
    """By UEFI's service, as ACPI has no clock that Linux reads."""
    assert abs(int(await uefi.linux.run("date +%s")) - time.time()) < HOUR


async def it_has_a_power_button(uefi: UefiMachine) -> None:
    assert await uefi.linux.run("cat /sys/bus/acpi/devices/PNP0C0C:00/path") == r"\_SB_.PWRB"
    assert "Power Button" in await uefi.linux.run("cat /proc/bus/input/devices")


async def it_takes_a_pci_device(uefi: UefiMachine) -> None:
    """Native hotplug, behind a port: `_OSC` has given it to Linux."""
    device = {"driver": "virtio-rng-pci", "bus": "root1", "id": "rng"}
    await uefi.qmp.execute("device_add", device)
    vendor = "/sys/bus/pci/devices/0000:01:00.0/vendor"
    wait = f"until cat {vendor} 2>/dev/null; do sleep 0.1; done"
    assert (await uefi.shell.run(wait)).without_kernel_messages.strip() == "0x1af4"
