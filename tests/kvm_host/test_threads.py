"""Threads of vCPUs, on a vCPU of the test's making: gates, kicks, CPU_ON, and faults.

The faults here no real KVM can be made to have; how threads do on a real one is in
tests/kvm.
"""

from __future__ import annotations

import errno
import queue
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast

import pytest
from hpcore_kvm import vcpu_thread
from hpcore_kvm.bus import Bus, Region
from hpcore_kvm.errors import KvmError
from hpcore_kvm.smccc import Function
from hpcore_kvm.threads import Hold, Threads
from hpcore_kvm.uapi import MpState, SystemEventType
from hpcore_kvm.vcpu import Exit, Hypercall, Kicked, Mmio, SystemEvent, Unexpected, Vcpu
from hpcore_kvm.vcpu_thread import Where

from hpcore.model.psci import PsciStatus
from hpcore.model.stimuli import CpuOffSeen, CpuOnCalled, Stimulus
from tests.support.waits import SECONDS, poll

POSSIBLE = 4


class FakeVcpu:
    """A vCPU whose exits the test hands in; it can be kicked as a real one can."""

    def __init__(self, index: int) -> None:
        self.index, self.name = index, f"vCPU {index}"
        self.mp_state = MpState.RUNNABLE
        self.x = [0] * 31
        self.runs = self.settled = 0
        self.deaf = False
        self.inside = threading.Event()
        self.replies: list[int] = []
        self._exits: queue.Queue[Exit | Exception] = queue.Queue()
        self._kick = threading.Event()

    def leave(self, *exits: Exit | Exception) -> None:
        """The guest makes KVM_RUN end so, one after the other."""
        for exit in exits:
            self._exits.put(exit)

    @contextmanager
    def running(self) -> Iterator[None]:
        yield

    def kick(self) -> None:
        self._kick.set()

    def run(self) -> Exit:
        self.runs += 1
        self.inside.set()
        try:
            while True:
                if self._kick.is_set() and not self.deaf:
                    self._kick.clear()
                    return Kicked()
                try:
                    found = self._exits.get(timeout=0.005)
                except queue.Empty:
                    continue
                if isinstance(found, Exception):
                    raise found
                return found
        finally:
            self.inside.clear()

    def settle(self) -> None:
        self.settled += 1

    def answer_read(self, value: int) -> None:
        self.replies.append(value)

    def get_x(self, number: int) -> int:
        return self.x[number]

    def set_x(self, number: int, value: int) -> None:
        self.x[number] = value


class Rig:
    """A machine around the threads; `stimuli`, `events` and `failures` are what it was told."""

    possible = POSSIBLE

    def __init__(self) -> None:
        self.bus = Bus()
        self.stimuli: list[Stimulus] = []
        self.events: list[int] = []
        self.failures: list[str] = []
        self.threads = Threads(self)

    def report(self, stimulus: Stimulus) -> None:
        self.stimuli.append(stimulus)

    def system_event(self, kind: int) -> None:
        self.events.append(kind)
        self.threads.hold(Hold.RESET)

    def failed(self, why: str) -> None:
        self.failures.append(why)

    def vcpu(self, index: int, on: bool = True) -> FakeVcpu:
        """A vCPU with a thread, in KVM_RUN if it is on."""
        vcpu = FakeVcpu(index)
        self.threads.start(cast(Vcpu, vcpu))
        if on:
            self.threads[index].power_on()
            poll(vcpu.inside.is_set)
        return vcpu


@pytest.fixture
def rig() -> Iterator[Rig]:
    rig = Rig()
    yield rig
    assert rig.threads.join_all(SECONDS) == []


def cpu_on(vcpu: FakeVcpu, affinity: int, function: int = Function.CPU_ON_64) -> None:
    """The guest calls CPU_ON on `vcpu`."""
    vcpu.x[:4] = [function, affinity, 0x4000_0000, 7]
    vcpu.leave(Hypercall(function, False))


# ------------------------------------------------------------------------ gates


def test_a_vcpu_that_is_off_waits_outside_of_kvm_run(rig: Rig) -> None:
    vcpu = rig.vcpu(1, on=False)
    thread = rig.threads[1]
    poll(lambda: thread.where is Where.GATE)
    assert vcpu.runs == 0
    thread.power_on()
    poll(vcpu.inside.is_set)
    thread.power_off()
    assert rig.threads.wait_out(SECONDS, 1) == []
    assert thread.where is Where.GATE
    assert not vcpu.inside.is_set()


def test_a_vcpu_runs_again_when_nothing_holds_it_any_more(rig: Rig) -> None:
    vcpus = [rig.vcpu(0), rig.vcpu(1)]
    rig.threads.hold(Hold.PAUSED)
    rig.threads.hold(Hold.WORK)
    assert rig.threads.wait_out(SECONDS) == []
    runs = [vcpu.runs for vcpu in vcpus]
    rig.threads.let_go(Hold.WORK)
    assert [vcpu.runs for vcpu in vcpus] == runs
    rig.threads.let_go(Hold.PAUSED)
    poll(lambda: all(vcpu.inside.is_set() for vcpu in vcpus))


