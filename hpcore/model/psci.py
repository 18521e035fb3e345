"""The return codes of PSCI that the protocol speaks of (Arm DEN0022, 5.2.2)."""

from __future__ import annotations

from enum import IntEnum


class PsciStatus(IntEnum):
    """What a PSCI call returns in x0."""

    SUCCESS = 0
    NOT_SUPPORTED = -1
    INVALID_PARAMETERS = -2
    DENIED = -3
    ALREADY_ON = -4


_NAMES = {status.value: status.name for status in PsciStatus}


def psci_status(status: int) -> str:
    """A return code by its name in the specification; its number where it has none."""
    return _NAMES.get(status, str(status))
