"""kvm-qemu with QEMU 10, and on a host without VHE: by `make nested-more`, not by `make test`."""

from __future__ import annotations

from tests.nested.boots import Booted
from tests.nested.machine import NestedMachine
from tests.nested.test_kvm_suite import Inner, inner, kvm_tests, pytestmark
from tests.nested.test_uefi import by_uefi, passed

__all__ = ["inner", "pytestmark"]


@kvm_tests("kvm_with_qemu", NestedMachine(qemu="10"), "-m", "each_qemu")
def test_kvm_with_qemu_10(inner: Inner, booted: Booted) -> None:
    inner.hold(booted, "QEMU 10")


@kvm_tests("kvm_with_qemu", NestedMachine(cpu="cortex-a57", qemu="7.2"), "-m", "nvhe")
def test_kvm_with_qemu_without_vhe(inner: Inner, booted: Booted) -> None:
    inner.hold(booted, "QEMU 7.2, nVHE")


@by_uefi("10")
def test_a_disk_boots_by_uefi_and_hotplugs_with_qemu_10(booted: Booted) -> None:
    passed(booted)
