"""The numbers of KVM's arm64 user API that hpcore uses.

Source: include/uapi/linux/kvm.h and arch/arm64/include/uapi/asm/kvm.h of Linux 6.12. The
user API is stable, so a newer kernel has the same. An ioctl's number holds the size
of its argument (bits 29:16), which tests hold against the layouts of `abi`.
"""

from __future__ import annotations

from enum import IntEnum

API_VERSION = 12


class Ioctl(IntEnum):
    """An ioctl, under the name that an error gives it."""

    KVM_GET_API_VERSION = 0xAE00
    KVM_CREATE_VM = 0xAE01
    KVM_CHECK_EXTENSION = 0xAE03
    KVM_GET_VCPU_MMAP_SIZE = 0xAE04
    # on a VM
    KVM_ENABLE_CAP = 0x4068AEA3
    KVM_CREATE_VCPU = 0xAE41
    KVM_SET_USER_MEMORY_REGION = 0x4020AE46
    KVM_GET_DIRTY_LOG = 0x4010AE42
    KVM_IRQ_LINE = 0x4008AE61
    KVM_IRQFD = 0x4020AE76
    KVM_ARM_PREFERRED_TARGET = 0x8020AEAF
    KVM_CREATE_DEVICE = 0xC00CAEE0
    # on a device, a vCPU or, for the SMCCC filter, a VM
    KVM_SET_DEVICE_ATTR = 0x4018AEE1
    KVM_GET_DEVICE_ATTR = 0x4018AEE2
    KVM_HAS_DEVICE_ATTR = 0x4018AEE3
    # on a vCPU
    KVM_RUN = 0xAE80
    KVM_GET_MP_STATE = 0x8004AE98
    KVM_SET_MP_STATE = 0x4004AE99
    KVM_GET_ONE_REG = 0x4010AEAB
    KVM_SET_ONE_REG = 0x4010AEAC
    KVM_ARM_VCPU_INIT = 0x4020AEAE
    KVM_ARM_VCPU_FINALIZE = 0x4004AEC2
    KVM_GET_VCPU_EVENTS = 0x8040AE9F
    KVM_SET_VCPU_EVENTS = 0x4040AEA0
    KVM_GET_REG_LIST = 0xC008AEB0


class Cap(IntEnum):
    """What KVM_CHECK_EXTENSION is asked."""

    NR_VCPUS = 9
    MAX_VCPUS = 66
    ARM_PMU_V3 = 126
    ARM_VM_IPA_SIZE = 165
    ARM_SVE = 170
    ARM_PTRAUTH_ADDRESS = 171
    ARM_PTRAUTH_GENERIC = 172
    ARM_NISV_TO_USER = 177
    ARM_INJECT_EXT_DABT = 178


class Feature(IntEnum):
    """A bit of `kvm_vcpu_init.features`."""

    POWER_OFF = 0
    PSCI_0_2 = 2
    PMU_V3 = 3
    SVE = 4
    PTRAUTH_ADDRESS = 5
    PTRAUTH_GENERIC = 6


class ExitReason(IntEnum):
    """Why KVM_RUN returned; those that an arm64 guest can cause."""

    UNKNOWN = 0
    HYPERCALL = 3
    DEBUG = 4
    MMIO = 6
    INTR = 10
    FAIL_ENTRY = 9
    INTERNAL_ERROR = 17
    SYSTEM_EVENT = 24
    ARM_NISV = 28
    MEMORY_FAULT = 39


class SystemEventType(IntEnum):
    """What ended the machine, or wants it ended."""

    SHUTDOWN = 1
    RESET = 2
    CRASH = 3
    WAKEUP = 4
    SUSPEND = 5
    SEV_TERM = 6


class MpState(IntEnum):
    """Whether a vCPU runs when KVM_RUN enters it; arm64 takes no others."""

    RUNNABLE = 0
    STOPPED = 5
    SUSPENDED = 10


MEM_LOG_DIRTY_PAGES = 1 << 0
HYPERCALL_EXIT_SMC = 1 << 0

