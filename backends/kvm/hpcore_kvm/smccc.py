"""The SMCCC filter: CPU_ON and CPU_OFF come to us, every other call stays in the kernel.

PSCI_FEATURES, AFFINITY_INFO and SYSTEM_OFF stay there and follow the vCPUs' MP_STATE. A
forwarded call exits with its registers untouched: the arguments are in x1 to x3, the answer
goes into x0, and the PC is already past the HVC or SMC.

Source: Documentation/virt/kvm/devices/vm.rst, KVM_ARM_VM_SMCCC_FILTER; Arm DEN0022 and
DEN0028 for the function ids.
"""

from __future__ import annotations

from enum import IntEnum

from hpcore_kvm import abi, uapi
from hpcore_kvm.vm import Vm

NO_FILTER = (
    "this host kernel has no SMCCC filter (it came with Linux 6.4), so CPU_ON of a vCPU that "
    "is not enabled could not be denied; boot a newer host kernel"
)
"""Why there is no hotplug on an older kernel."""


class Function(IntEnum):
    """The PSCI calls that the filter forwards."""

    CPU_OFF = 0x8400_0002
    CPU_ON_32 = 0x8400_0003
    CPU_ON_64 = 0xC400_0003


_RANGES = ((Function.CPU_OFF, 2), (Function.CPU_ON_64, 1))


def has_filter(vm: Vm) -> bool:
    """Whether this kernel can forward SMCCC calls."""
    return abi.has_attribute(vm.fd, uapi.VM_SMCCC_CTRL, uapi.VM_SMCCC_FILTER)


def forward(vm: Vm, first: int, count: int) -> None:
    """Forward `count` functions from `first` on to user space."""
    data = abi.new(
        "kvm_smccc_filter", base=first, nr_functions=count,
        action=uapi.SMCCC_FILTER_FWD_TO_USER,
    )  # fmt: skip
    abi.set_attribute(
        vm.fd, uapi.VM_SMCCC_CTRL, uapi.VM_SMCCC_FILTER, data,
        f"functions {first:#x} to {first + count - 1:#x}", "SMCCC filter",
    )  # fmt: skip


def install_filter(vm: Vm) -> None:
    """Forward CPU_ON and CPU_OFF. Once, before any vCPU has run.

    Forwarded and not denied in the kernel: KVM's own denial says NOT_SUPPORTED, and the
    guest is to see DENIED.
    """
    for first, count in _RANGES:
        forward(vm, first, count)
