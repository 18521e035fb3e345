"""The PSCI calls that the SMCCC filter forwards, as the guest means them.

Source: Arm DEN0022, Power State Coordination Interface, CPU_ON and CPU_OFF. Everything else
of PSCI stays in the kernel.
"""

from __future__ import annotations

from attrs import frozen

from hpcore.model.topology import index_of
from hpcore_kvm.smccc import Function
from hpcore_kvm.uapi import MPIDR_AFFINITY
from hpcore_kvm.vcpu import Vcpu

_WORD_32 = (1 << 32) - 1


@frozen
class CpuOn:
    """A CPU_ON call. `slot` is None where no possible vCPU has the affinity asked for."""

    slot: int | None
    affinity: int
    entry: int
    context: int


def read_cpu_on(vcpu: Vcpu, function: int, possible: int) -> CpuOn:
    """The call that `vcpu` has just exited with, from its registers.

    The 32-bit call has 32-bit arguments. Bits of the first one outside of MPIDR_EL1's
    affinity fields must be zero.
    """
    affinity, entry, context = (vcpu.get_x(number) for number in (1, 2, 3))
    if function == Function.CPU_ON_32:
        affinity, entry, context = (v & _WORD_32 for v in (affinity, entry, context))
    slot = None if affinity & ~MPIDR_AFFINITY else index_of(affinity, possible)
    return CpuOn(slot, affinity, entry, context)
