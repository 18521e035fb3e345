"""A vCPU: its file, its registers, one KVM_RUN at a time, and how a run is interrupted.

Parked is a file alone. Unparked is the page that KVM_RUN answers on mapped as well; the
thread that calls `run` belongs to the caller.
"""

from __future__ import annotations

import errno
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from hpcore_kvm import abi, uapi
from hpcore_kvm.errors import KvmError, OrderError
from hpcore_kvm.features import Features
from hpcore_kvm.uapi import ExitReason, Feature, Ioctl, MpState, SystemEventType

KICK_SIGNAL = signal.SIGRTMIN
WORD = (1 << 64) - 1


# Exits are named tuples, not attrs values: one is made for every exit, and they are
# three times as fast to make.


class Mmio(NamedTuple):
    """The guest reads or writes `size` bytes at `address`; `value` is 0 for a read."""

    address: int
    size: int
    is_write: bool
    value: int


class Hypercall(NamedTuple):
    """An SMCCC call that the filter forwards: `function` by HVC, or by SMC."""

    function: int
    by_smc: bool


class Undecodable(NamedTuple):
    """The guest reached for `address`, where no memory is, by what KVM cannot decode.

    Such as a load of a pair or with writeback: of these the processor does not say which
    register is meant (no valid syndrome, ISV).
    """

    address: int


class SystemEvent(NamedTuple):
    """The guest ends or resets the machine by PSCI, and every vCPU is STOPPED now."""

    kind: int

    @property
    def says(self) -> str:
        """The event's name."""
        known = self.kind in SystemEventType.__members__.values()
        return SystemEventType(self.kind).name if known else f"type {self.kind}"


class Kicked(NamedTuple):
    """The run was interrupted, or KVM had nothing to say: look at what is asked, run again."""


class Unexpected(NamedTuple):
    """An exit that no guest of ours should cause; `text` says what KVM told of it."""

    reason: int
    text: str


Exit = Mmio | Hypercall | Undecodable | SystemEvent | Kicked | Unexpected

_KICKED = Kicked()


