"""kvm_arm64.h is what the kernel's own headers for arm64 say."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hpcore_kvm_qemu import build

from tests.kvm_host.toolchain import compile_arm64

HEADER = build.SOURCE_DIR / "kvm_arm64.h"
CORE = "KVM_REG_ARM64 | KVM_REG_SIZE_U64 | KVM_REG_ARM_CORE"
OTHER_NAMES = {
    "K_REG_CNTV_CTL": "KVM_REG_ARM_TIMER_CTL",
    "K_REG_CNTP_CTL": "KVM_REG_ARM_PTIMER_CTL",
    "K_REG_PC": f"({CORE} | KVM_REG_ARM_CORE_REG(regs.pc))",
    "K_VM_SMCCC_CTRL": "KVM_ARM_VM_SMCCC_CTRL",
    "K_VM_SMCCC_FILTER": "KVM_ARM_VM_SMCCC_FILTER",
    "K_VGIC_V3": "KVM_DEV_TYPE_ARM_VGIC_V3",
    "K_VGIC_CTRL": "KVM_DEV_ARM_VGIC_GRP_CTRL",
    "K_VGIC_CTRL_INIT": "KVM_DEV_ARM_VGIC_CTRL_INIT",
    "K_VGIC_REDIST_REGS": "KVM_DEV_ARM_VGIC_GRP_REDIST_REGS",
    "K_VGIC_CPU_SYSREGS": "KVM_DEV_ARM_VGIC_GRP_CPU_SYSREGS",
    "K_VGIC_LEVEL_INFO": "KVM_DEV_ARM_VGIC_GRP_LEVEL_INFO",
    "K_VCPU_POWER_OFF": "KVM_ARM_VCPU_POWER_OFF",
    "K_VCPU_PSCI_0_2": "KVM_ARM_VCPU_PSCI_0_2",
}
STRUCTS = {
    "k_vcpu_init": ("target", "features"),
    "k_one_reg": ("id", "addr"),
    "k_mp_state": ("mp_state",),
    "k_irqfd": ("fd", "gsi", "flags", "resamplefd"),
    "k_create_device": ("type", "fd", "flags"),
    "k_device_attr": ("flags", "group", "attr", "addr"),
    "k_smccc_filter": ("base", "nr_functions", "action"),
}
RUN = (
    "immediate_exit", "exit_reason", "mmio.phys_addr", "mmio.data", "mmio.len", "mmio.is_write",
    "hypercall.nr", "hypercall.flags",
)  # fmt: skip


def assertions() -> list[str]:
    names = re.findall(r"^#define (K_\w+) ", HEADER.read_text(), re.MULTILINE)
    assert len(names) > 15
    same = [f"{name} == {OTHER_NAMES.get(name, name.replace('K_', 'KVM_', 1))}" for name in names]
    for register in (0, 3):
        same.append(
            f"K_REG_X({register}) == ({CORE} | KVM_REG_ARM_CORE_REG(regs.regs[{register}]))"
        )
    icc = "(ARM64_SYS_REG(3, 0, 12, 8, 4) & KVM_DEV_ARM_VGIC_SYSREG_INSTR_MASK)"
    same.append(f"K_ICC(12, 8, 4) == {icc}")
    for name, fields in STRUCTS.items():
        same.append(f"sizeof(struct {name}) == sizeof(struct {name.replace('k_', 'kvm_', 1)})")
        same += [
            f"offsetof(struct {name}, {field})"
            f" == offsetof(struct {name.replace('k_', 'kvm_', 1)}, {field})"
            for field in fields
        ]
    same += [f"offsetof(struct k_run, {f}) == offsetof(struct kvm_run, {f})" for f in RUN]
    for name in ("CPU_OFF", "CPU_ON"):
        ours = "PSCI_CPU_ON_32" if name == "CPU_ON" else "PSCI_CPU_OFF"
        same.append(f"{ours} == PSCI_0_2_FN_{name}")
    same.append("PSCI_CPU_ON_64 == PSCI_0_2_FN64_CPU_ON")
    for name in ("SUCCESS", "NOT_SUPPORTED", "DENIED", "ALREADY_ON", "ON_PENDING"):
        same.append(f"PSCI_{name} == PSCI_RET_{name}")
    same.append("PSCI_INVALID_PARAMETERS == PSCI_RET_INVALID_PARAMS")
    return same


def program(same: list[str]) -> str:
    head = "#include <stddef.h>\n#include <linux/kvm.h>\n#include <linux/psci.h>\n"
    lines = "".join(f'_Static_assert({line}, "");\n' for line in same)
    return f'{head}#include "{HEADER}"\n{lines}'


def test_every_number_and_struct_is_the_kernels(tmp_path: Path) -> None:
    assert compile_arm64(program(assertions()), ".c", tmp_path)


def test_a_wrong_number_is_noticed(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="static assertion failed"):
        compile_arm64(program(["K_RUN == KVM_CREATE_VM"]), ".c", tmp_path)
