/* The VGICv3: what a vCPU's CPU interface is in reset state, and how it comes back into it.
 *
 * A CPU interface here is a vCPU's redistributor (GICR) and its ICC registers. A guest may leave
 * anything in them, KVM_ARM_VCPU_INIT does not touch them, and KVM takes them from that process
 * alone which has made the VM. LPIs are left alone: Linux sets them up once for a CPU, and does not
 * do so again when the CPU comes back.
 *
 * Documentation/virt/kvm/devices/arm-vgic-v3.rst, the order of the writes included; Arm IHI 0069
 * for the registers. */
#define _GNU_SOURCE
#include <errno.h>
#include <time.h>

#include "interposer.h"

#ifndef BUSY_NAPS           /* the tests' are fewer */
#define BUSY_NAPS 200000    /* 20 s */
#endif
#define BUSY_NAP_NS 100000

#define GICR_TYPER 0x8
#define GICR_ISPENDR0 0x10200
#define ICC_CTLR K_ICC(12, 12, 4)

#define WORDS (sizeof words / sizeof *words)
static const struct { uint32_t at, cleared_by; } words[] = {
    {0x10080, 0},                                               /* IGROUPR0 */
    {0x10100, 0x10180},                                         /* ISENABLER0: ones set */
    {0x10c00, 0}, {0x10c04, 0},                                 /* ICFGR0, ICFGR1 */
    {0x10400, 0}, {0x10404, 0}, {0x10408, 0}, {0x1040c, 0},     /* IPRIORITYR0 to 7 */
    {0x10410, 0}, {0x10414, 0}, {0x10418, 0}, {0x1041c, 0},
    {0x10300, 0x10380},                                         /* ISACTIVER0: ones set */
};

#define REGISTERS (sizeof registers / sizeof *registers)
#define ALWAYS 7            /* behind those are the active priorities, two more for each 32 levels */
static const uint32_t registers[] = {
    K_ICC(12, 12, 5), ICC_CTLR, K_ICC(12, 12, 6), K_ICC(12, 12, 7), /* SRE, CTLR, IGRPEN0 and 1 */
    K_ICC(4, 6, 0), K_ICC(12, 8, 3), K_ICC(12, 12, 3),              /* PMR, BPR0, BPR1 */
    K_ICC(12, 8, 4), K_ICC(12, 9, 0), K_ICC(12, 8, 5), K_ICC(12, 9, 1), /* AP0R0, AP1R0, ... */
    K_ICC(12, 8, 6), K_ICC(12, 9, 2), K_ICC(12, 8, 7), K_ICC(12, 9, 3),
};

/* Under the lock. */
static struct {
    int fd, vm;
    bool ready;
    uint32_t word[WORDS], lines, pending;   /* the reset state; no line of a PPI was up, or is now */
    uint64_t reg[REGISTERS];
    uint32_t regs;
} gic = {.fd = -1, .vm = -1};

/* EBUSY: a thread has a vCPU of its in an ioctl, a short one, since none is in KVM_RUN. */
static void reach(uint32_t index, unsigned long request, uint32_t group, uint32_t reg, void *value)
{
    const struct timespec nap = {0, BUSY_NAP_NS};
    struct k_device_attr attr = {.group = group, .attr = (uint64_t)vcpu_affinity(index) << 32 | reg,
                                 .addr = (uint64_t)(uintptr_t)value};
    for (int naps = 0; host_ioctl(gic.fd, request, (unsigned long)&attr);) {
        if (errno == EINTR)
            continue;
        if (errno != EBUSY || naps++ == BUSY_NAPS)
            fail_closed("KVM refuses a register of the VGIC", errno);
        nanosleep(&nap, NULL);
    }
}

static uint32_t get_word(uint32_t index, uint32_t group, uint32_t reg)
{
    uint32_t value = 0;
    reach(index, K_GET_DEVICE_ATTR, group, reg, &value);
    return value;
}

static void set_word(uint32_t index, uint32_t group, uint32_t reg, uint32_t value)
{
    reach(index, K_SET_DEVICE_ATTR, group, reg, &value);
}

static void keep_reset_state(void)
{
    for (uint32_t i = 0; i < WORDS; i++)
        gic.word[i] = get_word(0, K_VGIC_REDIST_REGS, words[i].at);
    gic.pending = get_word(0, K_VGIC_REDIST_REGS, GICR_ISPENDR0);
    gic.lines = get_word(0, K_VGIC_LEVEL_INFO, 0);
    uint64_t control = 0;
    reach(0, K_GET_DEVICE_ATTR, K_VGIC_CPU_SYSREGS, ICC_CTLR, &control);
    uint32_t bits = (control >> 8 & 7) + 1;     /* of a priority; 7 at most */
    gic.regs = ALWAYS + 2 * (bits > 5 ? 1u << (bits - 5) : 1);
    if (gic.regs > REGISTERS)
        fail_closed("KVM's VGIC has more than 7 bits of priority", 0);
    for (uint32_t i = 0; i < gic.regs; i++)
        reach(0, K_GET_DEVICE_ATTR, K_VGIC_CPU_SYSREGS, registers[i], &gic.reg[i]);
}

/* GICR_TYPER has the number of the vCPU and its affinity. A vCPU's registers are found by the
 * affinity, so the number says whether it is this vCPU that is found. */
static void read_affinity(uint32_t index)
{
    uint32_t number = get_word(index, K_VGIC_REDIST_REGS, GICR_TYPER) >> 8 & 0xffff;
    if (number != index)
        fail_closed("KVM numbers its vCPUs otherwise than hpcore does", 0);
    page_set_affinity(index, get_word(index, K_VGIC_REDIST_REGS, GICR_TYPER + 4));
}

void gic_note_device(int vm, int fd)
{
    gic.vm = vm;
    gic.fd = fd;
    gic.ready = false;
}

void gic_forget_vm(int vm)
{
    if (gic.vm == vm)
        gic_note_device(-1, -1);
}

/* KVM makes no vCPU after this, and none has run. */
void gic_note_init(int fd)
{
    if (fd != gic.fd)
        return;     /* that of an ITS has the same numbers */
    for (uint32_t index = 0; vcpu_find(gic.vm, index); index++)
        read_affinity(index);
    keep_reset_state();
    gic.ready = true;
}

bool gic_is_ready(int vm)
{
    return gic.ready && gic.vm == vm;
}

void gic_reset(struct vcpu *vcpu)
{
    uint32_t wanted = page_gic_wanted(vcpu->index);
    if (!gate_close(vcpu))
        return;     /* it comes back here before its next KVM_RUN */
    for (uint32_t i = 0; i < WORDS; i++) {
        if (words[i].cleared_by)
            set_word(vcpu->index, K_VGIC_REDIST_REGS, words[i].cleared_by, UINT32_MAX);
        set_word(vcpu->index, K_VGIC_REDIST_REGS, words[i].at, gic.word[i]);
    }
    set_word(vcpu->index, K_VGIC_LEVEL_INFO, 0, gic.lines);
    set_word(vcpu->index, K_VGIC_REDIST_REGS, GICR_ISPENDR0, gic.pending);  /* KVM: clears, too */
    for (uint32_t i = 0; i < gic.regs; i++)
        reach(vcpu->index, K_SET_DEVICE_ATTR, K_VGIC_CPU_SYSREGS, registers[i], &gic.reg[i]);
    gate_open();
    page_set_gic(vcpu->index, wanted);
    link_tell((struct wire_message){.type = WIRE_GIC, .vcpu = vcpu->index, .a = wanted});
}
