"""A failure of KVM is one kind of error, with the ioctl, the errno, what for and what to do."""

from __future__ import annotations

import errno
import os
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, cast

import pytest
from hpcore_kvm import abi
from hpcore_kvm.errors import KvmError, OrderError
from hpcore_kvm.uapi import Ioctl
from hpcore_kvm.vcpu import KICK_SIGNAL, Vcpu
from hpcore_kvm.vm import Irqfd, Memory, System, Vm

RUN_SIZE = 8192


def failing(number: int) -> Any:
    """An ioctl(2) that fails so, for what cannot be had from a kernel at will."""

    def system(fd: int, request: int, argument: Any) -> int:
        abi.ffi.errno = number
        return -1

    return system


def test_an_error_names_ioctl_errno_subject_cause_and_remedy() -> None:
    error = KvmError("KVM_CREATE_VCPU", errno.EBUSY, "vCPU 3")
    assert str(error) == (
        "KVM_CREATE_VCPU on vCPU 3 failed with EBUSY: the VGIC is initialised, and from then "
        "on there are no new vCPUs; create all possible ones first"
    )
    assert (error.call, error.number, error.name) == ("KVM_CREATE_VCPU", errno.EBUSY, "EBUSY")


def test_an_errno_that_nobody_expected_is_still_named() -> None:
    assert str(KvmError("KVM_RUN", errno.ELOOP, "vCPU 0")) == (
        "KVM_RUN on vCPU 0 failed with ELOOP"
    )
    assert "failed with 4711" in str(KvmError("KVM_RUN", 4711, "vCPU 0"))


def test_a_failing_ioctl_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(abi, "system", failing(errno.ENOMEM))
    with pytest.raises(KvmError, match="KVM_CREATE_VCPU on vCPU 7 failed with ENOMEM: the host"):
        abi.ioctl(0, Ioctl.KVM_CREATE_VCPU, 7, "vCPU 7")


def test_an_ioctl_that_a_signal_interrupted_is_done_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    answers = [errno.EINTR, errno.EINTR, 0]

    def system(fd: int, request: int, argument: Any) -> int:
        abi.ffi.errno = answers.pop(0)
        return -1 if abi.ffi.errno else 5

    monkeypatch.setattr(abi, "system", system)
    assert abi.ioctl(0, Ioctl.KVM_GET_API_VERSION, 0, "kvm") == 5
    assert answers == []


def test_a_vcpu_that_is_not_mapped_is_not_run() -> None:
    vcpu = Vcpu(2, -1, RUN_SIZE, 5)
    with pytest.raises(OrderError, match="vCPU 2 is not mapped; map it before"):
        vcpu.run()
    vcpu.kick()  # nobody to kick: nothing happens


def test_a_run_page_that_cannot_be_mapped_is_said() -> None:
    with pytest.raises(KvmError, match="mmap on vCPU 2 failed with EBADF"):
        Vcpu(2, -1, RUN_SIZE, 5).map()


def test_memory_that_this_process_cannot_have_is_said() -> None:
    with pytest.raises(KvmError, match=r"mmap on 0x4.* of guest RAM failed with ENOMEM: .*lower"):
        Memory(0, 1 << 62, shared=False)


def test_an_eventfd_that_cannot_be_had_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_value: int, _flags: int) -> int:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(os, "eventfd", refuse)
    with pytest.raises(KvmError, match=r"eventfd on SPI 41 failed with EMFILE: .*ulimit -n"):
        Irqfd(cast(Vm, None), 41)


def test_a_vcpus_thread_hears_the_kick_though_its_signal_was_blocked() -> None:
    """As by whoever started this process: a mask is inherited, and holds KVM_RUN up."""

    def blocked() -> bool:
        signal.pthread_sigmask(signal.SIG_BLOCK, {KICK_SIGNAL})
        with Vcpu(0, -1, RUN_SIZE, 5).running():
            return KICK_SIGNAL in signal.pthread_sigmask(signal.SIG_BLOCK, ())

    with ThreadPoolExecutor(1) as thread:
        assert not thread.submit(blocked).result()


def test_no_kvm_device_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(KvmError, match="failed with ENOENT: there is no /dev/kvm; load KVM"):
        System(tmp_path / "kvm")


def test_a_file_that_is_no_kvm_device_is_said() -> None:
    system = System(Path("/dev/null"))
    try:
        with pytest.raises(KvmError, match="KVM_GET_API_VERSION on /dev/null failed with ENOTTY"):
            system.api_version()
    finally:
        system.close()
