r"""`\_SB.PWRB`, and how a guest learns that it is pressed.

Either the event device of the vCPUs tells of it, or one of QEMU's own. QEMU's `virt` has a
Generic Event Device (hw/acpi/generic_event_device.c) which has nothing to do with vCPUs: QMP's
`system_powerdown` sets a bit in its register and pulses its interrupt. `virt` has it where there
is firmware, and anything given by `-bios` is that; with acpi=off it has none.
"""

from __future__ import annotations

from hpcore.platform import virt
from hpcore.platform.acpi.transport import GedInterrupt
from hpcore.platform.aml.encoding import string
from hpcore.platform.aml.objects import (
    Access,
    Bits,
    Space,
    device,
    field,
    method,
    name,
    operation_region,
    ref,
)
from hpcore.platform.aml.resources import interrupt, template
from hpcore.platform.aml.statements import bit_and, notify, when
from hpcore.platform.ged import EVENTS_SIZE, GedEvent

PRESSED = 0x80
"""The notification of a button that was pressed (ACPI 6.5, table "Control Method Power Button
Notification Values")."""


def power_button() -> bytes:
    """The button itself, which some event device presses."""
    return device("PWRB", name("_HID", string("PNP0C0C")), name("_UID", 0))


def press() -> bytes:
    """What an event device does when it was told that the button is pressed."""
    return notify(r"\_SB.PWRB", PRESSED)


def qemus_event_device(line: GedInterrupt) -> bytes:
    """A second event device, at `virt.GED_BASE` with interrupt `line`."""
    return device(
        "GED1",
        name("_HID", string("ACPI0013")),
        name("_UID", 1),
        name("_CRS", template(interrupt(line.gsi, line.trigger))),
        operation_region("EREG", Space.SYSTEM_MEMORY, virt.GED_BASE, EVENTS_SIZE),
        field("EREG", Access.DWORD, Bits("ESEL", 8 * EVENTS_SIZE)),
        method(
            "_EVT",
            # one load: it takes every event, and of these only the button is described here
            when(bit_and(ref("ESEL"), GedEvent.POWER_DOWN), press()),
            args=1,
        ),
    )
