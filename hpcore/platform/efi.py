"""The EFI hand-off: what a kernel expects from firmware, without any firmware.

A system table with no services, three or four configuration tables and a memory map. The guest
finds them through `/chosen` (Documentation/arch/arm/uefi.rst). Layouts: UEFI 2.10, 4.3
(system table), 4.6 (configuration tables) and 7.2.3 (memory descriptors).
"""

from __future__ import annotations

import struct
import uuid
import zlib
from collections.abc import Callable, Iterable
from enum import IntEnum

from attrs import frozen

from hpcore.platform import virt

DESCRIPTOR_SIZE, DESCRIPTOR_VERSION = 48, 1
PAGE = 4096

ACPI_20 = uuid.UUID("8868e871-e4f1-11d3-bc22-0080c73c8881")
RT_PROPERTIES = uuid.UUID("eb66918a-7eef-402a-842e-931d21c38ae9")
SMBIOS3 = uuid.UUID("f2fd1544-9794-4a2c-992e-e5bbcf20e394")
LINUX_EFI_MEMRESERVE = uuid.UUID("888eb0c6-8ede-4ff5-a8f0-9aee5cb977c2")

Place = Callable[[bytes], int]
"""Puts bytes into guest memory and returns their address."""

_SIGNATURE = int.from_bytes(b"IBI SYST", "little")
_REVISION = 2 << 16 | 70  # 2.7
_SYSTEM_TABLE_SIZE = 120
_WRITE_BACK = 1 << 3


class MemoryType(IntEnum):
    """EFI_MEMORY_TYPE, as far as it is needed."""

    CONVENTIONAL = 7
    ACPI_RECLAIM = 9


@frozen
class MemoryRegion:
    """A row of the memory map; addresses and sizes in bytes, page-aligned."""

    kind: MemoryType
    start: int
    size: int


@frozen
class Handoff:
    """What `/chosen` tells the guest."""

    system_table: int
    memory_map: int
    memory_map_size: int


def memory_regions(memory: int) -> tuple[MemoryRegion, ...]:
    """The map of a machine with `memory` MiB: the blob is ACPI's, the rest is free RAM.

    "ACPI reclaim" keeps the kernel from using the blob, hotplug page included, and maps
    it cached and writable for AML.
    """
    blob_end, ram_end = virt.BLOB_BASE + virt.BLOB_SIZE, virt.RAM_BASE + (memory << 20)
    return (
        MemoryRegion(MemoryType.CONVENTIONAL, virt.RAM_BASE, virt.BLOB_BASE - virt.RAM_BASE),
        MemoryRegion(MemoryType.ACPI_RECLAIM, virt.BLOB_BASE, virt.BLOB_SIZE),
        MemoryRegion(MemoryType.CONVENTIONAL, blob_end, ram_end - blob_end),
    )


def place_handoff(
    place: Place, rsdp: int, regions: Iterable[MemoryRegion], smbios: int | None = None
) -> Handoff:
    """Put the EFI structures into guest memory and return where they are.

    `rsdp` and `smbios` are where those two begin; a machine may have no SMBIOS.
    """
    no_runtime_services = place(struct.pack("<HHI", 1, 8, 0))
    # the ITS code reserves its tables through this list, for the next kernel of a kexec
    memory_reservations = place(struct.pack("<iiQ", 0, 0, 0))
    entries = [
        _entry(ACPI_20, rsdp),
        _entry(RT_PROPERTIES, no_runtime_services),
        _entry(LINUX_EFI_MEMRESERVE, memory_reservations),
    ]
    if smbios is not None:
        entries.append(_entry(SMBIOS3, smbios))
    configuration = place(b"".join(entries))
    vendor = place("hpcore\0".encode("utf-16-le"))
    system_table = place(_system_table(vendor, configuration, len(entries)))
    memory_map = b"".join(_descriptor(region) for region in regions)
    return Handoff(system_table, place(memory_map), len(memory_map))


def _entry(guid: uuid.UUID, address: int) -> bytes:
    return guid.bytes_le + struct.pack("<Q", address)


def _system_table(vendor: int, configuration: int, entries: int) -> bytes:
    """EFI_SYSTEM_TABLE without consoles and services; its CRC is over itself with CRC 0."""
    fields = struct.pack("<QI4x8QQQ", vendor, 1, *(0,) * 8, entries, configuration)
    without_crc = struct.pack("<QIIII", _SIGNATURE, _REVISION, _SYSTEM_TABLE_SIZE, 0, 0)
    crc = zlib.crc32(without_crc + fields)
    header = struct.pack("<QIIII", _SIGNATURE, _REVISION, _SYSTEM_TABLE_SIZE, crc, 0)
    return header + fields


def _descriptor(region: MemoryRegion) -> bytes:
    """EFI_MEMORY_DESCRIPTOR in 48 bytes: 40 and 8 reserved, as firmware makes them."""
    return struct.pack("<I4xQQQQ8x", region.kind, region.start, 0, region.size // PAGE, _WRITE_BACK)
