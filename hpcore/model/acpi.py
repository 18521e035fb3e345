"""The numbers of ACPI that the protocol speaks of, once: `_STA`, notifications, `_OST`, MADT.

Source: ACPI 6.5, by section. A guest may report any number; those that no standard names
have no member here, and `ost_source` and `ost_status` say them as numbers.
"""

from __future__ import annotations

from enum import IntEnum, IntFlag

STA_PRESENT = 0x0D
"""`_STA` (6.3.7): present, shown in the user interface, functioning; not enabled."""
STA_ENABLED = 0x0F
"""The same with bit 1: enabled."""


class MadtFlag(IntFlag):
    """The flags of a GICC structure in the MADT (5.2.12.14)."""

    ENABLED = 1 << 0
    ONLINE_CAPABLE = 1 << 3


def gicc_flags(*, stays: bool) -> MadtFlag:
    """The flags of a vCPU that is there for the machine's life, or of one that comes and goes.

    One of the two, never both (5.2.12.14): what is online-capable can be disabled and enabled.
    """
    return MadtFlag.ENABLED if stays else MadtFlag.ONLINE_CAPABLE


class Notification(IntEnum):
    """What AML tells the kernel about a device by Notify (5.6.6)."""

    DEVICE_CHECK = 0x1
    EJECT_REQUEST = 0x3


class OstSource(IntEnum):
    """The event that `_OST` reports on (6.3.5): a notification, or the guest's own."""

    DEVICE_CHECK = 0x1
    EJECT_REQUEST = 0x3
    OSPM_EJECT = 0x103  # "ejection processing", which OSPM began by itself


class OstStatus(IntEnum):
    """How it went (6.3.5)."""

    SUCCESS = 0x0
    FAILURE = 0x1
    EJECTION_DISABLED = 0x80
    NO_SUCH_DEVICE = 0x81
    DEVICE_BUSY = 0x82
    DEPENDENCY_BUSY = 0x83
    IN_PROGRESS = 0x84


EJECTS = frozenset({OstSource.EJECT_REQUEST, OstSource.OSPM_EJECT})
"""The sources of an eject's end. Linux reports the one that its own administrator began,
after a request that got lost, under the second (drivers/acpi/scan.c, acpi_device_hotplug)."""

_SOURCES: dict[int, str] = {
    OstSource.DEVICE_CHECK: "device check",
    OstSource.EJECT_REQUEST: "eject request",
    OstSource.OSPM_EJECT: "its own eject",
}
_OUTCOMES: dict[int, str] = {
    OstStatus.SUCCESS: "success",
    OstStatus.FAILURE: "failure",
    OstStatus.IN_PROGRESS: "in progress",
}
_REFUSALS: dict[int, str] = {
    OstStatus.EJECTION_DISABLED: "ejection is disabled",
    OstStatus.NO_SUCH_DEVICE: "no such device",
    OstStatus.DEVICE_BUSY: "busy",
    OstStatus.DEPENDENCY_BUSY: "a dependency is busy",
}


def refuses(status: int) -> bool:
    """Whether an `_OST` status says that the guest has not done, and will not do, as asked."""
    return status not in (OstStatus.SUCCESS, OstStatus.IN_PROGRESS)


def ost_source(source: int) -> str:
    """The event that `_OST` reports on, in words; its number where no standard names it."""
    return _SOURCES.get(source, f"{source:#x}")


def ost_status(status: int) -> str:
    """An `_OST` status in words; its number where no standard names it."""
    if status in _REFUSALS:
        return f"refused: {_REFUSALS[status]}"
    return _OUTCOMES.get(status, f"{status:#x}")


def ends_eject(source: int, status: int) -> bool:
    """Whether an `_OST` says that the guest is through with an eject, well or not."""
    return source in EJECTS and status != OstStatus.IN_PROGRESS


def check_refusal(status: int) -> str:
    """Why the guest has not registered a vCPU, of a status that `refuses`."""
    why = _OUTCOMES.get(status, _REFUSALS.get(status))
    said = f"{status:#x}" if why is None else f"{why} ({status:#x})"
    return f"the guest answered the device check with {said}"


def eject_refusal(status: int) -> str:
    """Why the guest gives no vCPU back, of a status that is neither success nor progress."""
    why = f": {_REFUSALS[status]}" if status in _REFUSALS else ""
    return f"the guest refuses the eject{why} ({status:#x})"
