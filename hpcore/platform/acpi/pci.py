r"""`\_SB.PCI0`: QEMU's generic PCI Express host bridge, as `virt` places it.

Source: hw/arm/virt.c and hw/pci-host/gpex-acpi.c; the objects are those of the PCI
Firmware Specification 3.3, 4.1.
"""

from __future__ import annotations

from hpcore.platform import virt
from hpcore.platform.acpi.osc import PCI_HOST, osc
from hpcore.platform.aml.encoding import string
from hpcore.platform.aml.objects import data_package, device, method, name
from hpcore.platform.aml.resources import (
    BUS_NONE,
    IO_ENTIRE_RANGE_TRANSLATED,
    MEMORY_READ_WRITE,
    Range,
    Window,
    dword_window,
    qword_window,
    template,
    word_window,
)
from hpcore.platform.aml.statements import give

SLOTS, PINS = 32, 4
BUSES = 256


def pci_host() -> bytes:
    """The host bridge, with its windows, interrupt routing and reserved ECAM."""
    return device(
        "PCI0",
        name("_HID", string("PNP0A08")),
        name("_CID", string("PNP0A03")),
        name("_SEG", 0),
        name("_BBN", 0),
        name("_UID", 0),
        name("_CCA", 1),
        method("_CBA", give(virt.ECAM_BASE), serialized=False),
        name("_CRS", _windows()),
        name("_PRT", _routing()),
        osc(PCI_HOST),
        device(
            "RES0",
            name("_HID", string("PNP0C02")),
            name("_CRS", template(qword_window(_memory(virt.ECAM_BASE, virt.ECAM_SIZE)))),
        ),
    )


def _memory(base: int, size: int) -> Window:
    return Window(Range.MEMORY, base, size, MEMORY_READ_WRITE)


def _windows() -> bytes:
    ports = Window(
        Range.IO, 0, virt.PCI_PIO_SIZE, IO_ENTIRE_RANGE_TRANSLATED, translation=virt.PCI_PIO_BASE
    )
    return template(
        word_window(Window(Range.BUS, 0, BUSES, BUS_NONE)),
        dword_window(_memory(virt.PCI_MMIO_BASE, virt.PCI_MMIO_SIZE)),
        dword_window(ports),
        qword_window(_memory(virt.PCI_HIGH_BASE, virt.PCI_HIGH_SIZE)),
    )


def _routing() -> bytes:
    """INTA to INTD of every slot, swizzled over the bridge's four interrupts."""
    return data_package(
        *(
            data_package(slot << 16 | 0xFFFF, pin, 0, virt.PCI_FIRST_GSI + (slot + pin) % PINS)
            for slot in range(SLOTS)
            for pin in range(PINS)
        )
    )
