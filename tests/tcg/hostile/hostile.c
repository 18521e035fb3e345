/* A guest that tries what it should not. It runs at EL1 with the MMU off, prints one
 * "name=value" line for each attempt on the console, and leaves the judging to the test.
 */
#include "constants.h"

typedef unsigned char u8;
typedef unsigned int u32;
typedef unsigned long u64;

#define R8(a) (*(volatile u8 *)(u64)(a))
#define R32(a) (*(volatile u32 *)(u64)(a))
#define PAGE PAGE_PAGE_BASE
#define UART VIRT_UART0_BASE
#define RTC VIRT_RTC_BASE
#define PATIENCE 200000000u

extern void secondary(void);
volatile u64 faults, last_esr, secondary_context;

static u64 smc(u64 f, u64 a, u64 b, u64 c)
{
    register u64 x0 __asm__("x0") = f;
    register u64 x1 __asm__("x1") = a;
    register u64 x2 __asm__("x2") = b;
    register u64 x3 __asm__("x3") = c;
    /* smc #0, which the assembler does not offer for this CPU */
    __asm__ volatile(".inst 0xd4000003" : "+r"(x0), "+r"(x1), "+r"(x2), "+r"(x3)::"memory");
    return x0;
}

static void put(char c)
{
    R32(UART) = (u8)c;
}

static void say(const char *name, u64 value)
{
    while (*name)
        put(*name++);
    put('=');
    put('0');
    put('x');
    for (int shift = 60; shift >= 0; shift -= 4)
        put("0123456789abcdef"[value >> shift & 15]);
    put('\n');
}

static void bell(void)
{
    do
        R32(RTC + 4) = R32(RTC);
    while (R32(RTC + 4) != R32(RTC));
}

static void record(u32 kind, u32 slot, u32 argument)
{
    u32 head = R32(PAGE + PAGE_HEAD);
    u64 at = PAGE + PAGE_RING + (u64)(head % PAGE_RING_RECORDS) * PAGE_RECORD_SIZE;
    R32(at) = kind | slot << 16;
    R32(at + 4) = argument;
    R32(PAGE + PAGE_HEAD) = head + 1;
}

static int drained(void)
{
    for (u32 n = 0; n < PATIENCE; n++)
        if (R32(PAGE + PAGE_TAIL) == R32(PAGE + PAGE_HEAD))
            return 1;
    return 0;
}

static void wait_cell(u64 cell)
{
    while (!R8(cell))
        ;
    R8(cell) = 0;
}

/* How many exceptions an access takes: 0 or 1. */
static u64 probe(u64 address)
{
    u64 before = faults;
    (void)R32(address);
    return faults - before;
}

static void psci(void)
{
    u64 here = (u64)&secondary;
    say("version", smc(0x84000000, 0, 0, 0));
    say("smccc", smc(0x80000000, 0, 0, 0));
    say("features_cpu_on", smc(0x8400000a, 0xc4000003, 0, 0));
    say("features_nonsense", smc(0x8400000a, 0x84001234, 0, 0));
    say("nonsense", smc(0xc400beef, 0, 0, 0));
    say("migrate_type", smc(0x84000006, 0, 0, 0));
    say("on_self", smc(0xc4000003, 0, here, 0));
    say("on_parked", smc(0xc4000003, 1, here, 7));
    say("on_none", smc(0xc4000003, 15, here, 0));
    say("on_bad_aff0", smc(0xc4000003, 16, here, 0));
    say("on_bad_aff2", smc(0xc4000003, 1 << 16 | 1, here, 0));
    say("on_bad_aff3", smc(0xc4000003, 1ul << 32 | 1, here, 0));
    say("on_bad_entry", smc(0xc4000003, 1, here + 2, 0));
    say("info_self", smc(0xc4000004, 0, 0, 0));
    say("info_parked", smc(0xc4000004, 1, 0, 0));
    say("info_level", smc(0xc4000004, 1, 1, 0));
    say("info_none", smc(0xc4000004, 0xff, 0, 0));
}

