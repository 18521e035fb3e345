"""Which of QEMU's accelerators vCPUs can be hotplugged with, and by which of hpcore's."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from pathlib import Path

OFFERED: Mapping[str, str] = {"tcg": "tcg", "kvm": "kvm-qemu"}
"""hpcore's accelerators, by QEMU's names. The first one is had where none is asked for."""

KVM = Path("/dev/kvm")


def not_to_be_had(name: str) -> str | None:
    """Why QEMU's accelerator `name` cannot be had on this host; None where it may well be."""
    if name not in OFFERED:
        return f"hotplug is to be had with {' or '.join(OFFERED)}"
    if name != "kvm":
        return None
    if (machine := platform.machine()) != "aarch64":
        return f"this host is {machine}, and KVM runs guests of the host's own architecture"
    if not os.access(KVM, os.R_OK | os.W_OK):
        return f"{KVM} is not there, or this user may not use it"
    return None
