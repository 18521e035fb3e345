"""Numbers that every vCPU's AML uses, whatever the transport."""

from __future__ import annotations

STA_ENABLED = 0x0F
"""`_STA` (ACPI 6.5, 6.3.7): present, enabled, shown, functioning."""
STA_PRESENT = 0x0D
"""Present, shown, functioning; not enabled."""

NOTIFY_DEVICE_CHECK = 1
NOTIFY_EJECT_REQUEST = 3
"""Notification values (ACPI 6.5, 5.6.6)."""
