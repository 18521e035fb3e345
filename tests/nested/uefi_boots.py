"""The boot of an L1 in which a disk boots by UEFI and GRUB, on an unpatched QEMU and a real KVM."""

from __future__ import annotations

import pytest

from tests.nested.boots import Booted, NestedBoot
from tests.nested.machine import NestedMachine

SECONDS = 1500.0
"""For two boots of L2, each of firmware, GRUB and Linux; a quiet machine takes a fifth of that."""

pytestmark = pytest.mark.timeout(2 * int(SECONDS))


def by_uefi(series: str) -> pytest.MarkDecorator:
    """The boot of an L1 that runs the test with QEMU of that series."""
    command = (
        "env", "CI=1", "pytest", "tests/kvm_with_qemu/by_uefi.py", "-p", "no:cacheprovider",
        f"--timeout={int(SECONDS)}", "--tb=short",
    )  # fmt: skip
    return pytest.mark.boots(
        NestedBoot(command, lambda: NestedMachine(qemu=series, uefi=True), SECONDS)
    )


def passed(booted: Booted, count: int = 1) -> None:
    """So many tests have passed there, and nothing has failed."""
    ended = booted.ended()
    assert ended.status == 0, ended.output
    assert f"{count} passed" in ended.output
