/* PSCI 1.1 over SMC (Arm DEN0022) and SMCCC_VERSION (Arm DEN0028): the guest's power calls. */
#include "monitor.h"

#define SMCCC_VERSION 0x80000000u
#define PSCI_VERSION 0x84000000u
#define PSCI_CPU_SUSPEND 0x84000001u
#define PSCI_CPU_OFF 0x84000002u
#define PSCI_CPU_ON 0x84000003u
#define PSCI_AFFINITY_INFO 0x84000004u
#define PSCI_MIGRATE_INFO_TYPE 0x84000006u
#define PSCI_SYSTEM_OFF 0x84000008u
#define PSCI_SYSTEM_RESET 0x84000009u
#define PSCI_FEATURES 0x8400000au
#define SMC64 0x40000000u

#define NOT_SUPPORTED (-1)
#define INVALID_PARAMETERS (-2)
#define DENIED (-3)
#define ALREADY_ON (-4)
#define ON_PENDING (-5)
#define INVALID_ADDRESS (-9)
#define NO_TRUSTED_OS 2
#define VERSION_1_1 0x10001

#define GPIO_DIR (VIRT_SECURE_GPIO_BASE + 0x400)
#define GPIO_POWER_OFF 0 /* the lines of virt's gpio-pwr: hw/arm/virt.c */
#define GPIO_RESET 1

static NORETURN void pull(u32 line)
{
    R32(GPIO_DIR) = 1u << line;
    R32(VIRT_SECURE_GPIO_BASE + (4ul << line)) = 1u << line; /* address bits are the mask */
    for (;;)
        WFI();
}

static int slot_of(u64 mpidr)
{
    u64 slot = (mpidr >> 8 & 0xff) * TOPOLOGY_AFF0_WIDTH + (mpidr & 0xff);
    if (mpidr & ~0xfffful || (mpidr & 0xff) >= TOPOLOGY_AFF0_WIDTH || slot >= slots_count)
        return -1;
    return (int)slot;
}

static int cpu_on(u32 caller, u64 mpidr, u64 entry, u64 context)
{
    int target = slot_of(mpidr);
    if (target < 0)
        return INVALID_PARAMETERS;
    if (entry & 3)
        return INVALID_ADDRESS;
    struct slot *s = &slots[target];
    int answer = 0;
    lock_take();
    if (s->allowed && s->power == POWER_ON)
        answer = ALREADY_ON;
    else if (s->allowed && s->power == POWER_PENDING)
        answer = ON_PENDING;
    else {
        u64 call[5] = {(u64)target, caller, s->allowed, entry, context};
        report_fields(EVENT_CPU_ON, call);
        if (!s->allowed) {
            answer = DENIED;
        } else {
            s->entry = entry;
            s->context = context;
            s->power = POWER_PENDING;
            gic_wake((u32)target);
        }
    }
    lock_release();
    return answer;
}

static void cpu_off(u32 me)
{
    lock_take();
    slots[me].power = POWER_OFF;
    report_slot(EVENT_CPU_OFF, me);
    lock_release();
}

static int affinity_info(u64 mpidr, u64 level)
{
    int target = slot_of(mpidr);
    return target < 0 || level ? INVALID_PARAMETERS : slots[target].power;
}

static int has(u32 function)
{
    switch (function) {
    case SMCCC_VERSION:
    case PSCI_VERSION:
    case PSCI_CPU_SUSPEND:
    case PSCI_CPU_SUSPEND | SMC64:
    case PSCI_CPU_OFF:
    case PSCI_CPU_ON:
    case PSCI_CPU_ON | SMC64:
    case PSCI_AFFINITY_INFO:
    case PSCI_AFFINITY_INFO | SMC64:
    case PSCI_MIGRATE_INFO_TYPE:
    case PSCI_SYSTEM_OFF:
    case PSCI_SYSTEM_RESET:
    case PSCI_FEATURES:
        return 0;
    }
    return NOT_SUPPORTED;
}

/* The answer to an SMC, for x0. args[0] is the function, args[1..3] its arguments; the
 * 32-bit calling convention has 32-bit arguments. `*off` says whether the caller is off now:
 * then it gets no answer, and must be parked. */
u64 psci_call(u32 me, const u64 *args, bool8 *off)
{
    u32 function = (u32)args[0];
    u64 mask = function & SMC64 ? ~0ul : 0xfffffffful;
    u64 a = args[1] & mask, b = args[2] & mask, c = args[3] & mask;
    int answer = NOT_SUPPORTED;

    *off = 0;
    switch (function) {
    case SMCCC_VERSION:
    case PSCI_VERSION:
        answer = VERSION_1_1;
        break;
    case PSCI_CPU_SUSPEND: /* standby: wait here for whatever would wake the guest */
    case PSCI_CPU_SUSPEND | SMC64:
        WFI();
        answer = 0;
        break;
    case PSCI_CPU_OFF:
        cpu_off(me);
        *off = 1;
        break;
    case PSCI_CPU_ON:
    case PSCI_CPU_ON | SMC64:
        answer = cpu_on(me, a, b, c);
        break;
    case PSCI_AFFINITY_INFO:
    case PSCI_AFFINITY_INFO | SMC64:
        answer = affinity_info(a, b);
        break;
    case PSCI_MIGRATE_INFO_TYPE:
        answer = NO_TRUSTED_OS;
        break;
    case PSCI_SYSTEM_OFF:
        lock_take();
        report_event(EVENT_SYSTEM_OFF);
        lock_release();
        pull(GPIO_POWER_OFF);
    case PSCI_SYSTEM_RESET:
        pull(GPIO_RESET);
    case PSCI_FEATURES:
        answer = has((u32)a);
        break;
    }
    return (u64)(long)answer;
}
