"""What goes into a guest's memory before it starts, checked and built on the host.

The images lie where `hpcore.platform.virt` has them: the device tree at DTB_BASE, the
blob at BLOB_BASE, the kernel at KERNEL_BASE, the initrd at INITRD_BASE. vCPU 0 starts at
the kernel's first byte with the tree's address in x0
(Documentation/arch/arm64/booting.rst).
"""

from __future__ import annotations

import os
from pathlib import Path

from attrs import frozen

from hpcore.fetch.errors import FetchError
from hpcore.guest.errors import GuestError
from hpcore.guest.initrd import check_initrd
from hpcore.guest.kernel import bootable, load_kernel
from hpcore.model.config import MachineConfig
from hpcore.platform import virt
from hpcore.platform.devicetree import (
    KASLR_SEED_SIZE,
    RNG_SEED_SIZE,
    DeviceTreeError,
    with_seeds,
)
from hpcore.platform.firmware import Board, FirmwareError, build
from hpcore.platform.numa import Nodes, NodesError
from hpcore.platform.smbios import Identity, IdentityError

BOOT_ARGUMENTS = "acpi=force efi=noruntime console=ttyAMA0 panic=-1"
"""What the kernel needs here: ACPI even where the loader adds a /memory node to the tree;
there are no EFI runtime services; and a panic shall reset."""


@frozen
class BootFiles:
    """The firmware's blob, the device tree, and the files of the kernel and the initrd."""

    blob: bytes
    tree: bytes
    kernel: Path
    initrd: Path

    @property
    def seedless_tree(self) -> bytes:
        """The tree without what is random in it: each start has its own."""
        kaslr, rng = bytes(KASLR_SEED_SIZE), bytes(RNG_SEED_SIZE)
        return with_seeds(self.tree, kaslr_seed=kaslr, rng_seed=rng)


def prepare(
    config: MachineConfig,
    board: Board,
    kernel: Path,
    initrd: Path,
    append: str,
    nodes: Nodes | None = None,
    *,
    arguments: str = BOOT_ARGUMENTS,
    identity: Identity | None = None,
) -> BootFiles:
    """Check the images, build `board`'s firmware, and the device tree that starts them with it.

    The guest has one NUMA node unless there are `nodes`, and SMBIOS where there is an
    `identity`. `arguments` stand on the kernel's command line before `append`. Raises
    GuestError for a machine that the tables cannot describe, nodes that are not of that
    machine, an identity that SMBIOS can't hold, a kernel that is none,
    too large for its place or not to be unpacked, an initrd that is none, is not there or
    does not fit the memory, and a command line that is too long.
    """
    try:
        tables = build(config, board, nodes, identity)
        image = bootable(load_kernel(kernel))
    except (FetchError, FirmwareError, NodesError, IdentityError) as error:
        raise GuestError(str(error)) from error
    check_initrd(initrd)
    try:
        size = initrd.stat().st_size
    except OSError as error:
        raise GuestError(f"cannot read the initrd {initrd}: {error.strerror}") from error
    try:
        tree = tables.device_tree(
            bootargs=f"{arguments} {append}".strip(),
            initrd_size=size,
            kaslr_seed=os.urandom(KASLR_SEED_SIZE),
            rng_seed=os.urandom(RNG_SEED_SIZE),
        )
    except (FirmwareError, DeviceTreeError) as error:
        raise GuestError(str(error)) from error
    room = virt.INITRD_BASE - virt.KERNEL_BASE
    if image.stat().st_size > room:
        raise GuestError(f"the kernel {image} is larger than the {room} bytes it has here")
    return BootFiles(tables.blob, tree, image, initrd)
