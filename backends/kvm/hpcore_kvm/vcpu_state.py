"""All that KVM holds of a vCPU: its registers, its power state, a pending SError.

Which registers there are KVM says itself (KVM_GET_REG_LIST), so that those of a newer
processor are not forgotten. No thread is in `Vcpu.run` meanwhile.

Source: Documentation/virt/kvm/api.rst, 4.68, 4.85 and 4.31.
"""

from __future__ import annotations

import errno
from collections.abc import Mapping

from attrs import frozen

from hpcore_kvm import abi, uapi
from hpcore_kvm.errors import KvmError
from hpcore_kvm.uapi import Ioctl, MpState
from hpcore_kvm.vcpu import Vcpu

NOT_WRITTEN = frozenset({uapi.REG_TIMER_CNT, uapi.REG_PTIMER_CNT, uapi.REG_SVE_LENGTHS})
"""CNTVCT is the VM's, and goes on when the machine does. CNTPCT is the host's, as in a pause: where
it was moved, every access to it would trap on a processor without FEAT_ECV. The lengths are final
by then."""

_CLEARS = frozenset(clears for _, clears in uapi.PMU_SETS)
_SETS = frozenset(sets for sets, _ in uapi.PMU_SETS)
_LARGEST = 256
"""Bytes of the largest register that ONE_REG knows: a scalable vector's."""


@frozen
class VcpuState:
    """Registers by their ONE_REG ids, as bytes; `serror` is the syndrome of one that is pending."""

    registers: Mapping[int, bytes]
    mp_state: MpState
    serror: int | None = None


def read(vcpu: Vcpu) -> VcpuState:
    """The state of `vcpu`. Raises KvmError."""
    events = abi.new("kvm_vcpu_events")
    _do(vcpu, Ioctl.KVM_GET_VCPU_EVENTS, events)
    pending = events.exception.serror_pending
    return VcpuState(
        read_registers(vcpu),
        vcpu.mp_state,
        int(events.exception.serror_esr) if pending else None,
    )


def read_registers(vcpu: Vcpu) -> dict[int, bytes]:
    """All registers of `vcpu`. Raises KvmError."""
    one = _OneRegister(vcpu)
    return {register: one.read(register) for register in registers(vcpu)}


def write(vcpu: Vcpu, state: VcpuState, has: Mapping[int, bytes] = {}) -> None:
    """Put `state` into `vcpu`, which was initialised with the same features.

    What it `has` already is not written. Raises KvmError, with the register that this host's KVM
    does not take as it was.
    """
    one = _OneRegister(vcpu)
    for register in sorted(_CLEARS & state.registers.keys()):
        one.write(register, b"\xff" * uapi.register_size(register))
    for register, value in state.registers.items():
        if register in NOT_WRITTEN or register in _CLEARS:
            continue
        if register in _SETS or has.get(register) != value:
            one.write(register, value)
    if state.serror is not None:
        events = abi.new("kvm_vcpu_events")
        events.exception.serror_pending = 1
        events.exception.serror_has_esr = state.serror != 0
        events.exception.serror_esr = state.serror
        _do(vcpu, Ioctl.KVM_SET_VCPU_EVENTS, events)
    vcpu.mp_state = state.mp_state


def registers(vcpu: Vcpu) -> list[int]:
    """The ids of all registers of `vcpu`, in KVM's order. Raises KvmError."""
    count = abi.new("kvm_reg_list", n=0)
    try:
        _do(vcpu, Ioctl.KVM_GET_REG_LIST, count)
    except KvmError as error:
        if error.number != errno.E2BIG:  # which says how many there are
            raise
    found = abi.ffi.new("struct kvm_reg_list *", {"n": count.n, "reg": int(count.n)})
    _do(vcpu, Ioctl.KVM_GET_REG_LIST, found)
    return [int(found.reg[number]) for number in range(found.n)]


class _OneRegister:
    """The argument of KVM_GET_ONE_REG and KVM_SET_ONE_REG, for register after register.

    To make one for each takes longer than the call, and a guest may stand still meanwhile.
    """

    def __init__(self, vcpu: Vcpu) -> None:
        self._vcpu = vcpu
        self._room = abi.ffi.new("uint8_t[]", _LARGEST)
        self._data = abi.new("kvm_one_reg", addr=abi.address(self._room))
        self._bytes = abi.ffi.buffer(self._room)

    def read(self, register: int) -> bytes:
        self._data.id = register
        _do(self._vcpu, Ioctl.KVM_GET_ONE_REG, self._data)
        return bytes(self._bytes[: uapi.register_size(register)])

    def write(self, register: int, value: bytes) -> None:
        if len(value) != (size := uapi.register_size(register)):
            raise ValueError(f"register {register:#x} has {size} bytes, not {len(value)}")
        self._data.id = register
        self._bytes[:size] = value
        try:
            _do(self._vcpu, Ioctl.KVM_SET_ONE_REG, self._data)
        except KvmError as error:
            subject = f"register {register:#x} of {self._vcpu.name}"
            raise KvmError(error.call, error.number, subject) from None


def _do(vcpu: Vcpu, request: Ioctl, data: object) -> None:
    abi.ioctl(vcpu.fd, request, data, vcpu.name)
