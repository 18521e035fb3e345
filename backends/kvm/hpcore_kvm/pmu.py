"""The PMU of every possible vCPU: its interrupt, and its initialisation.

KVM wants it after the VGIC's CTRL_INIT and before the vCPU's first KVM_RUN, so a parked
vCPU gets it with all others; a later KVM_ARM_VCPU_INIT leaves it in place.

Source: Documentation/virt/kvm/devices/vcpu.rst, KVM_ARM_VCPU_PMU_V3_CTRL.
"""

from __future__ import annotations

from hpcore.platform import virt
from hpcore_kvm import abi, uapi
from hpcore_kvm.vcpu import Vcpu


def set_interrupt(vcpu: Vcpu, intid: int = virt.PMU_GSI) -> None:
    """Make PPI `intid` the interrupt of the vCPU's PMU. Once, after the VGIC is created."""
    abi.set_attribute(
        vcpu.fd, uapi.VCPU_PMU_V3_CTRL, uapi.VCPU_PMU_V3_IRQ,
        abi.ffi.new("int *", intid), vcpu.name, "PMU IRQ",
    )  # fmt: skip


def initialise(vcpu: Vcpu) -> None:
    """Make the vCPU's PMU ready. Once, after the VGIC's CTRL_INIT."""
    abi.set_attribute(
        vcpu.fd, uapi.VCPU_PMU_V3_CTRL, uapi.VCPU_PMU_V3_INIT, None, vcpu.name, "PMU INIT"
    )
