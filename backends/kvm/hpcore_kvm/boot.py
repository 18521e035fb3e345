"""Putting a guest into memory, anew at every reset, and where vCPU 0 begins.

A reset does not clear memory, as none does; it puts the images back.
"""

from __future__ import annotations

import os
from pathlib import Path

from hpcore.guest.boot import BootFiles
from hpcore.platform import virt
from hpcore.platform.devicetree import KASLR_SEED_SIZE, RNG_SEED_SIZE, with_seeds
from hpcore_kvm.vcpu import Vcpu
from hpcore_kvm.vm import Memory


class LoadError(Exception):
    """An image could not be put into memory. The text says which and why."""


def load(memory: Memory, boot: BootFiles) -> None:
    """Put every image of `boot` where `hpcore.platform.virt` has its place.

    The tree gets fresh seeds, so that no two starts of a guest have the same. Raises
    LoadError for a file that cannot be read any more, or has grown beyond its place.
    """
    if boot.tree:
        seeds = {"kaslr_seed": os.urandom(KASLR_SEED_SIZE), "rng_seed": os.urandom(RNG_SEED_SIZE)}
        memory.write(virt.DTB_BASE, with_seeds(boot.tree, **seeds))
    memory.write(virt.BLOB_BASE, boot.blob)
    _load_file(memory, boot.kernel, virt.KERNEL_BASE, virt.INITRD_BASE)
    _load_file(memory, boot.initrd, virt.INITRD_BASE, memory.base + memory.size)


def enter(vcpu: Vcpu) -> None:
    """Have `vcpu`, just initialised, begin at the kernel with the tree's address in x0.

    Source: Documentation/arch/arm64/booting.rst, section 4.
    """
    vcpu.set_entry(virt.KERNEL_BASE, virt.DTB_BASE)


def _load_file(memory: Memory, path: Path, start: int, end: int) -> None:
    first, last = start - memory.base, end - memory.base
    try:
        with path.open("rb", buffering=0) as file:
            size = os.fstat(file.fileno()).st_size
            if size > last - first:
                raise LoadError(f"{path} has {size} bytes, and its place {last - first}")
            done = 0
            while done < size:
                count = file.readinto(memory.data[first + done : first + size])
                if not count:
                    raise LoadError(f"{path} became shorter while it was read")
                done += count
    except OSError as error:
        raise LoadError(f"cannot read {path}: {error.strerror or error}") from error
