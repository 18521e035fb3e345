"""Our numbers and layouts are those of the kernel's own headers for arm64."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from cffi import FFI
from hpcore_kvm import abi, smccc, uapi
from hpcore_kvm.abi import OFFSETS, SIZES, LayoutError, check_layouts
from hpcore_kvm.uapi import Cap, ExitReason, Feature, Ioctl, MpState, SystemEventType

from hpcore.model.psci import PsciStatus
from tests.kvm import programs
from tests.kvm_host.toolchain import compile_arm64
from tests.kvm_with_qemu.programs import PUPPET

NAMED = {
    "KVM_API_VERSION": uapi.API_VERSION,
    "KVM_HYPERCALL_EXIT_SMC": uapi.HYPERCALL_EXIT_SMC,
    "KVM_MEM_LOG_DIRTY_PAGES": uapi.MEM_LOG_DIRTY_PAGES,
    "KVM_DEV_TYPE_ARM_VGIC_V2": uapi.DEV_TYPE_ARM_VGIC_V2,
    "KVM_DEV_TYPE_ARM_VGIC_V3": uapi.DEV_TYPE_ARM_VGIC_V3,
    "KVM_CREATE_DEVICE_TEST": uapi.CREATE_DEVICE_TEST,
    "KVM_DEV_ARM_VGIC_GRP_ADDR": uapi.VGIC_GRP_ADDR,
    "KVM_DEV_ARM_VGIC_GRP_DIST_REGS": uapi.VGIC_GRP_DIST_REGS,
    "KVM_DEV_ARM_VGIC_GRP_NR_IRQS": uapi.VGIC_GRP_NR_IRQS,
    "KVM_DEV_ARM_VGIC_GRP_CTRL": uapi.VGIC_GRP_CTRL,
    "KVM_DEV_ARM_VGIC_GRP_REDIST_REGS": uapi.VGIC_GRP_REDIST_REGS,
    "KVM_DEV_ARM_VGIC_GRP_CPU_SYSREGS": uapi.VGIC_GRP_CPU_SYSREGS,
    "KVM_DEV_ARM_VGIC_GRP_LEVEL_INFO": uapi.VGIC_GRP_LEVEL_INFO,
    "KVM_DEV_ARM_VGIC_V3_MPIDR_SHIFT": uapi.VGIC_MPIDR_SHIFT,
    "KVM_DEV_ARM_VGIC_CTRL_INIT": uapi.VGIC_CTRL_INIT,
    "KVM_VGIC_V3_ADDR_TYPE_DIST": uapi.VGIC_ADDR_DIST,
    "KVM_VGIC_V3_ADDR_TYPE_REDIST": uapi.VGIC_ADDR_REDIST,
    "KVM_VGIC_V3_ADDR_TYPE_REDIST_REGION": uapi.VGIC_ADDR_REDIST_REGION,
    "KVM_ARM_VM_SMCCC_CTRL": uapi.VM_SMCCC_CTRL,
    "KVM_ARM_VM_SMCCC_FILTER": uapi.VM_SMCCC_FILTER,
    "KVM_SMCCC_FILTER_HANDLE": uapi.SMCCC_FILTER_HANDLE,
    "KVM_SMCCC_FILTER_DENY": uapi.SMCCC_FILTER_DENY,
    "KVM_SMCCC_FILTER_FWD_TO_USER": uapi.SMCCC_FILTER_FWD_TO_USER,
    "KVM_ARM_VCPU_PMU_V3_CTRL": uapi.VCPU_PMU_V3_CTRL,
    "KVM_ARM_VCPU_PMU_V3_IRQ": uapi.VCPU_PMU_V3_IRQ,
    "KVM_ARM_VCPU_PMU_V3_INIT": uapi.VCPU_PMU_V3_INIT,
    "KVM_ARM_IRQ_TYPE_SPI": uapi.IRQ_TYPE_SPI,
    "KVM_ARM_IRQ_TYPE_SHIFT": uapi.IRQ_TYPE_SHIFT,
    "KVM_IRQFD_FLAG_DEASSIGN": uapi.IRQFD_DEASSIGN,
    "PSCI_0_2_FN_CPU_OFF": smccc.Function.CPU_OFF,
    "PSCI_0_2_FN_CPU_ON": smccc.Function.CPU_ON_32,
    "PSCI_0_2_FN64_CPU_ON": smccc.Function.CPU_ON_64,
    "PSCI_RET_NOT_SUPPORTED": PsciStatus.NOT_SUPPORTED,
    "PSCI_RET_INVALID_PARAMS": PsciStatus.INVALID_PARAMETERS,
    "PSCI_RET_DENIED": PsciStatus.DENIED,
    "PSCI_RET_ALREADY_ON": PsciStatus.ALREADY_ON,
    "KVM_REG_ARM64 | KVM_REG_SIZE_U64 | KVM_REG_ARM_CORE | KVM_REG_ARM_CORE_REG(regs.pc)":
        uapi.REG_PC,
    "KVM_REG_ARM64 | KVM_REG_SIZE_U64 | KVM_REG_ARM_CORE | KVM_REG_ARM_CORE_REG(regs.regs[3])":
        uapi.x_register(3),
    "KVM_REG_ARM64 | KVM_REG_SIZE_U64 | KVM_REG_ARM_CORE | KVM_REG_ARM_CORE_REG(regs.pstate)":
        uapi.REG_PSTATE,
    "ARM64_SYS_REG(3, 0, 0, 0, 5)": uapi.REG_MPIDR,
    "KVM_REG_ARM_TIMER_CNT": uapi.REG_TIMER_CNT,
    "KVM_REG_ARM_PTIMER_CNT": uapi.REG_PTIMER_CNT,
    "KVM_REG_ARM64_SVE_VLS": uapi.REG_SVE_LENGTHS,
    "KVM_REG_SIZE_SHIFT": uapi.REG_SIZE_SHIFT,
    "KVM_REG_SIZE_MASK >> KVM_REG_SIZE_SHIFT": uapi.REG_SIZE_BITS,
}  # fmt: skip

# kvm_run's union is anonymous, and glibc's name for a member of ours is the kernel's
KERNEL_MEMBER = {"sync_regs": "s"}


def assertions() -> list[str]:
    """One C assertion for everything that `uapi` and `abi` say."""
    numbers: dict[str, int] = {name.name: name for name in Ioctl}
    numbers |= {f"KVM_CAP_{cap.name}": cap for cap in Cap}
    numbers |= {f"KVM_ARM_VCPU_{feature.name}": feature for feature in Feature}
    numbers |= {f"KVM_EXIT_{reason.name}": reason for reason in ExitReason}
    numbers |= {f"KVM_SYSTEM_EVENT_{kind.name}": kind for kind in SystemEventType}
    numbers |= {f"KVM_MP_STATE_{state.name}": state for state in MpState}
    numbers |= NAMED
    lines = [
        f'_Static_assert((long long)({name}) == {int(value)}LL, "{name}");'
        for name, value in numbers.items()
    ]
    for name, size in SIZES.items():
        lines.append(f'_Static_assert(sizeof(struct {name}) == {size}, "{name}");')
    for path, offset in OFFSETS.items():
        member = ".".join(KERNEL_MEMBER.get(part, part) for part in path)
        lines.append(
            f'_Static_assert(offsetof(struct kvm_run, {member}) == {offset}, "{member}");'
        )
    return lines


def test_numbers_and_layouts_are_the_kernels_headers(tmp_path: Path) -> None:
    includes = ("stddef.h", "linux/kvm.h", "linux/psci.h")
    compile_arm64(
        "\n".join([*(f"#include <{name}>" for name in includes), *assertions()]), ".c", tmp_path
    )


def test_an_ioctls_number_has_the_size_of_its_argument() -> None:
    arguments = {
        Ioctl.KVM_SET_USER_MEMORY_REGION: "kvm_userspace_memory_region",
        Ioctl.KVM_GET_DIRTY_LOG: "kvm_dirty_log",
        Ioctl.KVM_IRQ_LINE: "kvm_irq_level",
        Ioctl.KVM_IRQFD: "kvm_irqfd",
        Ioctl.KVM_ARM_PREFERRED_TARGET: "kvm_vcpu_init",
        Ioctl.KVM_ARM_VCPU_INIT: "kvm_vcpu_init",
        Ioctl.KVM_CREATE_DEVICE: "kvm_create_device",
        Ioctl.KVM_ENABLE_CAP: "kvm_enable_cap",
        Ioctl.KVM_SET_DEVICE_ATTR: "kvm_device_attr",
        Ioctl.KVM_GET_DEVICE_ATTR: "kvm_device_attr",
        Ioctl.KVM_HAS_DEVICE_ATTR: "kvm_device_attr",
        Ioctl.KVM_GET_MP_STATE: "kvm_mp_state",
        Ioctl.KVM_SET_MP_STATE: "kvm_mp_state",
        Ioctl.KVM_GET_ONE_REG: "kvm_one_reg",
        Ioctl.KVM_SET_ONE_REG: "kvm_one_reg",
        Ioctl.KVM_GET_VCPU_EVENTS: "kvm_vcpu_events",
        Ioctl.KVM_SET_VCPU_EVENTS: "kvm_vcpu_events",
        Ioctl.KVM_GET_REG_LIST: "kvm_reg_list",
    }
    for request, struct in arguments.items():
        assert request >> 16 & 0x3FFF == abi.ffi.sizeof(f"struct {struct}"), request.name


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        ("struct kvm_mp_state { uint64_t mp_state; };", "struct kvm_mp_state has 8 bytes here"),
        ("struct kvm_run { uint8_t x[2352]; };", "byte"),
    ],
)
def test_a_layout_that_is_not_the_kernels_is_refused(broken: str, said: str) -> None:
    """Whatever differs is named, with what to do, before anything reaches KVM."""

    class Other:
        """Our layouts, with one struct as a stranger machine might have it."""

        def __init__(self) -> None:
            self.other: Any = FFI()
            self.other.cdef(broken)

        def _of(self, struct: str) -> Any:
            return self.other if broken.startswith(f"{struct} ") else abi.ffi

        def sizeof(self, struct: str) -> int:
            return int(self._of(struct).sizeof(struct))

        def offsetof(self, struct: str, *path: str) -> int:
            if self._of(struct) is self.other:
                return 0
            return int(abi.ffi.offsetof(struct, *path))

    with pytest.raises(LayoutError, match=said) as refusal:
        check_layouts(Other())
    assert "hpcore-kvm needs a 64-bit Linux" in str(refusal.value)


def test_the_guest_programs_are_what_they_say(tmp_path: Path) -> None:
    every = {**programs.ALL, "puppet": PUPPET}
    lines = [".text"]
    for name, program in every.items():
        lines += [f"{name}:", *(text for text, _ in program)]
    compiled = compile_arm64("\n".join([*lines, ""]), ".S", tmp_path)
    assert b"".join(programs.image(p) for p in every.values()) in compiled