# ------------------------------------------------------------------- registers

REG_X0 = 0x6030_0000_0010_0000  # x1 is 2 further, and so on: the unit is 32 bits
REG_PC = 0x6030_0000_0010_0040
REG_PSTATE = 0x6030_0000_0010_0042
REG_ARM64_SYSREG = 0x6030_0000_0013_0000


def x_register(number: int) -> int:
    """The ONE_REG id of x0 to x30."""
    return REG_X0 + 2 * number


def system_register(op0: int, op1: int, crn: int, crm: int, op2: int) -> int:
    """How KVM packs a system register's encoding, in ONE_REG ids and VGIC attributes."""
    return op0 << 14 | op1 << 11 | crn << 7 | crm << 3 | op2


REG_MPIDR = REG_ARM64_SYSREG | system_register(3, 0, 0, 0, 5)
REG_TIMER_CNT = REG_ARM64_SYSREG | system_register(3, 3, 14, 3, 2)
"""CNTVCT_EL0, of the whole VM. KVM's ABI has it under CNTV_CVAL_EL0's encoding, a mistake kept."""

REG_PTIMER_CNT = REG_ARM64_SYSREG | system_register(3, 3, 14, 0, 1)
"""CNTPCT_EL0."""

REG_SVE_LENGTHS = 0x6060_0000_0015_FFFF
"""SVE's vector lengths, final once KVM_ARM_VCPU_FINALIZE was called."""

PMU_SETS = tuple(
    (REG_ARM64_SYSREG | sets, REG_ARM64_SYSREG | clears)
    for sets, clears in (
        (system_register(3, 3, 9, 12, 1), system_register(3, 3, 9, 12, 2)),  # PMCNTEN
        (system_register(3, 0, 9, 14, 1), system_register(3, 0, 9, 14, 2)),  # PMINTEN
        (system_register(3, 3, 9, 14, 3), system_register(3, 3, 9, 12, 3)),  # PMOVS
    )
)
"""Two names of one register each: what is written to the first is set, by the second cleared.

For KVM itself both were the whole value, before Linux 6.12 and again later.
"""

REG_SIZE_SHIFT, REG_SIZE_BITS = 52, 0xF
"""Where an id has the size of its register, as a power of two of bytes."""


def register_size(register: int) -> int:
    """The bytes of the register with that ONE_REG id."""
    return 1 << (register >> REG_SIZE_SHIFT & REG_SIZE_BITS)


MPIDR_AFFINITY = 0xFF_00FF_FFFF
"""The affinity fields of MPIDR_EL1; the rest are flags."""

# --------------------------------------------------------------------- devices

DEV_TYPE_ARM_VGIC_V2 = 5
DEV_TYPE_ARM_VGIC_V3 = 7
CREATE_DEVICE_TEST = 1

VGIC_GRP_ADDR = 0
VGIC_GRP_DIST_REGS = 1
VGIC_GRP_NR_IRQS = 3
VGIC_GRP_CTRL = 4
VGIC_GRP_REDIST_REGS = 5
VGIC_GRP_CPU_SYSREGS = 6
VGIC_GRP_LEVEL_INFO = 7

VGIC_ADDR_DIST = 2
VGIC_ADDR_REDIST = 3
VGIC_ADDR_REDIST_REGION = 5
VGIC_CTRL_INIT = 0
VGIC_MPIDR_SHIFT = 32
REDIST_REGION_COUNT_SHIFT = 52

VM_SMCCC_CTRL, VM_SMCCC_FILTER = 0, 0
SMCCC_FILTER_HANDLE, SMCCC_FILTER_DENY, SMCCC_FILTER_FWD_TO_USER = 0, 1, 2

VCPU_PMU_V3_CTRL = 0
VCPU_PMU_V3_IRQ, VCPU_PMU_V3_INIT = 0, 1

IRQ_TYPE_SPI = 1
IRQ_TYPE_SHIFT = 24
FIRST_SPI = 32
IRQFD_DEASSIGN = 1 << 0
