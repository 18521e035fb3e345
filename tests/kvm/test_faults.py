"""What fails is said, the slot is where it should be, and nothing hangs or stays behind.

KVM can't be made to run out of memory at will, so ioctls fail here by injection: the one
place through which all go (`abi.system`) answers for the kernel.
"""

from __future__ import annotations

import asyncio
import errno
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hpcore_kvm import abi
from hpcore_kvm.smccc import Function
from hpcore_kvm.uapi import Ioctl

from hpcore.model import stimuli
from hpcore.model.events import (
    Event,
    MachineLost,
    MachinePoweredOff,
    MachineStepFailed,
    PlugFailed,
    StepFailed,
    UnplugCompleted,
    UnplugFailed,
)
from hpcore.model.machines import Phase, SlotState
from hpcore.model.psci import PsciStatus
from hpcore.model.states import Owed
from hpcore.platform import virt
from hpcore.run.errors import RunError
from tests.kvm.machines import (
    ENTRY,
    HVC,
    Whole,
    mailbox,
    open_files,
    thread_ids,
    whole,
)
from tests.kvm.programs import UNDECODABLE
from tests.kvm.rig import HOLE
from tests.support.waits import until


class Failing:
    """Makes the ioctl `request` fail with `number`, `skip` calls later, `times` times."""

    def __init__(
        self, patch: pytest.MonkeyPatch, request: Ioctl, number: int = errno.ENOMEM,
        skip: int = 0, times: int = 1, fd: Callable[[], int] | None = None,
    ) -> None:  # fmt: skip
        self._real, self._request, self._number = abi.system, request, number
        self._skip, self._left, self._fd = skip, times, fd
        self._lock = threading.Lock()
        patch.setattr(abi, "system", self)

    def __call__(self, fd: int, request: int, argument: Any) -> int:
        with self._lock:
            mine = request == self._request and self._left > 0
            if self._fd is not None:
                mine = mine and fd == self._fd()
            if mine and self._skip:
                self._skip -= 1
            elif mine:
                self._left -= 1
                abi.ffi.errno = self._number
                return -1
        return self._real(fd, request, argument)


def last(rig: Whole, kind: type[Event]) -> Any:
    return [e for e in rig.events if isinstance(e, kind)][-1]


@pytest.mark.parametrize(
    ("request_", "skip"),
    [
        (Ioctl.KVM_CREATE_VM, 0),
        (Ioctl.KVM_SET_USER_MEMORY_REGION, 0),
        (Ioctl.KVM_CREATE_VCPU, 2),
        (Ioctl.KVM_ARM_VCPU_INIT, 3),
        (Ioctl.KVM_CREATE_DEVICE, 0),
        (Ioctl.KVM_SET_DEVICE_ATTR, 2),
        (Ioctl.KVM_IRQFD, 0),
    ],
)
def test_a_machine_that_cannot_be_made_says_why_and_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request_: Ioctl, skip: int
) -> None:
    async def run() -> None:
        files, threads = open_files(), thread_ids()
        async with whole(tmp_path, 1, 4) as rig:
            Failing(monkeypatch, request_, skip=skip)
            with pytest.raises(RunError):
                await rig.boot()
            assert rig.core.state.shared.phase is Phase.FAILED
            assert "failed with ENOMEM: the host kernel is out of memory" in rig.core.why_ended()
        assert open_files() == files
        assert len(thread_ids() - threads) <= 6  # the event loop's helpers

    asyncio.run(run())


@pytest.mark.parametrize(
    ("request_", "number", "step"),
    [
        (Ioctl.KVM_ARM_VCPU_INIT, errno.ENOMEM, "realize"),
        (Ioctl.KVM_GET_DEVICE_ATTR, errno.ENOMEM, "bind"),
        (Ioctl.KVM_SET_DEVICE_ATTR, errno.EBUSY, "bind"),
    ],
)
def test_a_plug_that_fails_is_refused_undone_and_can_be_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request_: Ioctl, number: int, step: str
) -> None:
    async def run() -> None:
        async with whole(tmp_path, 1, 2) as rig:
            await rig.boot()
            threads, files = thread_ids(), open_files()
            Failing(monkeypatch, request_, number)
            await rig.core.submit(stimuli.DeviceAdd("cpu1", (("core-id", 1),)))
            await rig.until(lambda s: s.slots[1].id is None)
            failed = last(rig, StepFailed)
            assert failed.step == step
            assert f"failed with {errno.errorcode[number]}" in failed.error
            assert last(rig, PlugFailed).id == "cpu1"
            assert rig.core.state.slots[1].lifecycle is SlotState.PARKED
            assert set(rig.machine.threads.ids()) == {0}
            assert rig.machine.vgic.bound == {0}
            assert open_files() == files
            assert len(thread_ids() - threads) <= 6
            await rig.plug(1)
            on = rig.order(0, HVC, Function.CPU_ON_64, 1, ENTRY, mailbox(1))
            assert await on == PsciStatus.SUCCESS

    asyncio.run(run())


