/* The GICv3: distributor, redistributors, and this vCPU's CPU interface.
 *
 * Everything is Group 1 Non-secure, the guest's, but four interrupts, which are Group 0
 * and so arrive at EL3 as FIQ (SCR_EL3.FIQ): the link's UART, the RTC, and on every vCPU
 * one SGI that wakes it. With two security states the guest can neither mask nor
 * disable, reroute or raise those. Registers: Arm IHI0069, chapter 12.
 */
#include "monitor.h"

#define GICD VIRT_GICD_BASE
#define GICD_CTLR (GICD + 0x0000)
#define GICD_TYPER (GICD + 0x0004)
#define GICD_IGROUPR(n) (GICD + 0x0080 + 4 * (n))
#define GICD_ISENABLER(n) (GICD + 0x0100 + 4 * (n))
#define GICD_ISPENDR(n) (GICD + 0x0200 + 4 * (n))
#define GICD_IPRIORITYR(id) (GICD + 0x0400 + (id))
#define GICD_IGRPMODR(n) (GICD + 0x0d00 + 4 * (n))
#define GICD_IROUTER(id) (GICD + 0x6000 + 8 * (id))
#define GICD_CTLR_ARE 0x30    /* ARE_S, ARE_NS */
#define GICD_CTLR_GROUPS 0x07 /* Group 0, Group 1 Non-secure, Group 1 Secure */

#define GICR_TYPER 0x0008
#define GICR_WAKER 0x0014
#define GICR_SGI 0x10000 /* SGI_base */
#define GICR_IGROUPR0 (GICR_SGI + 0x0080)
#define GICR_ISENABLER0 (GICR_SGI + 0x0100)
#define GICR_ICENABLER0 (GICR_SGI + 0x0180)
#define GICR_ICPENDR0 (GICR_SGI + 0x0280)
#define GICR_ICACTIVER0 (GICR_SGI + 0x0380)
#define GICR_IPRIORITYR(id) (GICR_SGI + 0x0400 + (id))
#define GICR_IGRPMODR0 (GICR_SGI + 0x0d00)
#define GICR_NSACR (GICR_SGI + 0x0e00)
#define TYPER_LAST (1u << 4)
#define WAKER_SLEEP 2u
#define WAKER_ASLEEP 4u

#define ICC_PMR "S3_0_C4_C6_0"
#define ICC_IAR0 "S3_0_C12_C8_0"
#define ICC_EOIR0 "S3_0_C12_C8_1"
#define ICC_AP1R0 "S3_0_C12_C9_0"
#define ICC_SGI0R "S3_0_C12_C11_7"
#define ICC_SRE_EL1 "S3_0_C12_C12_5"
#define ICC_SRE_EL3 "S3_6_C12_C12_5"
#define ICC_IGRPEN0 "S3_0_C12_C12_6"
#define ICC_IGRPEN1 "S3_0_C12_C12_7"

#define WAKE_SGI 15
#define GUEST_PRIORITY 0xa0
#define PATIENCE 1000000 /* reads of GICR_WAKER before it counts as stuck */

static volatile u32 probe_failed, probing;

/* Read a register that may not exist: an address with nothing behind it makes QEMU raise
 * an external abort, which vcpu_trap_from_monitor turns into a failed probe. */
static bool8 probe(u64 address, u64 *value)
{
    probe_failed = 0;
    probing = 1;
    BARRIER();
    *value = R64(address);
    BARRIER();
    probing = 0;
    return !probe_failed;
}

bool8 gic_probe_faulted(void)
{
    if (probing)
        probe_failed = 1;
    return probing != 0;
}

static void secure_spi(u32 id)
{
    u32 bit = 1u << (id % 32);
    R32(GICD_IGROUPR(id / 32)) &= ~bit;
    R8(GICD_IPRIORITYR(id)) = 0;
    R64(GICD_IROUTER(id)) = 0; /* vCPU 0, which is never taken away */
    R32(GICD_ISENABLER(id / 32)) = bit;
}

static u32 affinity_at(u64 frame)
{
    return (u32)(R64(frame + GICR_TYPER) >> 32);
}

/* Walk one contiguous region, and give every slot the frame that has its affinity, which
 * need not be the frame at its index. */
static u32 walk(struct slot *table, u64 base, u32 most)
{
    u64 typer;
    for (u32 n = 0; n < most; n++) {
        u64 frame = base + (u64)n * VIRT_GICR_FRAME;
        if (!probe(frame + GICR_TYPER, &typer))
            return n;
        u32 affinity = (u32)(typer >> 32);
        u32 slot = (affinity >> 8 & 0xff) * TOPOLOGY_AFF0_WIDTH + (affinity & 0xff);
        if (!(affinity >> 16) && (affinity & 0xff) < TOPOLOGY_AFF0_WIDTH
            && slot < TOPOLOGY_MAX_POSSIBLE)
            table[slot].frame = frame;
        if (typer & TYPER_LAST)
            return n + 1;
    }
    return most;
}

