"""Tables about devices of the machine: timers, console, PCI and its interrupts."""

from __future__ import annotations

import struct

from hpcore.platform import virt
from hpcore.platform.acpi.header import memory_address, table

ABSENT = 0xFFFF_FFFF_FFFF_FFFF

_ALWAYS_ON = 1 << 2


def gtdt() -> bytes:
    """Generic Timer Description Table, revision 3 (ACPI 6.5, 5.2.25).

    No memory-mapped timers. The counters go on in every power state; level, active high.
    """
    timers = (
        (virt.TIMER_SECURE_GSI, 0),
        (virt.TIMER_PHYS_GSI, _ALWAYS_ON),
        (virt.TIMER_VIRT_GSI, 0),
        (virt.TIMER_HYP_GSI, 0),
    )
    return table(
        b"GTDT",
        3,
        struct.pack("<QI", ABSENT, 0)
        + b"".join(struct.pack("<II", gsi, flags) for gsi, flags in timers)
        + struct.pack("<QIIII", ABSENT, 0, 0, 0, 0),  # no platform timers, no virtual EL2 one
    )


def spcr() -> bytes:
    """Serial Port Console Redirection, revision 2: the first PL011."""
    pl011, gic_interrupt, baud_115200, stop_1, vt_utf8 = 3, 1 << 3, 7, 1, 1
    no_pci_device = 0xFFFF
    return table(
        b"SPCR",
        2,
        struct.pack("<B3x", pl011)
        + memory_address(virt.UART0_BASE)
        + struct.pack("<BBI", gic_interrupt, 0, virt.UART0_GSI)
        + struct.pack("<BBBBBB", baud_115200, 0, stop_1, 0, vt_utf8, 0)
        + struct.pack("<HHBBBIBI", no_pci_device, no_pci_device, 0, 0, 0, 0, 0, 0),
    )


def mcfg() -> bytes:
    """PCI memory-mapped configuration: segment 0, buses 0 to 255."""
    return table(b"MCFG", 1, struct.pack("<QQHBB4x", 0, virt.ECAM_BASE, 0, 0, 255))


def iort() -> bytes:
    """I/O Remapping Table (Arm DEN 0049): every PCI requester to the one ITS.

    Without it there are no message-signalled interrupts for PCI.
    """
    header = 36 + 12
    its_group = struct.pack("<BHBIIIII", 0, 24, 1, 0, 0, 0, 1, 0)  # id 0, one ITS: number 0
    root_size, mapping_size = 36, 20
    coherent, coherent_path_and_attributes, address_bits = 1, 3, 64
    root = struct.pack(
        "<BHBIII" "IBHB" "IIB3x",
        2, root_size + mapping_size, 3, 1, 1, root_size,  # id 1, one mapping behind it
        coherent, 0, 0, coherent_path_and_attributes,
        0, 0, address_bits,  # no ATS; segment 0
    )  # fmt: skip
    all_requesters = struct.pack("<IIIII", 0, 0xFFFF, 0, header, 0)
    nodes = struct.pack("<III", 2, header, 0) + its_group + root + all_requesters
    return table(b"IORT", 3, nodes)
