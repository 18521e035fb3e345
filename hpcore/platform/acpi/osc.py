r"""`_OSC`: the operating system says what it can do, and learns what of it counts here.

Source: ACPI 6.5, "_OSC (Operating System Capabilities)". The first DWORD of the buffer carries
the query flag in and the status out; the capabilities stand in another. Nothing is kept between
calls, so a query and a request are answered alike.
"""

from __future__ import annotations

import uuid
from enum import IntFlag

from attrs import frozen

from hpcore.platform.aml.objects import buffer, method, ref
from hpcore.platform.aml.statements import (
    arg,
    bit_and,
    bit_or,
    dword_field,
    give,
    less,
    local,
    not_equal,
    store,
    when,
)

STATUS_DWORD = 0
REVISION = 1


class OscStatus(IntFlag):
    """What the status DWORD says on return."""

    FAILURE = 1 << 1
    UNKNOWN_UUID = 1 << 2
    UNKNOWN_REVISION = 1 << 3
    MASKED = 1 << 4
    """A capability that was asked for is not granted."""


class Platform(IntFlag):
    r"""Capabilities of `\_SB` (ACPI 6.5, table "Platform-Wide _OSC Capabilities DWORD 2")."""

    INSERTION_EJECTION_OST = 1 << 3
    GENERIC_EVENT_DEVICE = 1 << 11
    CPU_ENABLED_TOGGLES = 1 << 23
    """The OS copes with a vCPU whose `_STA` changes its Enabled bit. Reserved in ACPI 6.5. The
    bit is the one of Arm's proposal to the ACPI forum (tianocore's bugzilla, 4481) and of the
    patch for Linux that came with it, which never was merged; a Linux that has the patch asks
    for it."""
    CPU_PRESENT_TOGGLES = 1 << 24
    """The same for the Present bit, and of the same proposal. An arm64 vCPU is always present."""


class PciControl(IntFlag):
    """What of a host bridge the OS may control (PCI Firmware Specification 3.3, 4.5.1)."""

    NATIVE_HOTPLUG = 1 << 0
    SHPC_HOTPLUG = 1 << 1
    POWER_EVENTS = 1 << 2
    ERROR_REPORTING = 1 << 3
    CAPABILITY_STRUCTURE = 1 << 4


@frozen
class Capabilities:
    """Of `interface`, the capabilities in DWORD number `dword` that are granted."""

    interface: uuid.UUID
    dword: int
    granted: IntFlag


PLATFORM = Capabilities(
    uuid.UUID("0811b06e-4a27-44f9-8d60-3cbbc22e7b48"),
    1,
    Platform.INSERTION_EJECTION_OST | Platform.GENERIC_EVENT_DEVICE | Platform.CPU_ENABLED_TOGGLES,
)
r"""Of `\_SB`: what vCPU hotplug is made of here. A vCPU's presence never changes."""

PCI_HOST = Capabilities(
    uuid.UUID("33db4d5b-1ff7-401c-9657-7441c03dd766"),
    2,
    PciControl.NATIVE_HOTPLUG
    | PciControl.SHPC_HOTPLUG
    | PciControl.POWER_EVENTS
    | PciControl.ERROR_REPORTING
    | PciControl.CAPABILITY_STRUCTURE,
)
"""Of the host bridge: everything, as QEMU grants it (hw/acpi/pci.c). Linux takes hotplug behind a
PCI Express port only where it is granted."""


def osc(capabilities: Capabilities) -> bytes:
    """The method. What is not granted is masked, and the status says so.

    A caller with another UUID gets its capabilities back as they were, as the specification
    has it; so does one whose buffer is too short for them.
    """
    status, asked, granted = ref("CDW1"), ref("CAPS"), local(0)

    def say(flag: OscStatus) -> bytes:
        return bit_or(status, flag, status)

    return method(
        "_OSC",
        dword_field(arg(3), 4 * STATUS_DWORD, "CDW1"),
        when(
            not_equal(arg(0), buffer(capabilities.interface.bytes_le)),
            say(OscStatus.UNKNOWN_UUID),
            give(arg(3)),
        ),
        when(less(arg(2), capabilities.dword + 1), say(OscStatus.FAILURE), give(arg(3))),
        dword_field(arg(3), 4 * capabilities.dword, "CAPS"),
        when(not_equal(arg(1), REVISION), say(OscStatus.UNKNOWN_REVISION)),
        bit_and(asked, capabilities.granted, granted),
        when(not_equal(asked, granted), say(OscStatus.MASKED), store(granted, asked)),
        give(arg(3)),
        args=4,
    )
