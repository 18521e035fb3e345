"""The files that an image boots, written beside each other: Image, initrd, cmdline."""

from __future__ import annotations

from pathlib import Path

from attrs import frozen

from hpcore.disk.boot import DiskBoot
from hpcore.disk.errors import DiskError
from hpcore.fetch.cache import write_atomically
from hpcore.guest.initramfs import cpio
from hpcore.guest.initrd import check_initrd
from hpcore.guest.kernel import KernelImage, take_kernel


@frozen
class Extracted:
    """Where the files are that boot: the kernel is plain, the initrd is there in any case."""

    kernel: Path
    initrd: Path
    command_line: Path


def kernel_of(boot: DiskBoot) -> KernelImage:
    """The kernel of an image, unpacked. Raises GuestError where it is no arm64 Image."""
    return take_kernel(boot.kernel, f"{boot.image}, {boot.kernel_file}")


def extract(boot: DiskBoot, directory: Path) -> Extracted:
    """Write what an image boots to `directory`, which is made.

    Files that are there already are replaced, each at once. An entry without an initrd gets
    an empty archive. Raises DiskError and GuestError.
    """
    kernel = kernel_of(boot)
    files = Extracted(directory / "Image", directory / "initrd", directory / "cmdline")
    try:
        write_atomically(files.kernel, kernel.data)
        write_atomically(files.initrd, boot.initrd or cpio([]))
        write_atomically(files.command_line, boot.append.encode("utf-8", "surrogateescape") + b"\n")
    except OSError as error:
        raise DiskError(f"cannot write to {directory}: {error.strerror or error}") from error
    check_initrd(files.initrd)
    return files
