"""MADT: the GIC, with a CPU interface for every possible vCPU.

A GICC is either enabled (it stays: its `_STA` never changes) or online-capable, never both;
which of the two, the rules say (`hpcore.model.rules.Rules.madt_flags`). Redistributors are
given by GICR structures only: with a GICR address inside a GICC, Linux takes an online-capable
vCPU's redistributor for powered down and refuses to bring the vCPU up.
"""

from __future__ import annotations

import struct

from hpcore.model.acpi import MadtFlag
from hpcore.model.config import MachineConfig
from hpcore.model.rules import RULES, Rules
from hpcore.model.topology import mp_affinity
from hpcore.platform import virt
from hpcore.platform.acpi.header import table

REVISION = 6
GICC_SIZE = 82

_GICC, _GICD, _GICR, _ITS = 0x0B, 0x0C, 0x0E, 0x0F


def madt(config: MachineConfig, *, its: bool = True, rules: Rules = RULES) -> bytes:
    """The table for `config`'s possible vCPUs by `rules`; fixed for the machine's life."""
    flags = [rules.madt_flags(i, cold=config.cold_booted(i)) for i in range(config.possible)]
    return table(
        b"APIC",
        REVISION,
        b"".join(
            (
                struct.pack("<II", 0, 0),  # local interrupt controller address, flags: x86's
                _distributor(),
                *(_cpu_interface(index, each) for index, each in enumerate(flags)),
                *_redistributors(config.possible),
                struct.pack("<BBHIQI", _ITS, 20, 0, 0, virt.ITS_BASE, 0) if its else b"",
            )
        ),
    )


def _distributor() -> bytes:
    identifier, global_base, version = 0, 0, 3
    return struct.pack("<BBHIQIB3x", _GICD, 24, 0, identifier, virt.GICD_BASE, global_base, version)


def _cpu_interface(index: int, flags: MadtFlag) -> bytes:
    # no parking protocol; GICC, GICV, GICH: system registers; no maintenance interrupt
    # and no overflow interrupts of SPE and TRBE, as the guest has neither EL2 nor those
    memory_mapped = (0, 0, 0)
    return struct.pack(
        "<BBHIIIII" "QQQQ" "IQQ" "BBHH",
        _GICC, GICC_SIZE, 0,
        index, index,  # CPU interface number, processor UID
        flags,
        0, virt.PMU_GSI,
        0, *memory_mapped,
        0, 0, mp_affinity(index),  # maintenance interrupt, GICR address, MPIDR
        0, 0, 0, 0,
    )  # fmt: skip


def _redistributors(possible: int) -> list[bytes]:
    regions = [(virt.GICR_BASE, virt.GICR_SIZE)]
    if possible > virt.GICR_FIRST_REGION:
        regions.append((virt.GICR_HIGH_BASE, virt.GICR_HIGH_SIZE))
    return [struct.pack("<BBHQI", _GICR, 16, 0, base, size) for base, size in regions]