def test_a_held_vcpu_that_is_powered_on_still_waits(rig: Rig) -> None:
    vcpu = rig.vcpu(0, on=False)
    rig.threads.hold(Hold.PAUSED)
    rig.threads[0].power_on()
    poll(lambda: rig.threads[0].where is Where.GATE)
    assert vcpu.runs == 0
    rig.threads.let_go(Hold.PAUSED)
    poll(vcpu.inside.is_set)


def test_an_access_is_finished_before_its_thread_leaves(rig: Rig) -> None:
    vcpu = rig.vcpu(0)
    held = threading.Event()
    settled = vcpu.settled

    class Slow:
        def read(self, _offset: int, _size: int) -> int:
            rig.threads.hold(Hold.WORK)  # asked out while it deals with the access
            held.set()
            return 42

        def write(self, _offset: int, _size: int, _value: int) -> None: ...

    rig.bus = Bus(Region(0, 8, Slow()))
    vcpu.leave(Mmio(0, 4, False, 0))
    assert held.wait(SECONDS)
    assert rig.threads.wait_out(SECONDS) == []
    assert vcpu.replies == [42]
    assert vcpu.settled == settled + 1


def test_a_stuck_thread_is_named_in_time(rig: Rig) -> None:
    vcpu = rig.vcpu(2)
    rig.vcpu(3)
    vcpu.deaf = True
    rig.threads.hold(Hold.WORK)
    poll(lambda: rig.threads.wait_out(0.05) == [2])
    assert not rig.threads.join(2, 0.05)
    poll(lambda: rig.threads.join_all(0.05) == [2])
    vcpu.deaf = False


def test_a_joined_vcpu_has_no_thread_and_can_get_another(rig: Rig) -> None:
    rig.vcpu(1)
    first = rig.threads.ids()[1]
    assert rig.threads.join(1, SECONDS)
    assert 1 not in rig.threads
    assert not any(t.native_id == first for t in threading.enumerate())
    rig.vcpu(1)


# ----------------------------------------------------------------------- CPU_ON, CPU_OFF


def test_cpu_on_waits_for_the_core_and_returns_its_status(rig: Rig) -> None:
    vcpu = rig.vcpu(0)
    cpu_on(vcpu, 2)
    poll(lambda: rig.stimuli == [CpuOnCalled(2, 0, 0x4000_0000, 7)])
    assert rig.threads[0].where is Where.ASKING
    assert rig.threads.wait_out(0) == []  # it counts as out
    rig.threads[0].answer(PsciStatus.DENIED)
    poll(vcpu.inside.is_set)
    assert vcpu.x[0] == PsciStatus.DENIED


def test_the_32_bit_call_has_32_bit_arguments(rig: Rig) -> None:
    vcpu = rig.vcpu(0)
    vcpu.x[2] = 0
    cpu_on(vcpu, 0xFF00_0000_0000_0001, Function.CPU_ON_32)
    poll(lambda: rig.stimuli == [CpuOnCalled(1, 0, 0x4000_0000, 7)])
    rig.threads[0].answer(PsciStatus.SUCCESS)


@pytest.mark.parametrize("affinity", [POSSIBLE, 0x10, 1 << 40, 1 << 31, 1 << 24, 2**64 - 1])
def test_cpu_on_of_no_possible_vcpu_is_answered_at_once(rig: Rig, affinity: int) -> None:
    vcpu = rig.vcpu(0)
    cpu_on(vcpu, affinity)
    poll(lambda: vcpu.x[0] == PsciStatus.INVALID_PARAMETERS)
    assert rig.stimuli == []


def test_an_answer_while_paused_is_taken_after_the_resume(rig: Rig) -> None:
    vcpu = rig.vcpu(0)
    cpu_on(vcpu, 1)
    poll(lambda: bool(rig.stimuli))
    rig.threads.hold(Hold.PAUSED)
    rig.threads[0].answer(PsciStatus.DENIED)
    assert rig.threads.wait_out(0) == []
    assert vcpu.x[0] == Function.CPU_ON_64
    rig.threads.let_go(Hold.PAUSED)
    poll(lambda: vcpu.x[0] == PsciStatus.DENIED)


