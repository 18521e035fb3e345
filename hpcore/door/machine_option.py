"""-machine: what of it is kept for the real QEMU, and what cannot be had."""

from __future__ import annotations

import re
from collections.abc import Mapping

from hpcore.door import firmware_option, keyval
from hpcore.door.offered import OFFERED, not_to_be_had
from hpcore.door.options import ArgumentRefused, Options

BOARD = re.compile(r"virt(-(?P<major>\d+)\.\d+)?")
OLDEST_BOARD = 3
"""virt-2.x has neither GED nor the high PCI window that the tables describe."""

OURS = ("acpi", "accel", "gic-version", "secure", "dtb")
"""Not passed on: the accelerator's part decides it, or the tables do."""
OF_BOOT = ("kernel", "initrd", "append", *firmware_option.OF_MACHINE)
"""Passed on where the caller's firmware runs; else hpcore reads it."""

_FIXED: Mapping[str, tuple[bool, str]] = {
    "its": (True, "the tables describe the ITS; leave it on"),
    "highmem": (True, "the tables describe the high regions; leave it on"),
    "highmem-redists": (True, "the tables describe the high regions; leave it on"),
    "highmem-ecam": (True, "the tables describe the high regions; leave it on"),
    "highmem-mmio": (True, "the tables describe the high regions; leave it on"),
    "virtualization": (False, "there is no EL2 for a guest here; leave it off"),
    "ras": (False, "the tables have no HEST, so the guest would see no error; leave it off"),
    "nvdimm": (False, "the tables have no NFIT, so the guest would not see it; leave it off"),
    "hmat": (False, "the tables have no HMAT, so the guest would not see it; leave it off"),
    "cxl": (False, "the tables have no CEDT, so the guest would not see it; leave it off"),
}
"""What must be so, and why."""


def read(options: Options) -> dict[str, str]:
    """All values of -machine and -M together; `type` is the board, if one was named.

    -accel and -enable-kvm are in it, as `accel`, and what -no-acpi said is not: ACPI is how
    the guest learns of vCPUs.
    """
    values: dict[str, str] = {}
    for text in options.all("machine", "M"):
        values |= keyval.parse(text, "type")
    if options.has("enable-kvm"):
        values["accel"] = "kvm"
    if accels := [keyval.parse(text, "accel")["accel"] for text in options.all("accel")]:
        values["accel"] = ":".join(accels)
    return values


def check(values: Mapping[str, str]) -> None:
    """Refuse what cannot be had. Raises ArgumentRefused."""
    board = values.get("type", "")
    named = f"-machine {board}".strip()
    found = BOARD.fullmatch(board)
    if found is None:
        raise ArgumentRefused(named, "vCPU hotplug is for the board virt; use -machine virt")
    if found["major"] is not None and int(found["major"]) < OLDEST_BOARD:
        raise ArgumentRefused(named, f"use virt or a version of it from {OLDEST_BOARD}.0 on")
    for name, (wanted, why) in _FIXED.items():
        if name in values and keyval.is_on(values[name]) is not wanted:
            raise ArgumentRefused(f"-machine {name}={values[name]}", why)
    if (iommu := values.get("iommu", "none")) != "none":
        raise ArgumentRefused(
            f"-machine iommu={iommu}",
            "the IORT describes no SMMU, so devices would go past it; leave the iommu out",
        )
    if "confidential-guest-support" in values:
        raise ArgumentRefused(
            "-machine confidential-guest-support",
            "hpcore has to see the guest's calls; leave it out",
        )


def accelerator(values: Mapping[str, str]) -> str:
    """The first of QEMU's accelerators asked for that can be had; the first on offer if none was.

    Raises ArgumentRefused where none of them can, with the reason for the last one.
    """
    asked = values.get("accel")
    if asked is None:
        return next(iter(OFFERED))
    why = None
    for name in asked.split(":"):
        why = not_to_be_had(name)
        if why is None:
            return name
    raise ArgumentRefused(f"-accel {asked}", str(why))
