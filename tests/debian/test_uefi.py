"""Debian boots from its disk by its own boot loader: AAVMF, GRUB, and a kernel that GRUB chooses.

On a QEMU without KVM, with hpcore's tables. hpcore reads nothing of the disk here.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from hpcore.model.config import MachineConfig
from tests.debian.disk import QUICK_CPU, debian_disk, kernels_of, overlay
from tests.support.uefi import UefiMachine, started_by_uefi

pytestmark = pytest.mark.debian

CONFIG = MachineConfig.of(cpus=2, maxcpus=2, memory=1024, cpu_model=QUICK_CPU)


def test_it_boots_by_grub_and_reboots_into_another_kernel(tmp_path: Path) -> None:
    newest, other = kernels_of(debian_disk())
    disk = overlay(debian_disk(), tmp_path / "debian.qcow2")
    devices = [
        "-drive", f"if=none,id=disk,file={disk},format=qcow2",
        "-device", "virtio-blk-pci,drive=disk,bootindex=0",
    ]  # fmt: skip

    async def main() -> None:
        async with started_by_uefi(CONFIG, *devices) as uefi:
            await it_runs(uefi, newest)
            await grub_is_to_boot(uefi, other)
            await reboot(uefi)
            await it_runs(uefi, other)

    asyncio.run(main())


async def it_runs(uefi: UefiMachine, release: str) -> None:
    """That kernel, of this disk, started by GRUB, with hpcore's tables."""
    run = uefi.linux.run
    assert await run("uname -r") == release
    assert (await run("cat /proc/cmdline")).startswith(f"BOOT_IMAGE=/boot/vmlinuz-{release} ")
    assert await run("findmnt -no SOURCE /") == "/dev/vda1"
    assert await run("cat /sys/firmware/efi/fw_platform_size") == "64"
    assert "HPCORE" in await run("head -c 16 /sys/firmware/acpi/tables/DSDT | tr -d '\\0'")
    masks = await uefi.linux.masks()
    assert masks.enabled == masks.online == {0, 1}


async def grub_is_to_boot(uefi: UefiMachine, release: str) -> None:
    """Once, by its entry's name, as an administrator tries a kernel."""
    uuid = await uefi.linux.run("findmnt -no UUID /")
    entry = f"gnulinux-advanced-{uuid}>gnulinux-{release}-advanced-{uuid}"
    await uefi.linux.run(f"grep -q '{entry.partition('>')[2]}' /boot/grub/grub.cfg")
    await uefi.linux.run(f"grub-reboot '{entry}'")


async def reboot(uefi: UefiMachine) -> None:
    """By systemd, which unmounts, and then UEFI's own service."""
    since = uefi.linux.times_ready
    await uefi.shell.send("systemctl reboot")
    await uefi.linux.wait_ready(since=since)
