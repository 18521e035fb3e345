"""The disk's partitions by GRUB's names: (hd0,gpt1), and how `search` finds them."""

from __future__ import annotations

import re

from hpcore.disk.partitions import Disk
from hpcore.disk.volume import Volume

DEVICE = re.compile(r"hd\d{1,3}(?:,(?:gpt|msdos)?(\d{1,3}))?")


class Devices:
    """The volumes of one disk. Whatever number GRUB gives a disk, it is this one."""

    def __init__(self, disk: Disk) -> None:
        self.disk = disk

    def name(self, volume: Volume) -> str:
        """What GRUB calls a volume."""
        number, table = volume.partition.number, "gpt" if volume.partition.part_uuid else "msdos"
        return f"hd0,{table}{number}" if number else "hd0"

    def find(self, path: str, root: str) -> tuple[Volume | None, str]:
        """The volume of a path, which is `root` where the path names none, and the rest."""
        if path.startswith("("):
            device, _, path = path[1:].partition(")")
        else:
            device = root.strip("()")
        match = DEVICE.fullmatch(device)
        return (self.disk.volume(int(match[1] or 0)) if match else None), path

    def search(self, by: str, wanted: str) -> Volume | None:
        """The first volume by "uuid", "label", "part_uuid", or that has the "file"."""
        for volume in self.disk.volumes if wanted else ():
            if by == "file":
                if volume.is_file(wanted) or volume.is_directory(wanted):
                    return volume
            elif str(getattr(volume.partition, by)).lower() == wanted.lower():
                return volume
        return None

    def why_not(self, device: str) -> str:
        """Why there is no volume of that name."""
        match = DEVICE.fullmatch(device.strip("()"))
        number = int(match[1] or 0) if match else None
        for partition in self.disk.partitions:
            if partition.number == number:
                return f"and {partition} is no file system that is read"
        return (
            "which is no partition of this image; it has "
            f"{', '.join(map(str, self.disk.partitions)) or 'none'}"
        )
