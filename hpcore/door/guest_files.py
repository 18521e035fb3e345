"""What the guest of somebody else's VM boots: the caller's kernel, or what its disk names."""

from __future__ import annotations

from pathlib import Path

from attrs import evolve

from hpcore.door.asked import Asked
from hpcore.door.disks import BootDisk
from hpcore.door.front import GuestFiles
from hpcore.door.options import ArgumentRefused
from hpcore.errors import HpcoreError
from hpcore.guest.boot import BootFiles, prepare
from hpcore.guest.initramfs import cpio
from hpcore.platform.firmware import Board
from hpcore.platform.table_loader import loader_files
from hpcore.run.accelerator import GuestImages

ARGUMENTS = "acpi=force efi=noruntime"
"""What any kernel needs here; all else is the caller's."""


def boot_images(asked: Asked, directory: Path) -> GuestImages | None:
    """The kernel, the initrd and the command line; what is from a disk is kept in `directory`.

    None where firmware runs, which finds all that by itself. Raises HpcoreError.
    """
    boots = asked.boots
    if boots.firmware:
        return None
    if boots.kernel is not None:
        initrd = boots.initrd
        if initrd is None:
            initrd = directory / "empty.cpio"
            initrd.write_bytes(cpio([]))
        return GuestImages(boots.kernel, initrd, boots.append, shell=False)
    assert boots.disk is not None, "what is asked for boots something"
    try:
        return disk_images(boots.disk, directory, boots.append)
    except HpcoreError as error:
        raise ArgumentRefused(
            f"the disk {boots.disk.image}",
            f"there is no -kernel, and nothing to boot on it: {error}",
        ) from error


def disk_images(disk: BootDisk, directory: Path, append: str) -> GuestImages:
    """What `disk` boots now, kept in `directory`. Raises HpcoreError."""
    from hpcore.run.from_disk import images_of_disk  # noqa: PLC0415 - file systems are heavy

    return images_of_disk(disk.image, directory, disk.format, append=append)


def guest_files(asked: Asked, board: Board, images: GuestImages | None) -> GuestFiles:
    """As `boot_files`; the tables for the caller's own firmware where that runs."""
    if images is not None:
        return boot_files(asked, board, images)
    return loader_files(asked.config, _with_mmio(board, asked), asked.nodes)


def boot_files(asked: Asked, board: Board, images: GuestImages) -> BootFiles:
    """Check the images and build what firmware would have left. Raises HpcoreError."""
    return prepare(
        asked.config,
        _with_mmio(board, asked),
        images.kernel,
        images.initrd,
        images.append,
        asked.nodes,
        arguments=ARGUMENTS,
        identity=asked.identity,
    )


def _with_mmio(board: Board, asked: Asked) -> Board:
    return evolve(board, virtio_mmio=asked.virtio_mmio)
