"""The thread of one vCPU: its gate, its runs of KVM_RUN, and what it does about each exit.

A vCPU that may not run waits at a gate of ours, never inside KVM_RUN: KVM answers
nothing about a vCPU while a thread is in there, and nothing about the VGIC while any is.
Whoever wants a thread out says so first and kicks it then, and the thread looks at what
is asked of it between any two runs. So a kick is never lost: one that comes after that
look ends the next run before it has begun (see `Vcpu.kick`).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection
from enum import Enum, auto
from typing import Protocol

import structlog

from hpcore.model.psci import PsciStatus
from hpcore.model.stimuli import CpuOffSeen, CpuOnCalled, Stimulus
from hpcore_kvm.bus import Bus
from hpcore_kvm.errors import KvmError
from hpcore_kvm.psci import read_cpu_on
from hpcore_kvm.smccc import Function
from hpcore_kvm.uapi import MpState, SystemEventType
from hpcore_kvm.vcpu import (
    Exit,
    Hypercall,
    Mmio,
    SystemEvent,
    Undecodable,
    Unexpected,
    Vcpu,
)

log = structlog.get_logger(__name__)

ANSWER_SECONDS = 60.0
"""How long a vCPU waits for the answer to its CPU_ON before the machine counts as lost."""

SLICE = 1.0
"""The most that `wait_for` waits in one go, in seconds."""


def wait_for(news: threading.Condition, holds: Callable[[], bool], seconds: float) -> bool:
    """Wait until `holds` does, under `news`; False if it did not in `seconds`.

    Slice by slice: where the whole process stood still (a Ctrl-Z, no CPU to be had), the
    clock has gone on and nobody could do anything; that costs a slice, not all patience.
    """
    while not news.wait_for(holds, min(seconds, SLICE)):
        seconds -= SLICE
        if seconds <= 0:
            return False
    return True


class Where(Enum):
    """Where a thread is. Only one that is `INSIDE` can touch its vCPU or report."""

    GATE = auto()
    INSIDE = auto()  # in KVM_RUN, or dealing with an exit
    ASKING = auto()  # its CPU_ON is not answered yet
    ENDED = auto()


class ThreadHost(Protocol):
    """What the threads need of the machine that they run. Called on their own threads."""

    @property
    def bus(self) -> Bus: ...

    @property
    def possible(self) -> int: ...

    def report(self, stimulus: Stimulus) -> None:
        """The guest did something."""

    def system_event(self, kind: int) -> None:
        """The guest reset the machine (RESET) or powered it off (SHUTDOWN)."""

    def failed(self, why: str) -> None:
        """A vCPU cannot go on."""


class Crew(Protocol):
    """All threads of the machine, as one of them sees them."""

    @property
    def machine(self) -> ThreadHost: ...

    @property
    def lock(self) -> threading.Lock: ...

    @property
    def holds(self) -> Collection[object]:
        """Why no vCPU may run; empty where they may. Under the lock."""

    def moved(self) -> None:
        """A thread is somewhere else now. Under the lock."""


class VcpuFailed(Exception):
    """A vCPU cannot go on. The text says why."""


class VcpuThread:
    """The thread of one vCPU. Its methods are for other threads, where they don't say so."""

    def __init__(self, vcpu: Vcpu, crew: Crew) -> None:
        self.vcpu, self.exits = vcpu, 0
        self.where = Where.GATE
        self.powered = False
        self._crew, self._machine = crew, crew.machine
        self._ending = False
        self._asked_out = True  # read without the lock: set before the kick
        self._call: object | None = None  # the CPU_ON that waits
        self._answer: int | None = None
        self._news = threading.Condition(crew.lock)
        self._thread = threading.Thread(target=self._main, name=vcpu.name, daemon=True)

    @property
    def native_id(self) -> int:
        """The kernel's id of the thread."""
        return self._thread.native_id or 0

    def start(self) -> None:
        """Start it."""
        self._thread.start()

    def power_on(self) -> None:
        """The vCPU, whose registers say where to begin, may run."""
        with self._crew.lock:
            self.set_power(True)

    def power_off(self) -> None:
        """The vCPU may not run any more. Returns at once; see `Threads.wait_out`."""
        with self._crew.lock:
            self.set_power(False)

    def answer(self, status: int) -> None:
        """What the CPU_ON that the vCPU has called returns. Nothing if none waits."""
        with self._crew.lock:
            if self._call is not None:
                self._answer = status
                self._news.notify()

    @property
    def unanswered(self) -> bool:
        """Whether its CPU_ON waits for an answer. Under the lock."""
        return self._call is not None and self._answer is None

    @property
    def untaken(self) -> int | None:
        """The answer to its CPU_ON that the vCPU has yet to find in x0, as all are held."""
        with self._crew.lock:
            return None if self._call is None else self._answer

    def end(self) -> None:
        """Have the thread end."""
        with self._crew.lock:
            self._ending = True
            self._call = None
            self.look()

    def join(self, seconds: float) -> bool:
        """Wait until the thread has ended; whether it has."""
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def set_power(self, on: bool) -> None:
        """Under the lock."""
        self.powered = on
        if not on:
            self._call = None
        self.look()

    def look(self) -> None:
        """What the vCPU may do has changed. Under the lock."""
        self._asked_out = self._ending or not self.powered or bool(self._crew.holds)
        if self._asked_out and self.where is Where.INSIDE:
            self.vcpu.kick()
        # A thread that must go on waiting at its gate is not woken: to wake each of them
        # whenever the VGIC's registers are touched costs more than touching them.
        if self.where is not Where.GATE or not self._asked_out or self._ending:
            self._news.notify()

    # ------------------------------------------------------------- on the thread

    def _main(self) -> None:
        try:
            with self.vcpu.running():
                while not self._asked_out or self._pass_gate():
                    self._deal_with(self.vcpu.run())
                    self.exits += 1
        except (KvmError, VcpuFailed) as error:
            self._machine.failed(f"vCPU {self.vcpu.index} cannot go on: {error}")
        except Exception as error:
            log.exception("vcpu_thread_died", vcpu=self.vcpu.index)
            self._machine.failed(
                f"the thread of vCPU {self.vcpu.index} died of {type(error).__name__}: {error}"
            )
        finally:
            with self._crew.lock:
                self._go(Where.ENDED)

    def _pass_gate(self) -> bool:
        """Wait until the vCPU may run; False if the thread is to end instead."""
        self.vcpu.settle()
        with self._crew.lock:
            self._go(Where.GATE)
            while self._asked_out and not self._ending:
                self._news.wait()
            if self._ending:
                return False
            self._go(Where.INSIDE)
            return True

    def _go(self, where: Where) -> None:
        self.where = where
        self._crew.moved()

    def _deal_with(self, exit: Exit) -> None:
        if isinstance(exit, Mmio):
            if exit.is_write:
                self._machine.bus.write(exit.address, exit.size, exit.value)
            else:
                self.vcpu.answer_read(self._machine.bus.read(exit.address, exit.size))
        elif isinstance(exit, Hypercall):
            self._call_psci(exit.function)
        elif isinstance(exit, Undecodable):
            self._machine.bus.undecodable(exit.address)
            self.vcpu.abort_access()  # as QEMU does: the guest is told, the machine goes on
        elif isinstance(exit, SystemEvent):
            if exit.kind not in (SystemEventType.RESET, SystemEventType.SHUTDOWN):
                raise VcpuFailed(f"the guest ended the machine with {exit.says}")
            self._machine.system_event(exit.kind)
        elif isinstance(exit, Unexpected):
            raise VcpuFailed(f"KVM_RUN ended with {exit.text}")

    def _call_psci(self, function: int) -> None:
        if function == Function.CPU_OFF:
            self._cpu_off()
        elif function in (Function.CPU_ON_32, Function.CPU_ON_64):
            status = self._cpu_on(function)
            if status is not None:
                self.vcpu.set_x(0, status)
        else:
            raise VcpuFailed(f"KVM forwarded the SMCCC call {function:#x}, which nobody asked for")

    def _cpu_off(self) -> None:
        """Off. The core hears of it before KVM shows it.

        Another vCPU may wait for AFFINITY_INFO to say OFF, which follows MP_STATE, and eject
        this one then: the core must not hear of the eject first.
        """
        with self._crew.lock:
            self._machine.report(CpuOffSeen(self.vcpu.index))
            self.vcpu.mp_state = MpState.STOPPED
            self.set_power(False)

    def _cpu_on(self, function: int) -> int | None:
        """Ask the core, and wait. None where the vCPU was stopped instead of answered."""
        call = read_cpu_on(self.vcpu, function, self._machine.possible)
        if call.slot is None:
            return PsciStatus.INVALID_PARAMETERS
        asked = CpuOnCalled(call.slot, self.vcpu.index, call.entry, call.context)
        mine = object()
        with self._crew.lock:
            if self._ending or not self.powered:
                return None
            self._call, self._answer = mine, None
            self._go(Where.ASKING)
            self._machine.report(asked)
            status = self._wait_for_answer(mine, call.slot)
            self._go(Where.INSIDE)
            return status

    def _wait_for_answer(self, mine: object, slot: int) -> int | None:
        """Under the lock, which is let go meanwhile. None if the call is called off."""
        if not wait_for(
            self._news, lambda: self._call is not mine or self._answer is not None, ANSWER_SECONDS
        ):
            self._call = None
            raise VcpuFailed(f"CPU_ON of vCPU {slot} was not answered in {ANSWER_SECONDS:g} s")
        # to take the answer is to touch the vCPU, which waits while all are held
        self._news.wait_for(lambda: self._call is not mine or not self._crew.holds)
        if self._call is not mine:
            return None
        self._call = None
        return self._answer
