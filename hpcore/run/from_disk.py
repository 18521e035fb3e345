"""What boots, taken from a disk image: kernel, initrd and command line of its default entry."""

from __future__ import annotations

from pathlib import Path

from hpcore.disk import extract, read_disk
from hpcore.run.accelerator import GuestImages


def images_of_disk(
    image: Path, directory: Path, format: str | None = None, *, append: str = ""
) -> GuestImages:
    """The images that the disk `image` would boot, kept in `directory`.

    `append` is added to the disk's own command line. Nothing is asked of the guest's console:
    an installed system has no shell there. Call it again for every start and reset: the guest
    may have installed another kernel. Raises DiskError and GuestError.
    """
    boot = read_disk(image, format)
    files = extract(boot, directory)
    line = f"{boot.append} {append}".strip()
    return GuestImages(files.kernel, files.initrd, line, shell=False)