class Vcpu:
    """One vCPU, made by `Vm.create_vcpu`.

    The registers may be touched from any thread while no thread is in `run`; KVM holds
    one lock a vCPU, so that a call from elsewhere waits for the run to end.
    """

    def __init__(self, index: int, fd: int, run_size: int, target: int) -> None:
        self.index, self.fd = index, fd
        self.name = f"vCPU {index}"
        self.features: Features | None = None
        self._run_size, self._target = run_size, target
        self._run: Any = None
        self._unsettled = False
        self._runner: int | None = None
        self._runner_lock = threading.Lock()
        self._ioctl_argument = abi.ffi.cast("unsigned long", 0)

    # -------------------------------------------------------------- initialisation

    def init(self, features: Features, power_off: bool) -> None:
        """KVM_ARM_VCPU_INIT: reset all registers; the first time, fix the features for good.

        Done once for every possible vCPU before the VGIC is initialised, and again each
        time one is unparked. SVE's vector lengths are made final the first time, as KVM
        will not run a vCPU, not even list its registers, before that.
        """
        self.settle()
        bits = features.bits | (1 << Feature.POWER_OFF if power_off else 0)
        data = abi.new("kvm_vcpu_init", target=self._target, features=[bits])
        self._do(Ioctl.KVM_ARM_VCPU_INIT, data)
        if features.sve and self.features is None:
            self._do(Ioctl.KVM_ARM_VCPU_FINALIZE, abi.ffi.new("int *", Feature.SVE))
        self.features = features

    # ------------------------------------------------------------------- registers

    def get_register(self, register: int) -> int:
        """KVM_GET_ONE_REG of a 64-bit register."""
        value = abi.ffi.new("uint64_t *")
        data = abi.new("kvm_one_reg", id=register, addr=abi.address(value))
        self._do(Ioctl.KVM_GET_ONE_REG, data)
        return int(value[0])

    def set_register(self, register: int, value: int) -> None:
        """KVM_SET_ONE_REG of a 64-bit register; a negative value is its two's complement."""
        data = abi.ffi.new("uint64_t *", value & WORD)
        self._do(
            Ioctl.KVM_SET_ONE_REG, abi.new("kvm_one_reg", id=register, addr=abi.address(data))
        )

    def get_x(self, number: int) -> int:
        """General register x0 to x30."""
        return self.get_register(uapi.x_register(number))

    def set_x(self, number: int, value: int) -> None:
        """General register x0 to x30; a negative value is its two's complement."""
        self.set_register(uapi.x_register(number), value)

    def set_entry(self, pc: int, x0: int) -> None:
        """Where the next run begins, and with what in x0: PSCI's entry point and context."""
        self.set_register(uapi.REG_PC, pc)
        self.set_x(0, x0)

    @property
    def affinity(self) -> int:
        """The affinity fields of MPIDR_EL1, which KVM derives from the vCPU's index.

        Known after `init`.
        """
        return self.get_register(uapi.REG_MPIDR) & uapi.MPIDR_AFFINITY

    @property
    def mp_state(self) -> MpState:
        """Whether the vCPU will run when it is entered."""
        data = abi.new("kvm_mp_state")
        self._do(Ioctl.KVM_GET_MP_STATE, data)
        return MpState(data.mp_state)

    @mp_state.setter
    def mp_state(self, state: MpState) -> None:
        """Power the vCPU on (RUNNABLE) or off (STOPPED). No register changes by it."""
        self._do(Ioctl.KVM_SET_MP_STATE, abi.new("kvm_mp_state", mp_state=state))

    # ------------------------------------------------------------------------- run

    @property
    def mapped(self) -> bool:
        """Whether the vCPU can be run: its run page is mapped."""
        return self._run is not None

    def map(self) -> None:
        """Map the page that KVM_RUN answers on. May be called again."""
        if self._run is None:
            page = abi.map_shared(self.fd, self._run_size, self.name)
            self._run = abi.ffi.cast("struct kvm_run *", page)
            self._mmio = self._run.mmio
            data = self._mmio.data
            self._reply = abi.ffi.cast("uint64_t *", data)
            self._data = {
                size: abi.ffi.cast(f"uint{8 * size}_t *", data) for size in (1, 2, 4, 8)
            }

    def unmap(self) -> None:
        """Let go of the run page, while no thread is in `run`. May be called again."""
        self.settle()
        self._unmap()

    def _unmap(self) -> None:
        with self._runner_lock:  # no kick may write to a page that is going
            run, self._run = self._run, None
        if run is not None:
            del self._mmio, self._reply, self._data
            abi.unmap(run, self._run_size)

    def run(self) -> Exit:
        """KVM_RUN once. Blocks, without Python's lock, until the guest or a kick ends it.

        A STOPPED vCPU waits in here until it is kicked. Raises KvmError where KVM cannot
        run the vCPU at all, OrderError where it is not mapped.
        """
        run = self._run
        if run is None:
            raise OrderError(f"{self.name} is not mapped; map it before it is run")
        self._unsettled = False
        if abi.system(self.fd, Ioctl.KVM_RUN, self._ioctl_argument) < 0:
            number = abi.ffi.errno
            if number in (errno.EINTR, errno.EAGAIN):
                # Cleared before the caller looks for what is asked of it: what is asked
                # after that look sets it again, so that the next run ends at once.
                run.immediate_exit = 0
                return _KICKED
            raise KvmError("KVM_RUN", number, self.name)
        reason = run.exit_reason
        if reason == ExitReason.MMIO:
            mmio = self._mmio
            size = mmio.len
            self._unsettled = True
            if mmio.is_write:
                return Mmio(mmio.phys_addr, size, True, self._data[size][0])
            return Mmio(mmio.phys_addr, size, False, 0)
        if reason == ExitReason.HYPERCALL:
            call = run.hypercall
            return Hypercall(call.nr, bool(call.flags & uapi.HYPERCALL_EXIT_SMC))
        if reason == ExitReason.SYSTEM_EVENT:
            return SystemEvent(run.system_event.type)
        if reason == ExitReason.INTR:
            return _KICKED
        if reason == ExitReason.ARM_NISV:
            return Undecodable(run.arm_nisv.fault_ipa)
        return Unexpected(reason, self._explain(reason))

    def answer_read(self, value: int) -> None:
        """What the guest's read gets, when the vCPU is next run. After an `Mmio` read."""
        self._reply[0] = value & WORD

    def abort_access(self) -> None:
        """Have the guest take an external data abort for what it did. After `Undecodable`.

        KVM_SET_VCPU_EVENTS: KVM still knows the address, and puts it into FAR_EL1.
        """
        events = abi.new("kvm_vcpu_events")
        events.exception.ext_dabt_pending = 1
        self._do(Ioctl.KVM_SET_VCPU_EVENTS, events)

    def settle(self) -> None:
        """Have KVM take the outcome of the last exit, without running the guest.

        After an `Mmio` KVM has yet to put what was read into the guest's register, and to
        step over the instruction. It does so at the next KVM_RUN, whatever the registers
        say by then, even where the vCPU was initialised anew meanwhile. `init` and `unmap`
        settle; whoever sets registers after an `Mmio` settles first.
        """
        if self._unsettled and self._run is not None:
            self._run.immediate_exit = 1
            self.run()

    @contextmanager
    def running(self) -> Iterator[None]:
        """Around all calls of `run` of one thread: from here to the end, `kick` reaches it.

        Even where whoever started this process had blocked the kick's signal: a mask is
        inherited, and KVM_RUN does not end for a signal that is blocked.
        """
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {KICK_SIGNAL})
        with self._runner_lock:
            if self._runner is not None:
                raise OrderError(f"{self.name} has a thread already")
            self._runner = threading.get_ident()
        try:
            yield
        finally:
            with self._runner_lock:  # from here on the thread may end: no kick may name it
                self._runner = None

    def kick(self) -> None:
        """End the run that is under way, or else the next one. Any thread, no waiting.

        Say what is asked of the thread first: it will see `Kicked`, and look. Does nothing
        where no thread is `running`.
        """
        with self._runner_lock:
            if self._runner is not None and self._run is not None:
                self._run.immediate_exit = 1
                signal.pthread_kill(self._runner, KICK_SIGNAL)

    def close(self) -> None:
        """Let go of everything. KVM keeps the vCPU until the VM is gone as well."""
        self._unmap()
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def _do(self, request: Ioctl, argument: Any) -> int:
        return abi.ioctl(self.fd, request, argument, self.name)

    def _explain(self, reason: int) -> str:
        run = self._run
        match reason:
            case ExitReason.FAIL_ENTRY:
                why = run.fail_entry.hardware_entry_failure_reason
                return f"FAIL_ENTRY on host CPU {run.fail_entry.cpu}, reason {why:#x}"
            case ExitReason.INTERNAL_ERROR:
                return f"INTERNAL_ERROR {run.internal.suberror}"
            case ExitReason.MEMORY_FAULT:
                fault = run.memory_fault
                return f"MEMORY_FAULT at {fault.gpa:#x}, {fault.size:#x} bytes"
        known = reason in ExitReason.__members__.values()
        return ExitReason(reason).name if known else f"exit reason {reason}"


def install_kick_handler() -> None:
    """Have the kick's signal interrupt KVM_RUN and do nothing else.

    The handler is libc's own abs(), which has no effect and may run in any context: a
    Python handler would wake the main thread for each kick, and could not be set from
    another thread. Done for every VM, since others may set handlers meanwhile.
    """
    handler = abi.ffi.cast("void (*)(int)", abi.C.abs)
    abi.C.signal(KICK_SIGNAL, handler)
