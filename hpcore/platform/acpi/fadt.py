"""FADT, RSDP and XSDT: where the tables are, and what kind of machine this is."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from enum import Enum
from types import MappingProxyType

from hpcore.platform.acpi.header import HEADER_SIZE, OEM_ID, table
from hpcore.platform.acpi.linked import ADDRESS, Checksum, LinkedTable

RSDP_SIZE = 36

_FADT_SIZE = 276
_FADT_REVISION, _FADT_MINOR = 6, 5
_FLAGS, _ARM_BOOT_FLAGS, _MINOR, _X_DSDT, _HYPERVISOR = 112, 129, 131, 140, 268
_XSDT_ADDRESS = 24  # in the RSDP
_HW_REDUCED_ACPI = 1 << 20
_PSCI_COMPLIANT, _PSCI_USE_HVC = 1 << 0, 1 << 1


class Conduit(Enum):
    """The instruction by which the guest calls PSCI."""

    SMC = "smc"
    HVC = "hvc"


def fadt(conduit: Conduit) -> LinkedTable:
    """Fixed ACPI Description Table, hardware-reduced (ACPI 6.5, 5.2.9). It leads to the DSDT."""
    body = bytearray(_FADT_SIZE - HEADER_SIZE)

    def put(offset: int, code: str, value: int | bytes) -> None:
        """`offset` counts from the table's start, as the specification does."""
        struct.pack_into("<" + code, body, offset - HEADER_SIZE, value)

    put(_FLAGS, "I", _HW_REDUCED_ACPI)
    put(
        _ARM_BOOT_FLAGS,
        "H",
        _PSCI_COMPLIANT | (_PSCI_USE_HVC if conduit is Conduit.HVC else 0),
    )
    put(_MINOR, "B", _FADT_MINOR)
    put(_HYPERVISOR, "8s", b"HPCORE")
    return LinkedTable.of(table(b"FACP", _FADT_REVISION, bytes(body)), {_X_DSDT: "DSDT"})


def xsdt(names: Iterable[str]) -> LinkedTable:
    """Extended System Description Table: it leads to all tables but the DSDT."""
    links = {HEADER_SIZE + ADDRESS.size * n: name for n, name in enumerate(names)}
    return LinkedTable.of(table(b"XSDT", 1, bytes(ADDRESS.size * len(links))), links)


def rsdp() -> LinkedTable:
    """Root System Description Pointer, revision 2 (ACPI 6.5, 5.2.5.3). It leads to the XSDT.

    Its first checksum covers the 20 bytes of ACPI 1.0, the second all of it.
    """
    data = struct.pack("<8sB6sBIIQB3x", b"RSD PTR ", 0, OEM_ID, 2, 0, RSDP_SIZE, 0, 0)
    checksums = (Checksum(8, 20), Checksum(32, RSDP_SIZE))
    return LinkedTable("RSDP", data, checksums, MappingProxyType({_XSDT_ADDRESS: "XSDT"}))
