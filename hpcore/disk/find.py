"""Which boot configuration a disk has, and what that boots."""

from __future__ import annotations

from collections.abc import Iterator

from hpcore.disk.bls import loader_choice
from hpcore.disk.choice import Choice
from hpcore.disk.devices import Devices
from hpcore.disk.errors import DiskError
from hpcore.disk.grub import Grub
from hpcore.disk.partitions import Disk
from hpcore.disk.volume import Volume

GRUB_DIRECTORIES = ("/boot/grub", "/boot/grub2", "/grub", "/grub2")
"""Where GRUB keeps its configuration: below the root, or on a /boot of its own."""

TOPS = ("", "/boot")
"""Where loader/entries may be."""

REMEDY = "give the kernel and the initrd yourself"


def choose(disk: Disk) -> Choice:
    """What the disk boots without anybody at the keyboard.

    GRUB goes before entries of the Boot Loader Specification, and GRUB's own word on the EFI
    system partition, which says where the rest is, before all. Raises DiskError.
    """
    empty = []
    for volume, directory in _grub_files(disk):
        grub = Grub(Devices(disk), volume, directory)
        grub.run(volume, f"{directory}/grub.cfg")
        if grub.entries:
            return grub.choose()
        empty.append(f"{volume.partition} {directory}/grub.cfg has no menu entries")
    for volume in disk.volumes:
        for top in TOPS:
            if (choice := loader_choice(volume, top)) is not None:
                return choice
    raise DiskError(_nothing(disk, empty))


def _grub_files(disk: Disk) -> Iterator[tuple[Volume, str]]:
    for volume in disk.volumes:
        if volume.partition.content == "vfat":
            for name in sorted(volume.names("/EFI"), key=lambda name: name.upper() == "BOOT"):
                if volume.is_file(f"/EFI/{name}/grub.cfg"):
                    yield volume, f"/EFI/{name}"
    for volume in disk.volumes:
        for directory in GRUB_DIRECTORIES:
            if volume.is_file(f"{directory}/grub.cfg"):
                yield volume, directory


def _nothing(disk: Disk, empty: list[str]) -> str:
    """Why there is no configuration, in words."""
    image = disk.image.path
    reasons = [*empty[:5], *disk.unread.values()]
    for volume in disk.volumes:
        unified = [name for name in volume.names("/EFI/Linux") if name.lower().endswith(".efi")]
        if unified:
            reasons.append(
                f"{volume.partition} has unified kernel images (/EFI/Linux/{unified[0]}), "
                "which are not read"
            )
    read = {volume.partition.number for volume in disk.volumes}
    closed = [str(p) for p in disk.partitions if p.number not in read | disk.unread.keys()]
    if closed:
        reasons.append(f"not read: {', '.join(closed[:10])}")
    looked = ", ".join(str(volume.partition) for volume in disk.volumes) or "no partition"
    why = f" ({'; '.join(reasons)})" if reasons else ""
    return (
        f"the image {image} has no boot configuration that is read: neither a grub.cfg nor "
        f"loader/entries on {looked}{why}; {REMEDY}"
    )
