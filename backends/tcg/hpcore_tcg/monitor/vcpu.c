/* What one vCPU does in EL3: after reset, when parked, and when the guest traps to us. */
#include "monitor.h"

#define ESR_EC_SHIFT 26
#define EC_SMC64 0x17
#define ESR_UNKNOWN (1u << 25) /* EC 0, a 32-bit instruction: UNDEFINED */
#define SPSR_MODE 0xf
#define SPSR_EL1H_MASKED 0x3c5

static u32 whoami(void)
{
    return (u32)MRS("tpidr_el3");
}

static u32 nibble(u64 reg, u32 at)
{
    return reg >> at & 0xf;
}

/* Let EL1 use what the CPU has, as QEMU's own boot code does when it stands in for the
 * firmware (hw/arm/boot.c and target/arm/cpu.c, arm_emulate_firmware_reset). */
static void open_features(void)
{
    u64 pfr0 = MRS("id_aa64pfr0_el1"), pfr1 = MRS("id_aa64pfr1_el1");
    u64 isar1 = MRS("id_aa64isar1_el1"), isar2 = MRS("S3_0_C0_C6_2");
    u64 mmfr0 = MRS("id_aa64mmfr0_el1"), mmfr1 = MRS("id_aa64mmfr1_el1");
    u64 mmfr3 = MRS("S3_0_C0_C7_3");
    u64 scr = MRS("scr_el3"), cptr = 0;

    if (isar1 & 0xff000ff0 || isar2 & 0xff00)
        scr |= 3ul << 16; /* pointer authentication: APK, API */
    if (nibble(pfr1, 8) >= 2)
        scr |= 1ul << 26; /* memory tagging: ATA */
    if (nibble(mmfr0, 56))
        scr |= 1ul << 27; /* fine-grained traps: FGTEn */
    if (nibble(mmfr1, 40))
        scr |= 1ul << 38; /* HCRX_EL2: HXEn */
    if (nibble(pfr1, 44))
        scr |= 1ul << 39; /* guarded control stack: GCSEn */
    if (nibble(mmfr3, 0))
        scr |= 1ul << 43; /* TCR2_EL1: TCR2En */
    if (nibble(mmfr3, 4))
        scr |= 1ul << 44; /* SCTLR2_EL1: SCTLR2En */
    if (nibble(mmfr3, 8))
        scr |= 1ul << 45; /* permission indirection: PIEn */
    if (nibble(pfr1, 24)) {
        scr |= 1ul << 41; /* SME: EnTP2 */
        cptr |= 1ul << 12;
    }
    if (nibble(pfr0, 32))
        cptr |= 1ul << 8; /* SVE: EZ */
    MSR("scr_el3", scr);
    MSR("cptr_el3", cptr);
    if (cptr & 1ul << 8)
        MSR("S3_6_C1_C2_0", 0xf); /* ZCR_EL3: every vector length */
    if (cptr & 1ul << 12)
        MSR("S3_6_C1_C2_6", 0xf | 1ul << 31); /* SMCR_EL3: every length, FA64 */
}

static void take_interrupts(void)
{
    for (;;) {
        u32 id = gic_acknowledge();
        if (id >= 1020)
            return;
        lock_take();
        if (id == VIRT_UART1_GSI)
            link_drain();
        if (id == VIRT_UART1_GSI || id == VIRT_RTC_GSI)
            calls_drain();
        lock_release();
        gic_end(id);
    }
}

/* Where a vCPU is when it is off. It leaves by CPU_ON alone. */
static NORETURN void park(u32 me)
{
    struct slot *s = &slots[me];
    gic_silence_this_cpu();
    MSR("cntv_ctl_el0", 0); /* a forgotten timer must not wake us for ever */
    MSR("cntp_ctl_el0", 0);
    for (;;) {
        lock_take();
        if (s->revoke) {
            s->revoke = 0;
            s->power = POWER_OFF;
            report_reply(s->revoke_tag, STATUS_OK, 0);
        } else if (s->power == POWER_PENDING) {
            s->power = POWER_ON;
            lock_release();
            enter_normal_world(s->entry, s->context);
        }
        lock_release();
        WFI();
        take_interrupts();
    }
}

void vcpu_interrupt_from_guest(void)
{
    u32 me = whoami();
    take_interrupts();
    if (slots[me].revoke)
        park(me);
}

/* x0 to x18 and x30 of the guest are at `regs`. An SMC returns behind itself; anything
 * else is an instruction that EL3 does not offer, and becomes UNDEFINED at EL1. */
void vcpu_trap_from_guest(u64 *regs)
{
    if (MRS("esr_el3") >> ESR_EC_SHIFT == EC_SMC64) {
        u32 me = whoami();
        bool8 off;
        u64 answer = psci_call(me, regs, &off);
        if (off) /* `power` does not tell: another vCPU may have made it PENDING by now */
            park(me);
        regs[0] = answer;
        return;
    }
    u64 spsr = MRS("spsr_el3"), mode = spsr & SPSR_MODE;
    u64 offset = mode == 0 ? 0x400 : mode == 5 ? 0x200 : 0; /* EL0, EL1h, EL1t */
    if (spsr & 0x10)
        offset = 0x600; /* EL0 in AArch32 */
    MSR("elr_el1", MRS("elr_el3"));
    MSR("spsr_el1", spsr);
    MSR("esr_el1", ESR_UNKNOWN);
    MSR("elr_el3", MRS("vbar_el1") + offset);
    MSR("spsr_el3", SPSR_EL1H_MASKED);
}

/* An exception in the monitor is its own fault, unless it was looking whether something is
 * there. The host is told where, and hears nothing more from this vCPU. */
void vcpu_trap_from_monitor(void)
{
    u64 elr = MRS("elr_el3");
    if (gic_probe_faulted()) {
        MSR("elr_el3", elr + 4);
        return;
    }
    u64 where[2] = {MRS("esr_el3"), elr};
    report_fields(EVENT_FAULT, where); /* without the lock: this vCPU may be holding it */
    for (;;)
        WFI();
}

/* Secondaries come here after every reset, at the same time as vCPU 0 sets the variables:
 * they look at none until an SGI, which only a monitor that is ready can send. */
static NORETURN void sleep_until_woken(u32 me)
{
    gic_silence_this_cpu();
    for (;;) {
        WFI();
        u32 id = gic_acknowledge();
        if (id < 1020) {
            gic_end(id);
            park(me);
        }
    }
}

void vcpu_main(void)
{
    u32 me = whoami();
    open_features();
    gic_this_cpu();
    if (me)
        sleep_until_woken(me);

    lock_reset();
    slots_epoch = (slots_epoch + 1) % PROTOCOL_EPOCHS;
    slots_reset();
    link_reset();
    lock_take();
    u64 hello[2] = {PROTOCOL_VERSION, slots_epoch};
    report_fields(EVENT_HELLO, hello);
    while (!slots_running)
        link_drain(); /* no policy, no guest */
    link_listen();
    lock_release();
    enter_normal_world(VIRT_KERNEL_BASE, VIRT_DTB_BASE);
}