def test_no_thread_for_a_new_vcpu_refuses_the_plug(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def run() -> None:
        async with whole(tmp_path, 1, 2) as rig:
            await rig.boot()
            real = threading.Thread.start

            def refuse(thread: threading.Thread) -> None:
                if thread.name.startswith("vCPU"):
                    raise RuntimeError("can't start new thread")
                real(thread)

            with monkeypatch.context() as patched:
                patched.setattr(threading.Thread, "start", refuse)
                await rig.core.submit(stimuli.DeviceAdd("cpu1", (("core-id", 1),)))
                await rig.until(lambda s: s.slots[1].id is None)
            assert "can't start new thread" in last(rig, StepFailed).error
            assert not rig.machine.vcpu(1).mapped
            await rig.plug(1)

    asyncio.run(run())


def test_an_eject_that_fails_stops_there_and_can_be_carried_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def run() -> None:
        async with whole(tmp_path, 1, 2) as rig:
            await rig.boot()
            await rig.plug(1)
            Failing(monkeypatch, Ioctl.KVM_SET_DEVICE_ATTR, errno.EBUSY)
            await rig.core.submit(stimuli.DeviceDel("cpu1", force=True))
            await until(lambda: any(isinstance(e, UnplugFailed) for e in rig.events))
            assert last(rig, StepFailed).step == "unwire"
            slot = rig.core.state.slots[1]
            assert slot.lifecycle is SlotState.EJECTING and slot.command is Owed.NONE
            assert rig.machine.vgic.bound == {0, 1}
            await rig.revoke(1)
            assert last(rig, UnplugCompleted).id == "cpu1"
            assert rig.machine.vgic.bound == {0}

    asyncio.run(run())


@pytest.mark.parametrize("number", [errno.ENOMEM, errno.EFAULT])
def test_a_vcpu_that_kvm_cannot_run_loses_the_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    async def run() -> None:
        async with whole(tmp_path, 1, 2) as rig:
            await rig.boot()
            await rig.plug(1)
            Failing(monkeypatch, Ioctl.KVM_RUN, number, fd=lambda: rig.machine.vcpu(1).fd)
            rig.boxes.order(0, HVC, Function.CPU_ON_64, 1, ENTRY, mailbox(1))
            await rig.core.ended()
            lost = last(rig, MachineLost).error
            name = errno.errorcode[number]
            assert f"vCPU 1 cannot go on: KVM_RUN on vCPU 1 failed with {name}" in lost
            # what is left does not run on
            await until(lambda: not rig.machine.threads.wait_out(0))

    asyncio.run(run())


def test_a_granted_vcpu_that_cannot_be_set_up_loses_the_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def run() -> None:
        async with whole(tmp_path, 1, 2) as rig:
            await rig.boot()
            await rig.plug(1)
            fd = rig.machine.vcpu(1).fd
            Failing(monkeypatch, Ioctl.KVM_SET_ONE_REG, fd=lambda: fd)
            rig.boxes.order(0, HVC, Function.CPU_ON_64, 1, ENTRY, mailbox(1))
            await rig.core.ended()
            assert "CPU_ON of vCPU 1: KVM_SET_ONE_REG on vCPU 1 failed with ENOMEM" in (
                last(rig, MachineLost).error
            )

    asyncio.run(run())


def test_a_pause_that_fails_leaves_the_guest_running(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def run() -> None:
        async with whole(tmp_path, 1, 1) as rig:
            await rig.boot()
            Failing(monkeypatch, Ioctl.KVM_GET_ONE_REG)
            await rig.core.submit(stimuli.Pause())
            await until(lambda: any(isinstance(e, MachineStepFailed) for e in rig.events))
            assert "KVM_GET_ONE_REG on vCPU 0 failed" in last(rig, MachineStepFailed).error
            await rig.load(0, virt.KERNEL_BASE)

    asyncio.run(run())


def test_what_kvm_cannot_decode_is_aborted_and_the_machine_goes_on(tmp_path: Path) -> None:
    """A real one: a load with writeback from where no memory is."""

    async def run() -> None:
        async with whole(tmp_path, 1, 2, UNDECODABLE) as rig:
            await rig.core.submit(stimuli.Boot())
            await rig.core.ended()
            assert last(rig, MachinePoweredOff).by == "guest"  # which its handler asked for
            assert not any(isinstance(event, MachineLost) for event in rig.events)
            assert rig.boxes.result(0) == HOLE
            assert rig.machine.bus.strays == 1

    asyncio.run(run())


def test_an_abort_that_cannot_be_given_loses_the_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def run() -> None:
        Failing(monkeypatch, Ioctl.KVM_SET_VCPU_EVENTS, errno.EINVAL)
        async with whole(tmp_path, 1, 2, UNDECODABLE) as rig:
            await rig.core.submit(stimuli.Boot())
            await rig.core.ended()
            lost = last(rig, MachineLost).error
            assert "vCPU 0 cannot go on: KVM_SET_VCPU_EVENTS on vCPU 0 failed with EINVAL" in lost

    asyncio.run(run())


def test_a_device_that_raises_loses_the_machine_and_names_the_thread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def run() -> None:
        async with whole(tmp_path, 1, 2) as rig:
            await rig.boot()

            def broken(_offset: int, _size: int) -> int:
                raise ZeroDivisionError("a bug")

            monkeypatch.setattr(rig.boxes, "read", broken)
            await rig.core.ended()
            assert last(rig, MachineLost).error == (
                "the thread of vCPU 0 died of ZeroDivisionError: a bug"
            )

    asyncio.run(run())


def test_stray_accesses_do_the_guest_no_good_and_the_host_no_harm(tmp_path: Path) -> None:
    async def run() -> None:
        async with whole(tmp_path, 1, 1) as rig:
            await rig.boot()
            for address in (0x0, 0x0A10_0000, 0x1000_0000, 0x3EFF_0000):
                assert await rig.load(0, address) == 0xFFFF_FFFF
                await rig.store(0, address, 1)
            assert rig.machine.bus.strays == 8

    asyncio.run(run())
