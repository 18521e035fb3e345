"""The Generic Event Device's event register (ACPI 6.5, 5.6.9; hw/acpi/generic_event_device.c).

One 32-bit register at offset 0: the events since it was last read. Reading clears it, so
that an event is taken once. Everything else reads as 0 and ignores stores.
"""

from __future__ import annotations

from enum import IntFlag

EVENTS = 0x0
EVENTS_SIZE = 4


class GedEvent(IntFlag):
    """Bits of the event register, QEMU's numbering."""

    MEMORY_HOTPLUG = 1 << 0
    POWER_DOWN = 1 << 1
    NVDIMM_HOTPLUG = 1 << 2
    CPU_HOTPLUG = 1 << 3


class EventRegister:
    """The register's value, `events`, and how the guest reads it."""

    def __init__(self) -> None:
        self.events = GedEvent(0)

    def read(self, offset: int, size: int) -> GedEvent:
        """What a load gives: every event since the last one, now taken.

        A load of the whole register takes them, also one that goes beyond it; a narrower
        one does not, as on QEMU, whose region takes accesses of 4 bytes alone.
        """
        if offset != EVENTS or size < EVENTS_SIZE:
            return GedEvent(0)
        taken, self.events = self.events, GedEvent(0)
        return taken
