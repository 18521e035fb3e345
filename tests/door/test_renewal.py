"""A guest that boots from its disk boots, at each reset, what the disk has by then."""

from __future__ import annotations

import asyncio
import functools
from pathlib import Path

from hpcore.guest.initramfs import Entry, cpio
from hpcore.model.effects import MachineStep
from hpcore.qemu.guest_memory import SOCKET
from hpcore.triage.replay import replay
from tests.disk.making import Piece, ext, gpt, qcow2
from tests.door.started import BOOT_SECONDS, Vm, vm
from tests.door.test_keeping import attach, kill_door, place
from tests.qemu.support import needs_qemu
from tests.support.command import hpcore
from tests.support.guests import fetched_images
from tests.support.waits import until

pytestmark = needs_qemu

OLD_WORDS, NEW_WORDS = b"debian-kernel@", b"hpcore-kernel@"
"""What /proc/version says of who has made the kernel: of the disk's, and of the one to come."""
GRUB = """\
menuentry 'Linux' {
  linux /boot/vmlinuz console=ttyAMA0 loglevel=3 round=1
  initrd /boot/initrd
}
"""
IMAGE = ("-device", "nvme,drive=d,serial=1", "-drive")
MOUNT = "mkdir -p /tmp/d && mount -t ext4 /dev/nvme0n1p1 /tmp/d && cd /tmp/d/boot"
WRITTEN = "cd / && sync && umount /tmp/d"


@functools.cache
def disk() -> bytes:
    """A GPT with one ext4, on which a kernel and an initrd are installed, and two more lie."""
    images = fetched_images()
    assert images is not None, "make setup fetches the guest"
    kernel, initrd = images.kernel.read_bytes(), images.initrd.read_bytes()
    assert OLD_WORDS in kernel
    more = cpio([Entry("renewed", 0o100644, b"yes\n")])
    tree = {
        "/boot/grub/grub.cfg": GRUB.encode(), "/boot/vmlinuz": kernel, "/boot/initrd": initrd,
        "/boot/vmlinuz.new": kernel.replace(OLD_WORDS, NEW_WORDS),
        "/boot/initrd.new": initrd + more,
    }  # fmt: skip
    return gpt([Piece(ext(tree, mib=112))])


def raw_disk(directory: Path) -> None:
    (directory / "disk.raw").write_bytes(disk())


def qcow2_disk(directory: Path) -> None:
    qcow2(disk(), directory / "disk.qcow2")


async def on_the_disk(machine: Vm, line: str) -> None:
    """Run a line in the guest's /boot, and have all of it written to the disk."""
    await machine.guest.run(f"{MOUNT} && {line} && {WRITTEN}")


async def command_line(machine: Vm) -> str:
    return await machine.guest.run("cat /proc/cmdline")


async def offers_memory(machine: Vm) -> bool:
    """Whether hpcore has made what writes to the guest's memory."""
    listed = await machine.client.do("qom-list", path="/objects")
    return "hpcore-memory" in [entry["name"] for entry in listed]


def test_a_reboot_boots_what_the_guest_has_installed_since() -> None:
    async def main() -> None:
        drive = "if=none,id=d,format=qcow2,cache=unsafe,file={}/disk.qcow2"
        async with vm(kernel=(*IMAGE, drive), under=qcow2_disk) as machine:
            assert "round=1" in await command_line(machine)
            await on_the_disk(machine, "touch something")
            await machine.guest.reboot()
            assert "round=1" in await command_line(machine)
            assert not await offers_memory(machine), "nothing was to be written"

            await on_the_disk(machine, "sed -i s/round=1/round=2/ grub/grub.cfg")
            await machine.guest.reboot()
            assert "round=2" in await command_line(machine)
            assert await machine.guest.run("ls /renewed || true") != "/renewed"
            assert "another command line, as its disk" in machine.log.read_text()

            await machine.client.plug(2)
            await on_the_disk(machine, "mv vmlinuz.new vmlinuz && mv initrd.new initrd")
            await machine.guest.reboot()
            assert "round=2" in await command_line(machine)
            assert await machine.guest.run("cat /renewed") == "yes"
            assert NEW_WORDS.decode() in await machine.guest.run("cat /proc/version")
            assert "another kernel, initrd and command line" in machine.log.read_text()
            await machine.enabled({0, 1, 2})

            told = {event["event"] for event in machine.client.events}
            assert "RESET" in told
            assert not told & {"STOP", "SHUTDOWN"}
            replayed = hpcore("replay", machine.log, "--quiet")
            assert replayed.code == 0, replayed

    asyncio.run(main())


