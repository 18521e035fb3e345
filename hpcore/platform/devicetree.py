"""The stub device tree: it only points at the EFI hand-off and carries the boot arguments.

QEMU adds `/memory` and `/psci` to it as it loads it. Properties of `/chosen`:
Documentation/arch/arm/uefi.rst, and the devicetree specification's 3.6.
"""

from __future__ import annotations

import fdt

from hpcore.platform.efi import DESCRIPTOR_SIZE, DESCRIPTOR_VERSION, Handoff

KASLR_SEED_SIZE, RNG_SEED_SIZE = 8, 32
SECURE_BOOT_DISABLED = 2
"""Linux's efi_secureboot_mode_disabled; without the property the kernel drops EFI's data."""

MAX_BOOTARGS = 2047
"""Bytes: COMMAND_LINE_SIZE of arm64, less the NUL."""


class DeviceTreeError(ValueError):
    """What was asked for can't stand in the device tree; the text says what."""


def device_tree(
    handoff: Handoff,
    *,
    bootargs: str,
    initrd: tuple[int, int],
    kaslr_seed: bytes,
    rng_seed: bytes,
) -> bytes:
    """The tree as a DTB. `initrd` is its start and end address.

    QEMU fills the two seeds anew at every reset, where they are there; the caller gives
    the first ones, so that this function is a function of its arguments.
    """
    if len(bootargs.encode()) > MAX_BOOTARGS:
        raise DeviceTreeError(
            f"the kernel command line has {len(bootargs.encode())} bytes; "
            f"arm64 reads {MAX_BOOTARGS}: shorten it"
        )
    if not bootargs.isascii() or "\0" in bootargs:
        raise DeviceTreeError("the kernel command line must be ASCII without NUL")
    for what, seed, size in (
        ("kaslr-seed", kaslr_seed, KASLR_SEED_SIZE),
        ("rng-seed", rng_seed, RNG_SEED_SIZE),
    ):
        if len(seed) != size:
            raise DeviceTreeError(f"the {what} has {len(seed)} bytes; it must have {size}")
    tree = fdt.FDT()
    tree.header.version = 17
    tree.header.last_comp_version = 16
    tree.header.boot_cpuid_phys = 0
    tree.root.append(fdt.PropWords("#address-cells", 2))
    tree.root.append(fdt.PropWords("#size-cells", 2))
    chosen = fdt.Node("chosen")
    for prop in (
        # as bytes: PropStrings refuses an empty command line
        fdt.PropBytes("bootargs", data=bootargs.encode() + b"\0"),
        _address("linux,initrd-start", initrd[0]),
        _address("linux,initrd-end", initrd[1]),
        _address("linux,uefi-system-table", handoff.system_table),
        _address("linux,uefi-mmap-start", handoff.memory_map),
        fdt.PropWords("linux,uefi-mmap-size", handoff.memory_map_size),
        fdt.PropWords("linux,uefi-mmap-desc-size", DESCRIPTOR_SIZE),
        fdt.PropWords("linux,uefi-mmap-desc-ver", DESCRIPTOR_VERSION),
        fdt.PropWords("linux,uefi-secure-boot", SECURE_BOOT_DISABLED),
        fdt.PropBytes("kaslr-seed", data=kaslr_seed),
        fdt.PropBytes("rng-seed", data=rng_seed),
    ):
        chosen.append(prop)
    tree.root.append(chosen)
    return bytes(tree.to_dtb())


def with_seeds(tree: bytes, *, kaslr_seed: bytes, rng_seed: bytes) -> bytes:
    """`tree`, made by `device_tree`, with other seeds: for a machine that starts again."""
    parsed = fdt.parse_dtb(tree)
    chosen = parsed.get_node("/chosen")
    for name, seed in (("kaslr-seed", kaslr_seed), ("rng-seed", rng_seed)):
        chosen.remove_property(name)
        chosen.append(fdt.PropBytes(name, data=seed))
    return bytes(parsed.to_dtb())


def _address(name: str, value: int) -> fdt.PropWords:
    """A 64-bit property in two cells."""
    return fdt.PropWords(name, value >> 32, value & 0xFFFF_FFFF)
