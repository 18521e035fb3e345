"""What KVM does beside test_kvm_suite.py, by `make nested-more` alone: it takes long.

A Linux that our VMM carries whole, and seven times in a row; with QEMU the other scenarios, random
moments, QEMU 10, a host without VHE, disks that boot by UEFI, and libvirt's `<domain type='kvm'>`.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.nested.boots import Booted, NestedBoot
from tests.nested.machine import NestedMachine
from tests.nested.test_kvm_suite import SECONDS, Inner, inner, keep, kvm_tests, pytestmark
from tests.nested.test_logs_agree import (
    SCENARIOS,
    WITH_QEMU,
    WITHOUT_QEMU,
    agree,
    on_kvm,
    on_tcg,
    without_kvm,
)
from tests.nested.uefi_boots import by_uefi, passed

__all__ = ["inner", "pytestmark"]


@kvm_tests("kvm", NestedMachine(), "-m", "long")
def test_kvm(inner: Inner, booted: Booted, kept_logs: Path) -> None:
    inner.hold(booted, "VHE")
    keep(booted, kept_logs, "kvm-*.jsonl")


@pytest.mark.parametrize("beside", ["qtest", "tcg"])
def test_the_logs_of_seven_moves_agree(beside: str, kept_logs: Path) -> None:
    moves = "migrations"
    agree(without_kvm(beside, moves, kept_logs), on_kvm("kvm", moves, kept_logs))


@kvm_tests("kvm_with_qemu", NestedMachine(qemu="7.2"), "-m", "long")
def test_kvm_with_qemu_7_2(inner: Inner, booted: Booted, kept_logs: Path) -> None:
    inner.hold(booted, "QEMU 7.2")
    keep(booted, kept_logs, "kvm-qemu-*.jsonl")


@pytest.mark.parametrize("beside", ["qtest", "tcg"])
def test_the_logs_of_seven_moves_with_qemu_agree(beside: str, kept_logs: Path) -> None:
    moves = "migrations"
    agree(without_kvm(beside, moves, kept_logs), on_kvm("kvm-qemu", moves, kept_logs))


@pytest.mark.parametrize("name", sorted(set(SCENARIOS) - set(WITHOUT_QEMU)))
def test_the_logs_of_a_scenario_agree(name: str, kept_logs: Path) -> None:
    agree(on_tcg(name, kept_logs), on_kvm("kvm", name, kept_logs))


@pytest.mark.parametrize("name", sorted(set(SCENARIOS) - set(WITH_QEMU)))
def test_the_logs_of_a_scenario_agree_with_qemus(name: str, kept_logs: Path) -> None:
    agree(on_tcg(name, kept_logs), on_kvm("kvm-qemu", name, kept_logs))


@kvm_tests("kvm_with_qemu", NestedMachine(qemu="10"), "-m", "each_qemu")
def test_kvm_with_qemu_10(inner: Inner, booted: Booted) -> None:
    inner.hold(booted, "QEMU 10")


@kvm_tests("kvm_with_qemu", NestedMachine(cpu="cortex-a57", qemu="7.2"), "-m", "nvhe")
def test_kvm_with_qemu_without_vhe(inner: Inner, booted: Booted) -> None:
    inner.hold(booted, "QEMU 7.2, nVHE")


@by_uefi("7.2")
def test_a_disk_boots_by_uefi_and_hotplugs_with_qemu_7_2(booted: Booted) -> None:
    passed(booted)


@by_uefi("10")
def test_a_disk_boots_by_uefi_and_hotplugs_with_qemu_10(booted: Booted) -> None:
    passed(booted)


@kvm_tests("libvirt/on_kvm.py", NestedMachine(qemu="7.2", libvirt=True))
def test_libvirt_has_its_kvm_domains_hotplugged(inner: Inner, booted: Booted) -> None:
    inner.hold(booted, "libvirt")


def confined(how: str, machine: NestedMachine) -> pytest.MarkDecorator:
    """The boot of an L1 whose kernel confines QEMU so."""
    command = ("pytest", f"tests/kvm_with_qemu/by_{how}.py", "-p", "no:cacheprovider")
    return pytest.mark.boots(NestedBoot(command, lambda: machine, SECONDS))


@confined("apparmor", NestedMachine(qemu="7.2", apparmor=True))
def test_libvirts_apparmor_rules_and_what_the_interposer_needs_beside_them(booted: Booted) -> None:
    passed(booted, 3)


@confined("selinux", NestedMachine(qemu="7.2", selinux=True))
def test_qemu_in_a_domain_of_its_own_by_selinux(booted: Booted) -> None:
    passed(booted, 2)