def test_what_the_guest_has_written_and_never_flushed_is_read() -> None:
    """QEMU keeps a qcow2 image's tables in its own memory until a flush.

    Without barriers ext4 asks for none, and a reset from outside lets the guest say no more.
    """

    async def main() -> None:
        drive = "if=none,id=d,format=qcow2,file={}/disk.qcow2"
        async with vm(kernel=(*IMAGE, drive), under=qcow2_disk) as machine:
            barriers_off = MOUNT.replace("mount ", "mount -o barrier=0 ")
            edit = "sed -i s/round=1/round=2/ grub/grub.cfg"
            await machine.guest.run(f"{barriers_off} && {edit} && {WRITTEN}")
            ready = machine.guest.times_ready
            await machine.client.do("system_reset")
            await machine.guest.wait_ready(BOOT_SECONDS, since=ready)
            assert "round=2" in await command_line(machine)

    asyncio.run(main())


def test_a_machine_that_was_off_boots_what_its_disk_has_by_then() -> None:
    """As libvirt reboots: off, system_reset, cont."""

    async def main() -> None:
        drive = "if=none,id=d,format=raw,file={}/disk.raw"
        async with vm("-no-shutdown", kernel=(*IMAGE, drive), under=raw_disk) as machine:
            await on_the_disk(machine, "sed -i s/round=1/round=2/ grub/grub.cfg")
            ready = machine.guest.times_ready
            await machine.guest.power_off()
            await machine.client.told("SHUTDOWN", reason="guest-shutdown")
            await machine.client.do("system_reset")
            await machine.client.do("cont")
            await machine.guest.wait_ready(BOOT_SECONDS, since=ready)
            assert "round=2" in await command_line(machine)

    asyncio.run(main())


def test_a_door_that_is_killed_amid_what_it_writes_leaves_nothing_half_written() -> None:
    async def main() -> None:
        drive = "if=none,id=d,format=raw,file=disk.raw"
        async with vm(kernel=(*IMAGE, drive), under=raw_disk, keep=True) as machine:
            await on_the_disk(
                machine,
                "sed -i s/round=1/round=2/ grub/grub.cfg && mv vmlinuz.new vmlinuz"
                " && mv initrd.new initrd",
            )
            ready = machine.guest.times_ready
            await machine.client.do("system_reset")
            memory = place(machine.log) / SOCKET
            await until(memory.exists, "the door writes to the guest's memory")
            await kill_door(machine)
            shared = replay(machine.log).state.shared
            assert shared.step is MachineStep.RESTART, "it was killed too late"

            async with attach(machine.log):
                await machine.guest.wait_ready(BOOT_SECONDS, since=ready)
                assert "round=2" in await command_line(machine)
                assert await machine.guest.run("cat /renewed") == "yes"
                assert NEW_WORDS.decode() in await machine.guest.run("cat /proc/version")
                await on_the_disk(machine, "sed -i s/round=2/round=3/ grub/grub.cfg")
                await machine.guest.reboot()
                assert "round=3" in await command_line(machine)
                again = await machine.connect("qmp")
                await again.do("quit")
                await again.close()
            assert await machine.ended() == 0
            assert machine.log.read_text().count('"event":"machine_was_reset"') == 3
            assert replay(machine.log).ok

    asyncio.run(main())


def test_a_reset_while_the_disk_is_read_is_one_like_any_other() -> None:
    async def main() -> None:
        drive = "if=none,id=d,format=raw,file={}/disk.raw"
        async with vm(kernel=(*IMAGE, drive), under=raw_disk) as machine:
            await on_the_disk(machine, "sed -i s/round=1/round=2/ grub/grub.cfg")
            ready, since = machine.guest.times_ready, len(machine.client.events)
            for _ in range(3):
                await machine.client.do("system_reset")
                await machine.client.told("RESET", since)
                since = len(machine.client.events)
            await machine.guest.wait_ready(BOOT_SECONDS, since=ready)
            assert "round=2" in await command_line(machine)
            assert machine.guest.times_ready == ready + 1

    asyncio.run(main())


def test_a_disk_that_is_broken_starts_what_was_loaded_and_the_log_says_so() -> None:
    async def main() -> None:
        drive = "if=none,id=d,format=raw,file={}/disk.raw"
        async with vm(kernel=(*IMAGE, drive), under=raw_disk) as machine:
            await on_the_disk(machine, "rm grub/grub.cfg")
            await machine.guest.reboot()
            assert "round=1" in await command_line(machine)
            for said in (machine.log.read_text(), machine.diagnostics):
                assert "disk.raw" in said
            assert "that were loaded at the start" in machine.log.read_text()
            assert not await offers_memory(machine)

    asyncio.run(main())


def test_a_disk_that_goes_on_in_another_file_is_read_there() -> None:
    """A snapshot from outside: from then on, the guest writes to a new image."""

    async def main() -> None:
        drive = "if=none,id=d,format=raw,file={}/disk.raw"
        async with vm(kernel=(*IMAGE, drive), under=raw_disk) as machine:
            overlay = str(machine.directory / "overlay.qcow2")
            await machine.client.do("blockdev-snapshot-sync", device="d", snapshot_file=overlay)
            await on_the_disk(machine, "sed -i s/round=1/round=2/ grub/grub.cfg")
            await machine.guest.reboot()
            assert "round=2" in await command_line(machine)

    asyncio.run(main())
