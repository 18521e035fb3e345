"""What the disk boots now, put into the guest's memory before the guest starts anew.

At a reset QEMU writes the images into the guest's memory again that it was started with. The
guest may have installed another kernel since, or has another command line for it.
"""

from __future__ import annotations

import asyncio
import filecmp
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import structlog
from attrs import frozen

from hpcore.door.asked import Asked
from hpcore.door.disk_now import disk_now
from hpcore.door.disks import BootDisk
from hpcore.door.guest_files import boot_files, disk_images
from hpcore.errors import HpcoreError, printable
from hpcore.guest.boot import BootFiles
from hpcore.model.stimuli import Note
from hpcore.platform import virt
from hpcore.platform.firmware import Board
from hpcore.qemu.guest_memory import GuestMemory, Piece
from hpcore.qemu.qmp import Qmp
from hpcore.qemu.running import RunningQemu
from hpcore.run.accelerator import GuestImages, Report

_log = structlog.get_logger(__name__)

READ_SECONDS, WRITE_SECONDS = 50.0, 50.0
"""A disk that takes longer is not read, memory that takes longer is not written. Both are less
than what the accelerator is given for RESTART (`hpcore.run.deadlines.Patience.machine`)."""


class Renewal:
    """Of a VM that boots from its disk. `renew` is called at each reset, one at a time."""

    def __init__(
        self, asked: Asked, board: Board, loaded: GuestImages, qemu: RunningQemu, qmp: Path
    ) -> None:
        """`loaded` is what QEMU was started with; `qmp` is a monitor for this alone."""
        self._asked, self._board, self._loaded = asked, board, loaded
        self._qemu, self._qmp = qemu, qmp
        self._memory = GuestMemory(qemu)
        self._half_done = False

    async def renew(self, report: Report) -> None:
        """Write what the disk boots now, where that is not what was loaded at the start.

        Whatever is wrong with the disk, the guest starts with what was loaded; `report` and
        the diagnostics are told why. Raises nothing.
        """
        if self._half_done:  # the reset that puts the images of the start in their places again
            self._half_done = False
            return
        try:
            qmp = await Qmp.connect(self._qemu, self._qmp, lambda _name, _data: None)
            try:
                await self._renew(qmp, report)
            finally:
                await qmp.close()
        except Exception as error:
            why = str(error) if isinstance(error, HpcoreError | OSError) else repr(error)
            text = (
                "the guest starts with the kernel, initrd and command line that were loaded at "
                f"the start: {printable(why)}"
            )
            _log.error("the disk's boot configuration is not taken over", why=why, exc_info=True)
            report(Note(text))

    async def _renew(self, qmp: Qmp, report: Report) -> None:
        assert self._asked.boots.disk is not None, "it boots from its disk"
        disk = await disk_now(qmp, self._asked.boots.disk)
        begun = time.monotonic()
        try:
            renewed = await asyncio.wait_for(asyncio.to_thread(self._read, disk), READ_SECONDS)
        except TimeoutError:
            raise HpcoreError(f"{disk.image} is not read within {READ_SECONDS:g} s") from None
        took = f"{time.monotonic() - begun:.1f} s"
        if renewed is None:
            _log.info("the disk boots what was loaded at the start", reading=took)
            return
        await self._memory.prepare(qmp)
        begun = time.monotonic()
        try:
            await asyncio.wait_for(self._memory.write(renewed.pieces), WRITE_SECONDS)
        except Exception as error:
            self._half_done = True
            await qmp.execute("system_reset")
            if isinstance(error, TimeoutError):
                words = f"the guest's memory is not written within {WRITE_SECONDS:g} s"
                raise HpcoreError(words) from error
            raise
        words = f"the guest starts with another {_listed(renewed.changed)}, as its disk says now"
        _log.info(
            words, append=renewed.append, disk=str(disk.image), reading=took,
            writing=f"{time.monotonic() - begun:.1f} s",
            bytes=sum(len(piece.data) for piece in renewed.pieces),
        )  # fmt: skip
        report(Note(words))

    def _read(self, disk: BootDisk) -> Renewed | None:
        """What is to be written, or None. In a thread; what is kept meanwhile is its own."""
        directory = Path(tempfile.mkdtemp(prefix="now-", dir=self._qemu.directory))
        try:
            images = disk_images(disk, directory, self._asked.boots.append)
            changed = _changed(self._loaded, images)
            if not changed:
                return None
            boot = boot_files(self._asked, self._board, images)
            return Renewed(tuple(changed), tuple(_pieces(boot, changed)), images.append)
        finally:
            shutil.rmtree(directory, ignore_errors=True)


KERNEL, INITRD, LINE = "kernel", "initrd", "command line"


@frozen
class Renewed:
    """What is another one now, in words and in bytes, and the command line as it is now."""

    changed: tuple[str, ...]
    pieces: tuple[Piece, ...]
    append: str


def _changed(loaded: GuestImages, now: GuestImages) -> list[str]:
    """In words, what is another one than was loaded."""
    same = {
        KERNEL: filecmp.cmp(loaded.kernel, now.kernel, shallow=False),
        INITRD: filecmp.cmp(loaded.initrd, now.initrd, shallow=False),
        LINE: loaded.append == now.append,
    }
    return [name for name, is_same in same.items() if not is_same]


def _pieces(boot: BootFiles, changed: list[str]) -> Iterator[Piece]:
    """What is to be written. The tree has the command line, and how long the initrd is."""
    if KERNEL in changed:
        yield Piece(virt.KERNEL_BASE, boot.kernel.read_bytes())
    if INITRD in changed:
        yield Piece(virt.INITRD_BASE, boot.initrd.read_bytes())
    yield Piece(virt.DTB_BASE, boot.tree)


def _listed(words: Sequence[str]) -> str:
    *most, last = words
    return f"{', '.join(most)} and {last}" if most else last