static void secure_world(void)
{
    say("read_link", probe(VIRT_UART1_BASE));
    say("read_secure_ram", probe(VIRT_SECURE_RAM_BASE));
    say("read_flash", probe(0));
    say("read_power_gpio", probe(VIRT_SECURE_GPIO_BASE));
    u64 before = faults;
    __asm__ volatile("msr S3_0_C12_C12_6, %0" ::"r"(0ul)); /* ICC_IGRPEN0_EL1 */
    say("mask_group0", faults - before);
    say("mask_group0_class", last_esr >> 26);
    /* all of these are the monitor's, and writes to them are ignored */
    u64 redist = VIRT_GICR_BASE + 0x10000;
    for (u32 n = 0; n < 4; n++)
        R32(VIRT_GICD_BASE + 0x180 + 4 * n) = ~0u; /* GICD_ICENABLER */
    R32(redist + 0x180) = ~0u;                     /* GICR_ICENABLER0 */
    R32(redist + 0x080) = ~0u;                     /* GICR_IGROUPR0 */
    R32(VIRT_GICD_BASE) = 0;                       /* GICD_CTLR */
    __asm__ volatile("msr S3_0_C4_C6_0, %0; isb" ::"r"(0ul)); /* ICC_PMR_EL1: mask all */
}

static void ring(void)
{
    R8(PAGE + PAGE_STA + 0) = 0x0d;
    R8(PAGE + PAGE_STA + 1) = 0x0f;
    record(RINGRECORD_EJECT, 0, 0);      /* cold */
    record(RINGRECORD_EJECT, 1, 0);      /* not even plugged */
    record(RINGRECORD_EJECT, 600, 0);    /* no such vCPU */
    record(77, 3, 0x12345678);           /* no such record */
    record(RINGRECORD_OST, 0xffff, 0xdeadbeef);
    bell();
    say("ring_drained", (u64)drained());
    say("sta_0", R8(PAGE + PAGE_STA + 0));
    say("sta_1", R8(PAGE + PAGE_STA + 1));
    R32(PAGE + PAGE_HEAD) += 1000; /* more than the ring holds */
    bell();
    say("overrun_drained", (u64)drained());
    R32(PAGE + PAGE_TAIL) = 12345; /* the monitor keeps its own */
    record(RINGRECORD_SCAN_ENDED, 0, 0);
    bell();
    say("tail_drained", (u64)drained());
}

static void plugged(void)
{
    u64 here = (u64)&secondary, n = 0;
    say("ready_for_plug", 0);
    wait_cell(PAGE + PAGE_INSERT + 1);
    say("on_plugged", smc(0xc4000003, 1, here, 0x5ec0));
    while (!secondary_context && ++n < PATIENCE)
        ;
    say("context", secondary_context);
    say("on_running", smc(0xc4000003, 1, here, 0));
    say("info_running", smc(0xc4000004, 1, 0, 0));
    wait_cell(PAGE + PAGE_REMOVE + 1);
    record(RINGRECORD_EJECT, 1, 0); /* asked for, but it runs */
    bell();
    say("eject_drained", (u64)drained());
    say("sta_running", R8(PAGE + PAGE_STA + 1));
    say("on_still", smc(0xc4000003, 1, here, 0));
    while (R8(PAGE + PAGE_STA + 1) == 0x0f) /* until the host takes it */
        ;
    while (smc(0xc4000004, 1, 0, 0) != 1)
        ;
    say("on_revoked", smc(0xc4000003, 1, here, 0));
}

void main_entry(void)
{
    psci();
    secure_world();
    ring();
    plugged();
    R32(RTC + 0x10) = 0; /* silence the doorbell: the monitor listens to the host still */
    say("done", faults);
    wait_cell(PAGE + PAGE_INSERT + 1);
    smc(0x84000008, 0, 0, 0);
    for (;;)
        ;
}

__asm__(".section .text.boot, \"ax\"\n"
        ".global _start\n"
        "_start: adr x1, vectors\n"
        "msr vbar_el1, x1\n"
        "adr x1, _start\n"
        "add x1, x1, #0x100000\n" /* a stack a megabyte above */
        "mov sp, x1\n"
        "bl main_entry\n"
        ".global secondary\n"
        "secondary: adrp x1, secondary_context\n"
        "add x1, x1, :lo12:secondary_context\n"
        "str x0, [x1]\n"
        "1: b 1b\n"
        ".balign 2048\n"
        "vectors: .rept 16\n"
        ".balign 128\n"
        "b fault\n"
        ".endr\n"
        "fault: stp x1, x2, [sp, #-16]!\n"
        "adrp x1, faults\n"
        "add x1, x1, :lo12:faults\n"
        "ldr x2, [x1]\n"
        "add x2, x2, #1\n"
        "str x2, [x1]\n"
        "adrp x1, last_esr\n"
        "add x1, x1, :lo12:last_esr\n"
        "mrs x2, esr_el1\n"
        "str x2, [x1]\n"
        "mrs x1, elr_el1\n"
        "add x1, x1, #4\n" /* past the access, or the instruction that was UNDEFINED */
        "msr elr_el1, x1\n"
        "ldp x1, x2, [sp], #16\n"
        "eret\n");
