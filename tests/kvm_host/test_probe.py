"""What cannot run is said before anything is made, with the cause and the remedy."""

from __future__ import annotations

import errno
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hpcore_kvm import KvmAccelerator, abi, smccc, uapi
from hpcore_kvm.probe import host_mode, probe
from hpcore_kvm.uapi import Cap, Ioctl

from hpcore.model.rules import Trait


class FakeKvm:
    """An ioctl(2) with the answers of a KVM that this machine has not got.

    It answers what a probe asks, and notes the rest as made.
    """

    def __init__(self, **answers: int) -> None:
        self.caps = {Cap.MAX_VCPUS: 512, Cap.ARM_VM_IPA_SIZE: 48}
        self.answers = {"api": 12, "filter": 0, "vgic": 0, "vm": 0} | answers
        self.made: list[Ioctl] = []

    def __call__(self, fd: int, request: int, argument: Any) -> int:
        match Ioctl(request):
            case Ioctl.KVM_GET_API_VERSION:
                return self.answers["api"]
            case Ioctl.KVM_CREATE_VM:
                return self._or_error("vm") or os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
            case Ioctl.KVM_GET_VCPU_MMAP_SIZE:
                return 8192
            case Ioctl.KVM_CHECK_EXTENSION:
                return self.caps.get(Cap(int(argument)), 0)
            case Ioctl.KVM_CREATE_DEVICE:
                data = abi.ffi.cast("struct kvm_create_device *", argument)
                assert data.flags == uapi.CREATE_DEVICE_TEST
                return self._or_error("vgic")
            case Ioctl.KVM_HAS_DEVICE_ATTR:
                return self._or_error("filter")
        self.made.append(Ioctl(request))
        return 0

    def _or_error(self, which: str) -> int:
        abi.ffi.errno = self.answers[which]
        return -1 if self.answers[which] else 0


def probe_fake(monkeypatch: pytest.MonkeyPatch, fake: FakeKvm) -> Any:
    monkeypatch.setattr(abi, "system", fake)
    found = probe(Path("/dev/null"), "aarch64")
    assert fake.made == []
    return found


def test_an_x86_host_is_refused_whatever_its_dev_kvm_can() -> None:
    found = probe(machine="x86_64")
    assert found.unavailable == (
        "this host is x86_64, and KVM runs guests of the host's own architecture; "
        "use an arm64 host, or --accel tcg"
    )


def test_on_a_foreign_host_the_binding_is_not_even_loaded() -> None:
    script = (
        "import sys; from hpcore_kvm.probe import probe\n"
        "assert probe(machine='x86_64').unavailable\n"
        "assert 'hpcore_kvm.abi' not in sys.modules, 'it costs every command its import'"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr


def test_no_device(tmp_path: Path) -> None:
    found = probe(tmp_path / "kvm", "aarch64")
    assert found.unavailable is not None
    assert "there is no /dev/kvm; load KVM or boot a host kernel at EL2" in found.unavailable


@pytest.mark.parametrize(
    ("number", "cause", "remedy"),
    [
        (errno.EACCES, "EACCES: this user may not use KVM", "usermod -aG kvm"),
        (errno.EPERM, "EPERM: a container or sandbox keeps", "--device /dev/kvm"),
    ],
)
def test_no_permission(
    monkeypatch: pytest.MonkeyPatch, number: int, cause: str, remedy: str
) -> None:
    """Root may open anything, so the refusal is the one part that is made up."""

    def refuse(path: Any, flags: int) -> int:
        raise PermissionError(number, "no", str(path))

    monkeypatch.setattr(os, "open", refuse)
    found = probe(machine="aarch64")
    assert found.unavailable is not None
    assert f"open on /dev/kvm failed with {cause}" in found.unavailable
    assert remedy in found.unavailable


def test_a_kernel_with_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    found = probe_fake(monkeypatch, FakeKvm())
    assert (found.unavailable, found.no_hotplug, found.max_vcpus) == (None, None, 512)
    assert found.versions["host kernel"] == platform.release()
    assert "cpu_model" in found.modelled


def test_a_sandbox_that_hides_the_mode_does_not_hide_kvm(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("hpcore_kvm.probe.INTERRUPTS", tmp_path / "interrupts")
    found = probe_fake(monkeypatch, FakeKvm())
    assert found.unavailable is None and "kvm" not in found.versions


def test_a_kernel_without_the_smccc_filter_runs_without_hotplug(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = probe_fake(monkeypatch, FakeKvm(filter=errno.EINVAL))
    assert found.unavailable is None
    assert found.no_hotplug == smccc.NO_FILTER


def test_threads_are_deferred_where_cpu_on_comes_to_hpcore(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    trait = str(Trait.THREAD_AT_CPU_ON)
    for answer, lacks in ((0, False), (errno.EINVAL, True)):
        found = probe_fake(monkeypatch, FakeKvm(filter=answer))
        monkeypatch.setattr("hpcore_kvm.probe.probe", lambda found=found: found)
        assert (trait in KvmAccelerator().probe().lacks) is lacks
        assert trait in found.lacks, "QEMU under KVM asks here, and has its threads from the start"
        monkeypatch.undo()


def test_a_host_with_a_gicv2_alone_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    found = probe_fake(monkeypatch, FakeKvm(vgic=errno.ENODEV))
    assert found.unavailable == (
        "KVM_CREATE_DEVICE on a VGICv3 failed with ENODEV: the host has no GICv3 to "
        "virtualise; use a host with a GICv3, or --accel tcg"
    )


def test_what_kvm_allows_caps_the_vcpus(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakeKvm()
    fake.caps[Cap.MAX_VCPUS] = 8
    assert probe_fake(monkeypatch, fake).max_vcpus == 8
    fake.caps[Cap.MAX_VCPUS] = 4096
    assert probe_fake(monkeypatch, fake).max_vcpus == 512


def test_few_address_bits_cap_the_vcpus_to_one_region_of_redistributors(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fake = FakeKvm()
    fake.caps[Cap.ARM_VM_IPA_SIZE] = 36
    assert probe_fake(monkeypatch, fake).max_vcpus == 123


def test_an_api_of_another_age_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    found = probe_fake(monkeypatch, FakeKvm(api=11))
    assert found.unavailable == (
        "/dev/null has API version 11, not 12; boot a Linux host kernel with KVM"
    )


def test_a_vm_that_cannot_be_made_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    found = probe_fake(monkeypatch, FakeKvm(vm=errno.ENOMEM))
    assert found.unavailable == (
        "KVM_CREATE_VM on the VM failed with ENOMEM: the host kernel is out of memory; "
        "free some, or lower maxcpus or memory"
    )


def test_the_timer_that_the_host_uses_tells_its_mode() -> None:
    table = "           CPU0  CPU1\n 11:  {}  GICv3 {} Level  arch_timer\n"
    assert host_mode(table.format(813, 26).splitlines()) == "VHE"
    assert host_mode(table.format(813, 30).splitlines()) == "nVHE"
    assert host_mode(table.format(813, 27).splitlines()) is None
    assert host_mode([]) is None
