/* What the interposer uses of KVM's user API on arm64.
 *
 * Of its own, and not <linux/kvm.h>, so that the tests build on any 64-bit host and so that the
 * SMCCC filter is known whatever the headers' age. Source: include/uapi/linux/kvm.h and
 * arch/arm64/include/uapi/asm/kvm.h of Linux 6.12; a test holds every line against the headers.
 * PSCI: Arm DEN0022. */
#ifndef KVM_ARM64_H
#define KVM_ARM64_H

#include <stdint.h>

/* ioctls; bits 29:16 are the size of the argument */
#define K_CREATE_VM 0xAE01u
#define K_CREATE_VCPU 0xAE41u
#define K_IRQFD 0x4020AE76u
#define K_RUN 0xAE80u
#define K_SET_MP_STATE 0x4004AE99u
#define K_GET_ONE_REG 0x4010AEABu
#define K_SET_ONE_REG 0x4010AEACu
#define K_ARM_VCPU_INIT 0x4020AEAEu
#define K_CREATE_DEVICE 0xC00CAEE0u
#define K_SET_DEVICE_ATTR 0x4018AEE1u
#define K_GET_DEVICE_ATTR 0x4018AEE2u

#define K_VM_SMCCC_CTRL 0
#define K_VM_SMCCC_FILTER 0
#define K_SMCCC_FILTER_FWD_TO_USER 2
#define K_HYPERCALL_EXIT_SMC 1u

#define K_EXIT_HYPERCALL 3
#define K_EXIT_MMIO 6

#define K_MP_STATE_RUNNABLE 0
#define K_MP_STATE_STOPPED 5

/* the VGICv3, its groups of attributes, and how the register of a CPU interface is named there */
#define K_VGIC_V3 7
#define K_CREATE_DEVICE_TEST 1
#define K_VGIC_CTRL 4
#define K_VGIC_CTRL_INIT 0
#define K_VGIC_REDIST_REGS 5
#define K_VGIC_CPU_SYSREGS 6
#define K_VGIC_LEVEL_INFO 7
#define K_ICC(crn, crm, op2) (3u << 14 | (crn) << 7 | (crm) << 3 | (op2))

/* bits of kvm_vcpu_init.features */
#define K_VCPU_POWER_OFF 0
#define K_VCPU_PSCI_0_2 2

#define K_REG_X(n) (0x6030000000100000u + 2u * (n))
#define K_REG_PC 0x6030000000100040u
#define K_REG_CNTV_CTL 0x603000000013df19u
#define K_REG_CNTP_CTL 0x603000000013df11u

struct k_vcpu_init { uint32_t target, features[7]; };
struct k_one_reg { uint64_t id, addr; };
struct k_mp_state { uint32_t mp_state; };
struct k_irqfd { uint32_t fd, gsi, flags, resamplefd; uint8_t pad[16]; };
struct k_create_device { uint32_t type, fd, flags; };
struct k_device_attr { uint32_t flags, group; uint64_t attr, addr; };
struct k_smccc_filter { uint32_t base, nr_functions; uint8_t action, pad[15]; };
struct k_run {
    uint8_t request_interrupt_window, immediate_exit, padding1[6];
    uint32_t exit_reason;
    uint8_t ready_for_interrupt_injection, if_flag;
    uint16_t flags;
    uint64_t cr8, apic_base;
    union {
        struct { uint64_t phys_addr; uint8_t data[8]; uint32_t len; uint8_t is_write; } mmio;
        struct { uint64_t nr, args[6], ret, flags; } hypercall;
        uint8_t padding[256];
    };
};

/* PSCI functions that the filter forwards, and what CPU_ON answers */
#define PSCI_CPU_OFF 0x84000002u
#define PSCI_CPU_ON_32 0x84000003u
#define PSCI_CPU_ON_64 0xC4000003u
#define PSCI_SUCCESS 0
#define PSCI_NOT_SUPPORTED (-1)
#define PSCI_INVALID_PARAMETERS (-2)
#define PSCI_DENIED (-3)
#define PSCI_ALREADY_ON (-4)
#define PSCI_ON_PENDING (-5)

#endif
