"""What the guest of somebody else's VM boots: the caller's kernel, or what its disk names."""

from __future__ import annotations

from pathlib import Path

from attrs import evolve

from hpcore.door.asked import Asked
from hpcore.door.options import ArgumentRefused
from hpcore.errors import HpcoreError
from hpcore.guest.boot import BootFiles, prepare
from hpcore.guest.initramfs import cpio
from hpcore.platform.firmware import Board

ARGUMENTS = "acpi=force efi=noruntime"
"""What any kernel needs here; all else is the caller's."""


def guest_files(asked: Asked, board: Board, directory: Path) -> BootFiles:
    """Check the images and build the firmware; what is taken from a disk is kept in `directory`.

    Raises HpcoreError.
    """
    kernel, initrd, append = _images(asked, directory)
    if initrd is None:
        initrd = directory / "empty.cpio"
        initrd.write_bytes(cpio([]))
    return prepare(
        asked.config,
        evolve(board, virtio_mmio=asked.virtio_mmio),
        kernel,
        initrd,
        append,
        asked.nodes,
        arguments=ARGUMENTS,
        identity=asked.identity,
    )


def _images(asked: Asked, directory: Path) -> tuple[Path, Path | None, str]:
    boots = asked.boots
    if boots.kernel is not None:
        return boots.kernel, boots.initrd, boots.append
    assert boots.disk is not None, "what is asked for boots something"
    from hpcore.run.from_disk import images_of_disk  # noqa: PLC0415 - file systems are heavy

    disk = boots.disk
    try:
        images = images_of_disk(disk.image, directory, disk.format, append=boots.append)
    except HpcoreError as error:
        raise ArgumentRefused(
            f"the disk {disk.image}", f"there is no -kernel, and nothing to boot on it: {error}"
        ) from error
    return images.kernel, images.initrd, images.append
