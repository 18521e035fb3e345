"""What a disk image would boot, read without mounting it.

    from pathlib import Path
    from hpcore.disk import read_disk

    boot = read_disk(Path("debian.qcow2"))
    print(boot.title, boot.append, len(boot.kernel))

From the file to its answer: `source` and `image` (raw, qcow2), `partitions` and `volume` (GPT,
MBR; ext, xfs, vfat), `find` (which configuration), `script`, `conditions`, `interpreter`,
`devices` and `grub` (GRUB's), `bls` (the Boot Loader Specification's), `choice`, `boot`. The
libraries that read disks trust what they read; `child` and `read` bound them.
"""

from __future__ import annotations

from hpcore.disk.boot import DiskBoot
from hpcore.disk.errors import DiskError
from hpcore.disk.extract import Extracted, extract, kernel_of
from hpcore.disk.read import read_disk
from hpcore.disk.volume import Partition

__all__ = [
    "DiskBoot",
    "DiskError",
    "Extracted",
    "Partition",
    "extract",
    "kernel_of",
    "read_disk",
]
