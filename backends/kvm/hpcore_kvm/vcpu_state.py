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
        {register: _read(vcpu, register) for register in registers(vcpu)},
        vcpu.mp_state,
        int(events.exception.serror_esr) if pending else None,
    )


def write(vcpu: Vcpu, state: VcpuState) -> None:
    """Put `state` into `vcpu`, which was initialised with the same features.

    Raises KvmError, with the register that this host's KVM does not take as it was.
    """
    for register in sorted(_CLEARS & state.registers.keys()):
        _write(vcpu, register, b"\xff" * uapi.register_size(register))
    for register, value in state.registers.items():
        if register not in NOT_WRITTEN | _CLEARS:
            _write(vcpu, register, value)
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


def _read(vcpu: Vcpu, register: int) -> bytes:
    room = abi.ffi.new("uint8_t[]", uapi.register_size(register))
    _do(vcpu, Ioctl.KVM_GET_ONE_REG, abi.new("kvm_one_reg", id=register, addr=abi.address(room)))
    return bytes(abi.ffi.buffer(room))


def _write(vcpu: Vcpu, register: int, value: bytes) -> None:
    if len(value) != (size := uapi.register_size(register)):
        raise ValueError(f"register {register:#x} has {size} bytes, not {len(value)}")
    room = abi.ffi.new("uint8_t[]", value)
    data = abi.new("kvm_one_reg", id=register, addr=abi.address(room))
    subject = f"register {register:#x} of {vcpu.name}"
    abi.ioctl(vcpu.fd, Ioctl.KVM_SET_ONE_REG, data, subject)


def _do(vcpu: Vcpu, request: Ioctl, data: object) -> None:
    abi.ioctl(vcpu.fd, request, data, vcpu.name)