/* Set the distributor up, give every slot of `table` its frame, and count the
 * redistributors: how many vCPUs can ever be. */
u32 gic_init(struct slot *table)
{
    R32(GICD_CTLR) = GICD_CTLR_ARE; /* before the groups are enabled: IHI0069, 12.9.4 */
    R32(GICD_CTLR) = GICD_CTLR_ARE | GICD_CTLR_GROUPS;
    u32 words = (R32(GICD_TYPER) & 0x1f) + 1;
    for (u32 n = 1; n < words; n++) {
        R32(GICD_IGROUPR(n)) = ~0u;
        R32(GICD_IGRPMODR(n)) = 0;
    }
    secure_spi(VIRT_UART1_GSI);
    secure_spi(VIRT_RTC_GSI);

    for (u32 i = 0; i < TOPOLOGY_MAX_POSSIBLE; i++)
        table[i].frame = 0;
    u32 found = walk(table, VIRT_GICR_BASE, VIRT_GICR_FIRST_REGION);
    if (found == VIRT_GICR_FIRST_REGION)
        found += walk(table, VIRT_GICR_HIGH_BASE,
                      TOPOLOGY_MAX_POSSIBLE - VIRT_GICR_FIRST_REGION);
    return found;
}

static bool8 set_sleep(u64 frame, u32 sleep)
{
    u32 waker = R32(frame + GICR_WAKER) & ~WAKER_SLEEP;
    R32(frame + GICR_WAKER) = waker | (sleep ? WAKER_SLEEP : 0);
    for (u32 n = 0; n < PATIENCE; n++)
        if (!(R32(frame + GICR_WAKER) & WAKER_ASLEEP) == !sleep)
            return 1;
    return 0;
}

static void silence(u64 frame)
{
    R32(frame + GICR_ICENABLER0) = ~0u;
    R32(frame + GICR_ICPENDR0) = ~0u;
    R32(frame + GICR_ICACTIVER0) = ~0u;
}

bool8 gic_bind(const struct slot *s)
{
    silence(s->frame);
    return set_sleep(s->frame, 0);
}

u32 gic_affinity(const struct slot *s)
{
    return affinity_at(s->frame);
}

void gic_wire(const struct slot *s)
{
    u64 f = s->frame;
    silence(f);
    for (u32 id = 0; id < 32; id++)
        R8(f + GICR_IPRIORITYR(id)) = id == WAKE_SGI ? 0 : GUEST_PRIORITY;
    R32(f + GICR_IGRPMODR0) = 0;
    R32(f + GICR_NSACR) = 0; /* the guest may not raise a Group 0 SGI */
    R32(f + GICR_IGROUPR0) = ~(1u << WAKE_SGI);
    R32(f + GICR_ISENABLER0) = 1u << WAKE_SGI;
    BARRIER();
}

void gic_unwire(const struct slot *s)
{
    silence(s->frame);
    BARRIER();
}

void gic_unbind(const struct slot *s)
{
    silence(s->frame);
    (void)set_sleep(s->frame, 1);
}

/* The CPU interface is reached through system registers only, so each vCPU sets up its
 * own, once after every reset. */
void gic_this_cpu(void)
{
    MSR(ICC_SRE_EL3, 0xf);
    MSR(ICC_SRE_EL1, 7); /* the Non-secure copy, for SCR_EL3.NS is set */
    MSR(ICC_PMR, 0xff);
    MSR(ICC_IGRPEN1, 0);
    MSR(ICC_IGRPEN0, 1);
}

/* A parked vCPU must not be woken by what the guest left behind. */
void gic_silence_this_cpu(void)
{
    MSR(ICC_IGRPEN1, 0);
    MSR(ICC_AP1R0, 0); /* a revoked vCPU may have been inside a handler */
}

void gic_wake(u32 slot)
{
    u64 target = 1ul << (slot % TOPOLOGY_AFF0_WIDTH);
    u64 aff1 = (u64)(slot / TOPOLOGY_AFF0_WIDTH) << 16;
    BARRIER();
    MSR(ICC_SGI0R, (u64)WAKE_SGI << 24 | aff1 | target);
}

void gic_pend(u32 intid)
{
    BARRIER();
    R32(GICD_ISPENDR(intid / 32)) = 1u << (intid % 32);
}

void gic_raise_ged(void)
{
    gic_pend(VIRT_GED_GSI);
}

/* An INTID of 1020 or more: nothing is waiting. */
u32 gic_acknowledge(void)
{
    return MRS(ICC_IAR0) & 0xffffff;
}

void gic_end(u32 intid)
{
    MSR(ICC_EOIR0, intid);
}
