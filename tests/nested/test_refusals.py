"""Machines on which KVM cannot do it, as they are: what hpcore says there, before anything."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.nested.boots import Booted, NestedBoot
from tests.nested.kernels import old_kernel
from tests.nested.machine import NestedMachine

SECONDS = 180.0

pytestmark = pytest.mark.timeout(600)


class Asked:
    """What one user of a machine got from `hpcore accel` and from `hpcore run --accel kvm`."""

    def __init__(self, directory: Path) -> None:
        found = json.loads((directory / "accel.json").read_text())["accelerators"]
        self.kvm: dict[str, Any] = next(one for one in found if one["name"] == "kvm")
        self.status = int((directory / "status").read_text())
        self.error = " ".join((directory / "run.err").read_text().split())
        self.has_log = (directory / "log.jsonl").exists()

    def refused(self) -> str:
        """The cause, of which `hpcore run` says the same and does nothing."""
        cause = self.kvm["reason"] or self.kvm["no_hotplug"]
        assert isinstance(cause, str)
        assert cause in self.error
        assert self.status == 2
        assert not self.has_log
        return cause


def asked(booted: Booted) -> tuple[Asked, Asked]:
    """What root and nobody got there."""
    ended = booted.ended()
    assert ended.status == 0, ended.output
    return Asked(booted.out / "root"), Asked(booted.out / "nobody")


def asks_on(machine: Callable[[], NestedMachine]) -> pytest.MarkDecorator:
    """The boot of such a machine that asks for both."""
    return pytest.mark.boots(NestedBoot(("python3", "-m", "tests.nested.ask"), machine, SECONDS))


@asks_on(lambda: NestedMachine(kernel=old_kernel()))
def test_a_kernel_without_the_smccc_filter_and_a_user_without_permission(booted: Booted) -> None:
    root, nobody = asked(booted)
    assert root.kvm["available"], "it runs, but has no hotplug"
    assert root.kvm["versions"]["host kernel"].startswith("6.1.")
    assert "SMCCC filter" in root.refused()
    assert not nobody.kvm["available"]
    assert "this user may not use KVM" in nobody.refused()


@asks_on(lambda: NestedMachine(gic=2))
def test_a_machine_with_a_gicv2(booted: Booted) -> None:
    root, _ = asked(booted)
    assert not root.kvm["available"]
    assert "VGICv3" in root.refused()


@asks_on(lambda: NestedMachine(virtualization=False))
def test_a_machine_without_el2(booted: Booted) -> None:
    root, _ = asked(booted)
    assert not root.kvm["available"]
    assert "/dev/kvm" in root.refused()


@pytest.mark.boots(
    NestedBoot(
        ("pytest", "tests/kvm_with_qemu/without_the_filter.py", "-p", "no:cacheprovider"),
        lambda: NestedMachine(kernel=old_kernel(), qemu="7.2"), SECONDS,
    )
)  # fmt: skip
def test_a_qemu_on_a_kernel_without_the_smccc_filter(booted: Booted) -> None:
    ended = booted.ended()
    assert ended.status == 0, ended.output
    assert "2 passed" in ended.output
