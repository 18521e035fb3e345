"""A small disk boots by firmware and GRUB, and the guest says there what is booted next."""

from __future__ import annotations

import asyncio
from pathlib import Path

from tests.debian.grub import ARGUMENT, FIRST, SECOND, small_disk
from tests.platform.machines import machine
from tests.qemu.support import needs_qemu
from tests.support.tools import run_tool
from tests.support.uefi import UefiMachine, started_by_uefi


@needs_qemu
def test_a_guest_that_grub_has_booted_reboots_into_the_entry_that_it_chose(tmp_path: Path) -> None:
    disk, own = small_disk(), tmp_path / "own.qcow2"
    run_tool("qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", disk.path, own)
    devices = [
        "-drive", f"if=none,id=disk,file={own},format=qcow2",
        "-device", "nvme,drive=disk,serial=1,bootindex=0",
    ]  # fmt: skip

    async def main() -> None:
        async with started_by_uefi(machine(2), *devices) as uefi:
            assert await booted_entry(uefi) == FIRST
            write = f"dd of=/dev/nvme0n1 bs=1 seek={disk.choice_at} conv=notrunc,fsync"
            await uefi.linux.run(f"printf {SECOND} | {write} 2>/dev/null")
            await uefi.linux.reboot()
            assert await booted_entry(uefi) == SECOND
            masks = await uefi.linux.masks()
            assert masks.enabled == masks.online == {0, 1}

    asyncio.run(main())


async def booted_entry(uefi: UefiMachine) -> str:
    words = (await uefi.linux.run("cat /proc/cmdline")).split()
    (entry,) = [word for word in words if word.startswith(ARGUMENT)]
    return entry.removeprefix(ARGUMENT)
