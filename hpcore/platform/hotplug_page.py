"""Memory through which the guest's AML and an EL3 monitor talk about hotplug.

For an accelerator whose device model has no hotplug registers. Two directions, no
byte written by both sides except the event cells, which one sets and the other clears:

- monitor to AML: a `_STA` byte and the two event cells of every vCPU. The monitor
  raises the GED after it has set a cell.
- AML to monitor: a ring of records, in the order in which they happened, so that none
  overwrites another. AML writes the record, then `HEAD`; the monitor publishes in
  `TAIL` how far it has read. AML rings the doorbell: the RTC's alarm, set to now, whose
  interrupt is the monitor's.

The guest can write anything here; the monitor keeps its own state in secure memory and
trusts nothing that it reads.
"""

from __future__ import annotations

from enum import IntEnum

PAGE_BASE = 0x401F_0000
PAGE_SIZE = 0x2000

HEAD = 0x0  # u32, records written so far, modulo 2**32; AML's
TAIL = 0x4  # u32, records read so far, modulo 2**32; the monitor's
RING = 0x800
RING_RECORDS = 256
RECORD_SIZE = 8  # u32 kind | slot << 16, then u32 argument

STA = 0x1000  # one byte a vCPU: 0x0F or 0x0D
INSERT = 0x1200  # one byte a vCPU: 1 while a device check is waiting
REMOVE = 0x1400  # one byte a vCPU: 1 while an eject request is waiting


class RingRecord(IntEnum):
    """What AML reports, in the low 16 bits of a record's first word."""

    SCAN_STARTED = 1
    SCAN_ENDED = 2
    INSERT_ACKED = 3
    REMOVE_ACKED = 4
    EJECT = 5
    OST = 6  # argument: source event in bits 31:16, status in bits 15:0
