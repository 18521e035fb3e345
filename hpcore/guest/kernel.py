"""Is this file a kernel that boots here? If not, what is it, and what to do.

The arm64 Image header: Documentation/arch/arm64/booting.rst (magic "ARM\\x64" at 0x38,
little endian).
"""

from __future__ import annotations

import hashlib
import re
import struct
from pathlib import Path

import attrs
from attrs import frozen

from hpcore.fetch.cache import cache_directory, file_errors, write_atomically
from hpcore.guest import magic
from hpcore.guest.errors import GuestError
from hpcore.guest.magic import kind_of
from hpcore.guest.unpack import LARGEST, unpacked

HEADER_SIZE = 64

LEAST_SHARE = 0.5
"""Of its size in memory, what is left of an Image in the file; the rest is its BSS."""

FIRST_WITH_HOTPLUG = (6, 11)

OTHER_KINDS = (
    (0x202, b"HdrS", "an x86 kernel (bzImage)"),
    (0x24, b"\x18\x28\x6f\x01", "a 32-bit arm kernel (zImage)"),
    (*magic.ELF, "an ELF file (a vmlinux?)"),
    (*magic.BZIP2, "compressed with bzip2, which hpcore does not unpack"),
    (*magic.LZ4, "compressed with lz4, which hpcore does not unpack"),
    (0, b"\x02\x21\x4c\x18", "compressed with lz4, which hpcore does not unpack"),
    (*magic.EFI_PROGRAM, "an EFI program without the arm64 Image header"),
)
"""What is no arm64 kernel Image."""


@frozen
class KernelImage:
    """An uncompressed arm64 Image.

    `name` is what messages call the file. `packed` says that the file held it compressed.
    `version` is the release in its "Linux version" banner, or None where there is none.
    `memory_size` is how many bytes it takes in RAM, its BSS included; 0 where its header
    doesn't say (before 3.17). `path` is the file, or None where the bytes came otherwise.
    """

    name: str
    data: bytes
    packed: bool
    version: str | None
    memory_size: int
    path: Path | None = None

    @property
    def warning(self) -> str | None:
        """What the user should know before booting it, or None."""
        if len(self.data) < self.memory_size * LEAST_SHARE:
            return (
                f"{self.name} has {len(self.data)} bytes of an Image that takes "
                f"{self.memory_size} in memory; it may have been cut short"
            )
        if self.version is None:
            return f"no kernel version found in {self.name}; vCPU hotplug needs 6.11 or newer"
        match = re.match(r"(\d+)\.(\d+)", self.version)
        if match and (int(match[1]), int(match[2])) >= FIRST_WITH_HOTPLUG:
            return None
        return (
            f"kernel {self.version} in {self.name} is older than 6.11, the first with arm64 "
            "vCPU hotplug; it will see only the vCPUs enabled at boot"
        )


def load_kernel(path: Path) -> KernelImage:
    """Read the kernel in `path`, unpacking it where it is compressed.

    Raises GuestError where the file is missing, unreadable or no arm64 Image; the text
    says what it is instead, as far as that can be told.
    """
    try:
        if path.stat().st_size > LARGEST:
            raise GuestError(
                f"{path} is larger than {LARGEST >> 20} MiB, so it is no kernel Image; "
                "give the file arch/arm64/boot/Image of a kernel build"
            )
        raw = path.read_bytes()
    except OSError as error:
        raise GuestError(f"cannot read the kernel {path}: {error.strerror or error}") from error
    return attrs.evolve(take_kernel(raw, str(path)), path=path)


def take_kernel(raw: bytes, name: str) -> KernelImage:
    """The kernel that a file called `name` holds, unpacked where it is compressed.

    Raises GuestError where it is no arm64 Image, as `load_kernel` does.
    """
    data = unpacked(raw, name)
    if not magic.has(data, magic.ARM64_IMAGE):
        raise GuestError(
            f"{name} is {kind_of(data, OTHER_KINDS)}, not an arm64 kernel Image; "
            "give the file arch/arm64/boot/Image of a kernel build"
        )
    if len(data) < HEADER_SIZE:
        raise GuestError(f"{name} is cut short: {len(data)} bytes; fetch or build it again")
    (memory_size,) = struct.unpack_from("<Q", data, 16)
    banner = re.search(rb"Linux version (\d[^\s\0]{0,99}) ", data)
    version = banner[1].decode("ascii", "replace") if banner else None
    return KernelImage(name, data, data is not raw, version, memory_size)


def bootable(image: KernelImage, cache: Path | None = None) -> Path:
    """A file with the Image as it boots: the user's own, or its unpacked copy in the cache."""
    if image.path is not None and not image.packed:
        return image.path
    name = f"Image-{hashlib.sha256(image.data).hexdigest()[:16]}"
    path = (cache or cache_directory()) / "unpacked" / name
    with file_errors("keep an unpacked kernel", path.parent):
        if not path.exists():
            write_atomically(path, image.data)
    return path
