"""The front door with the caller's firmware on KVM: a disk boots by GRUB, and hotplugs.

It wants AAVMF and the small disk, which an L1 has by `--uefi`: so it is run by its name, and
tests/nested/other_hosts.py does that.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

from hpcore.guest.linux import LinuxGuest
from hpcore.qemu.uefi import find_uefi
from tests.debian.grub import ARGUMENT, FIRST, SECOND, SmallDisk, small_disk
from tests.door.started import KVM, PLUGGABLE_ON_KVM, Vm, vm

READY_SECONDS = 240.0

GED_COUNT = (
    r"awk '/ACPI:Ged/ {for (n = 2; $n ~ /^[0-9]+$/; n++) s += $n} END {print s + 0}' "
    "/proc/interrupts"
)
"""How often the event device has interrupted any vCPU of the guest."""


def test_a_disk_boots_by_uefi_hotplugs_and_reboots_into_what_its_guest_chose(
    tmp_path: Path,
) -> None:
    firmware, disk = find_uefi(), small_disk()
    own = SmallDisk(tmp_path / "disk.raw", disk.choice_at)
    own.path.write_bytes(disk.path.read_bytes())
    words = [
        *firmware.arguments(firmware.new_variables(tmp_path / "variables.fd")),
        "-drive", f"if=none,id=disk,file={own.path},format=raw",
        "-device", "nvme,drive=disk,serial=1,bootindex=0",
    ]  # fmt: skip

    async def main() -> None:
        async with vm(machine=KVM, memory="512M", kernel=words, boots=False) as made:
            await made.guest.wait_ready(READY_SECONDS)
            await starts_by_grub(made, FIRST)
            await vcpus_come_and_go(made)
            await reboots_into_the_other_entry(made, own)
            await the_power_button_is_an_event(made)

    asyncio.run(main())


async def starts_by_grub(made: Vm, entry: str) -> None:
    run = made.guest.run
    assert f"{ARGUMENT}{entry}" in (await run("cat /proc/cmdline")).split()
    await run("dmesg | grep -q 'efi: EFI v2.* by EDK II'")
    await run("dmesg | grep -q 'ACPI: FACP .* HPCORE'")
    masks = await made.guest.masks()
    assert masks.possible == {0, 1, 2, 3}


async def vcpus_come_and_go(made: Vm) -> None:
    await made.shows({0, 1})
    await made.client.plug(2, driver=PLUGGABLE_ON_KVM)
    await made.shows({0, 1, 2})
    assert await made.guest.run("taskset 4 cut -d' ' -f39 /proc/self/stat") == "2"
    await made.client.plug(3, driver=PLUGGABLE_ON_KVM)
    await made.shows({0, 1, 2, 3})
    await made.client.unplug(2)
    await made.enabled({0, 1, 3})


async def reboots_into_the_other_entry(made: Vm, disk: SmallDisk) -> None:
    """What is plugged stays plugged."""
    write = f"dd of=/dev/nvme0n1 bs=1 seek={disk.choice_at} conv=notrunc,fsync 2>/dev/null"
    await made.guest.run(f"printf {SECOND} | {write}")
    await made.guest.reboot(READY_SECONDS)
    await starts_by_grub(made, SECOND)
    await made.shows({0, 1, 3})


async def the_power_button_is_an_event(made: Vm) -> None:
    """Of the event device, whose interrupt is counted; nobody of this guest's heeds it."""
    before = await ged_interrupts(made.guest)
    await made.client.do("system_powerdown")
    await made.client.told("POWERDOWN")
    again = f"until [ $({GED_COUNT}) -gt {before} ]; do sleep 0.1; done"
    await made.guest.run(again)


async def ged_interrupts(guest: LinuxGuest) -> int:
    return int(await guest.run(GED_COUNT))