@pytest.mark.parametrize("how", ["reset", "power off", "end"])
def test_a_call_that_is_called_off_waits_no_longer(rig: Rig, how: str) -> None:
    vcpu = rig.vcpu(0)
    cpu_on(vcpu, 1)
    poll(lambda: bool(rig.stimuli))
    thread = rig.threads[0]
    match how:
        case "reset":
            rig.threads.hold(Hold.RESET)
            rig.threads.power_off_all()
        case "power off":
            thread.power_off()
        case "end":
            assert rig.threads.join(0, SECONDS)
            return
    poll(lambda: thread.where is Where.GATE)
    thread.answer(PsciStatus.SUCCESS)  # too late: nobody asks any more
    assert vcpu.x[0] == Function.CPU_ON_64
    rig.threads.let_go(Hold.RESET)
    thread.power_on()
    poll(vcpu.inside.is_set)
    assert vcpu.x[0] == Function.CPU_ON_64


def test_a_core_that_never_answers_ends_the_machine(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vcpu_thread, "ANSWER_SECONDS", 0.05)
    vcpu = rig.vcpu(0)
    cpu_on(vcpu, 1)
    poll(lambda: bool(rig.failures))
    assert "CPU_ON of vCPU 1 was not answered in 0.05 s" in rig.failures[0]


def test_a_process_that_stood_still_has_not_waited(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A Ctrl-Z at the wrong moment: the clock is an hour ahead, and the answer yet to come."""
    ahead, looks = 0.0, 0

    def clock() -> float:
        nonlocal looks
        looks += 1
        return time.monotonic() + ahead

    monkeypatch.setattr(threading, "_time", clock)
    vcpu = rig.vcpu(0)
    cpu_on(vcpu, 1)
    poll(lambda: bool(rig.stimuli))
    ahead, before = 3600.0, looks
    rig.threads.let_go(Hold.PAUSED)  # wakes it, for nothing
    poll(lambda: looks > before)
    rig.threads[0].answer(PsciStatus.DENIED)
    poll(lambda: vcpu.x[0] == PsciStatus.DENIED or bool(rig.failures))
    assert rig.failures == []


def test_cpu_off_is_reported_before_another_vcpu_can_see_it(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    vcpu = rig.vcpu(1)
    seen: list[tuple[Stimulus, MpState]] = []

    def report(stimulus: Stimulus) -> None:
        seen.append((stimulus, vcpu.mp_state))

    monkeypatch.setattr(rig, "report", report)
    vcpu.leave(Hypercall(Function.CPU_OFF, False))
    poll(lambda: rig.threads[1].where is Where.GATE)
    assert seen == [(CpuOffSeen(1), MpState.RUNNABLE)]
    assert vcpu.mp_state is MpState.STOPPED
    assert not rig.threads[1].powered


def test_a_reset_or_a_power_off_of_the_guest_is_handed_on(rig: Rig) -> None:
    vcpu = rig.vcpu(0)
    vcpu.leave(SystemEvent(SystemEventType.RESET))
    poll(lambda: rig.threads[0].where is Where.GATE)
    assert rig.events == [SystemEventType.RESET]
    assert rig.failures == []


# ----------------------------------------------------------------------------- faults


@pytest.mark.parametrize(
    ("exit", "says"),
    [
        (Unexpected(17, "INTERNAL_ERROR 1"), "KVM_RUN ended with INTERNAL_ERROR 1"),
        (SystemEvent(SystemEventType.CRASH), "the guest ended the machine with CRASH"),
        (Hypercall(0x8400_0008, False), "SMCCC call 0x84000008, which nobody asked for"),
        (KvmError("KVM_RUN", errno.EFAULT, "vCPU 1"), "KVM_RUN on vCPU 1 failed with EFAULT"),
        (ZeroDivisionError("oops"), "died of ZeroDivisionError: oops"),
    ],
)
def test_a_vcpu_that_cannot_go_on_says_why_and_its_thread_ends(
    rig: Rig, exit: Exit | Exception, says: str
) -> None:
    vcpu = rig.vcpu(1)
    vcpu.leave(exit)
    poll(lambda: bool(rig.failures))
    assert "vCPU 1" in rig.failures[0]
    assert says in rig.failures[0]
    poll(lambda: rig.threads[1].where is Where.ENDED)
    assert rig.threads.wait_out(0) == []  # a thread that is gone holds nobody up


def test_a_device_that_fails_is_a_failure_of_the_machine(rig: Rig) -> None:
    class Broken:
        def read(self, _offset: int, _size: int) -> int:
            raise RuntimeError("bent")

        def write(self, _offset: int, _size: int, _value: int) -> None: ...

    rig.bus = Bus(Region(0, 8, Broken()))
    rig.vcpu(0).leave(Mmio(0, 4, False, 0))
    poll(lambda: bool(rig.failures))
    assert rig.failures == ["the thread of vCPU 0 died of RuntimeError: bent"]


def test_no_thread_to_be_had_leaves_nothing_behind(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refuse)
        with pytest.raises(RuntimeError, match="can't start"):
            rig.threads.start(cast(Vcpu, FakeVcpu(1)))
    assert 1 not in rig.threads
    rig.vcpu(1)
