"""The caller's firmware: where it is run, and how the command line names it."""

from __future__ import annotations

from collections.abc import Mapping

from hpcore.door import keyval
from hpcore.door.options import Option, Options

RUNS_FIRMWARE = frozenset({"kvm"})
"""QEMU's accelerators with which the caller's firmware runs. With tcg hpcore's monitor is where
the firmware would be, and the guest starts by its kernel."""

OPTIONS = ("bios", "pflash")
OF_MACHINE = ("pflash0", "pflash1", "firmware")
"""Values of -machine that name firmware."""


def has_firmware(options: Options, machine: Mapping[str, str]) -> bool:
    """Whether the caller names firmware."""
    return (
        options.has(*OPTIONS)
        or any(name in machine for name in OF_MACHINE)
        or any(_is_flash(option) for option in options)
    )


def without_firmware(options: Options) -> Options:
    """Those that name none."""
    left = options.without(OPTIONS)
    return Options(option for option in left if not _is_flash(option))


def _is_flash(option: Option) -> bool:
    return option.name == "drive" and keyval.parse(option.text, "file").get("if") == "pflash"
