/* The host's requests: one function for each step, each of which knows what must hold.
 *
 * A request out of order is refused with a status and changes nothing. The host's core
 * keeps the order; this is the second lock on the same door.
 */
#include "monitor.h"

struct slot slots[TOPOLOGY_MAX_POSSIBLE];
volatile u32 slots_count;   /* redistributors found by INIT; 0 until then */
volatile u32 slots_epoch;   /* of resets, so that a request from before one is known as such */
volatile u32 slots_running; /* vCPU 0 is to enter the kernel, or has */
static u32 ready;           /* INIT has been obeyed since the last reset */

/* vCPU 0 counts as ON from RUN; before that every vCPU is in EL3 and OFF. */
void slots_reset(void)
{
    slots_count = 0;
    slots_running = ready = 0;
    for (u32 i = 0; i < TOPOLOGY_MAX_POSSIBLE; i++) {
        struct slot *s = &slots[i];
        s->realized = s->bound = s->wired = s->allowed = 0;
        s->requested = s->ejected = s->cold = s->revoke = 0;
        s->frame = 0;
        s->power = POWER_OFF;
    }
}

static u32 init(u32 wanted, u32 *found)
{
    if (wanted != slots_epoch)
        return STATUS_STALE_EPOCH;
    if (slots_running)
        return STATUS_RUNNING;
    slots_reset();
    page_reset();
    page_arm_doorbell();
    slots_count = *found = gic_init(slots);
    ready = 1;
    return STATUS_OK;
}

static u32 run(void)
{
    if (slots_running)
        return STATUS_RUNNING;
    if (!slots[0].allowed)
        return STATUS_NOT_ENABLED;
    slots[0].power = POWER_ON;
    slots_running = 1;
    return STATUS_OK;
}

static u32 realize(struct slot *s, u32 cold)
{
    if (s->realized)
        return STATUS_STILL_REALIZED;
    if (s->power != POWER_OFF)
        return STATUS_STILL_ON;
    s->realized = 1;
    s->cold = cold || s == &slots[0];
    return STATUS_OK;
}

static u32 bind(struct slot *s, u32 *affinity)
{
    if (!s->realized)
        return STATUS_NOT_REALIZED;
    if (s->bound)
        return STATUS_STILL_BOUND;
    if (!s->frame)
        return STATUS_NO_FRAME;
    if (!gic_bind(s))
        return STATUS_GIC_STUCK;
    s->bound = 1;
    *affinity = gic_affinity(s);
    return STATUS_OK;
}

static u32 wire(struct slot *s)
{
    if (!s->bound)
        return STATUS_NOT_BOUND;
    if (s->wired)
        return STATUS_STILL_WIRED;
    gic_wire(s);
    s->wired = 1;
    return STATUS_OK;
}

static void allow(u32 slot, u32 allowed)
{
    slots[slot].allowed = (u8)allowed;
    slots[slot].ejected = 0;
    page_sta(slot, allowed ? ACPI_STA_ENABLED : ACPI_STA_PRESENT);
}

static u32 enable(u32 slot)
{
    if (!slots[slot].wired)
        return STATUS_NOT_WIRED;
    if (slots[slot].allowed)
        return STATUS_STILL_ENABLED;
    slots[slot].requested = 0;
    allow(slot, 1);
    return STATUS_OK;
}

static u32 notify_insert(u32 slot)
{
    if (!slots[slot].allowed)
        return STATUS_NOT_ENABLED;
    page_set(PAGE_INSERT, slot, 1);
    gic_raise_ged();
    return STATUS_OK;
}

static u32 notify_remove(u32 slot)
{
    if (slots[slot].cold)
        return STATUS_COLD;
    if (!slots[slot].allowed)
        return STATUS_NOT_ENABLED;
    slots[slot].requested = 1;
    page_set(PAGE_REMOVE, slot, 1);
    gic_raise_ged();
    return STATUS_OK;
}

/* Also after an eject, which has taken the permission already. */
static u32 disable(u32 slot)
{
    struct slot *s = &slots[slot];
    if (s->cold)
        return STATUS_COLD;
    if (!s->realized)
        return STATUS_NOT_REALIZED;
    allow(slot, 0);
    s->requested = 0;
    page_set(PAGE_INSERT, slot, 0);
    page_set(PAGE_REMOVE, slot, 0);
    return STATUS_OK;
}

/* Take a running vCPU from the guest: its wake SGI brings it to EL3, whatever it does, and
 * it answers from there. `*later` is set unless it is off already. */
static u32 power_off(u32 slot, u32 tag, bool8 *later)
{
    struct slot *s = &slots[slot];
    if (s->cold)
        return STATUS_COLD;
    if (s->allowed)
        return STATUS_STILL_ENABLED;
    if (s->revoke)
        return STATUS_BUSY;
    if (s->power == POWER_OFF)
        return STATUS_OK;
    s->revoke_tag = tag;
    s->revoke = 1;
    gic_wake(slot);
    *later = 1;
    return STATUS_OK;
}

static u32 unwire(struct slot *s)
{
    if (!s->wired)
        return STATUS_NOT_WIRED;
    if (s->allowed)
        return STATUS_STILL_ENABLED;
    if (s->power != POWER_OFF)
        return STATUS_STILL_ON;
    gic_unwire(s);
    s->wired = 0;
    return STATUS_OK;
}

static u32 unbind(struct slot *s)
{
    if (!s->bound)
        return STATUS_NOT_BOUND;
    if (s->wired)
        return STATUS_STILL_WIRED;
    gic_unbind(s);
    s->bound = 0;
    return STATUS_OK;
}

/* The vCPU's QEMU thread lives on, waiting in EL3's park loop: that it is there and that
 * no interrupt of its own can wake it is what "stopped" means here. */
static u32 stop(const struct slot *s)
{
    if (!s->realized)
        return STATUS_NOT_REALIZED;
    if (s->bound)
        return STATUS_STILL_BOUND;
    return s->power == POWER_OFF ? STATUS_OK : STATUS_STILL_ON;
}

static u32 release(const struct slot *s)
{
    return stop(s);
}

/* Also for a slot that was never realized: the way back of a plug that failed at once. */
static u32 park_slot(struct slot *s)
{
    if (s->bound)
        return STATUS_STILL_BOUND;
    if (s->power != POWER_OFF)
        return STATUS_STILL_ON;
    s->realized = s->cold = s->requested = s->ejected = 0;
    return STATUS_OK;
}

/* The host refused an eject. The permission comes back where the monitor had taken it; a
 * slot that was not enabled to begin with shows what it is. */
static u32 reassert(u32 slot)
{
    allow(slot, slots[slot].allowed || slots[slot].ejected);
    return STATUS_OK;
}

static u32 query(u32 slot)
{
    const struct slot *s = &slots[slot];
    return page_read_sta(slot) << STATEBIT_STA | (u32)s->power << STATEBIT_POWER
           | (u32)s->realized << STATEBIT_REALIZED | (u32)s->bound << STATEBIT_BOUND
           | (u32)s->wired << STATEBIT_WIRED | (u32)s->allowed << STATEBIT_ALLOWED
           | (u32)s->requested << STATEBIT_REQUESTED | (u32)s->cold << STATEBIT_COLD
           | (u32)s->ejected << STATEBIT_EJECTED;
}

bool8 slots_request(u32 op, u32 slot, u32 arg, u32 tag, u32 *status, u32 *value)
{
    bool8 later = 0;
    if (op == OP_INIT)
        *status = init(arg, value);
    else if (!ready)
        *status = STATUS_NOT_READY;
    else if (op == OP_RUN)
        *status = run();
    else if (op == OP_RAISE_GED)
        gic_raise_ged();
    else if (slot >= slots_count)
        *status = STATUS_NO_SLOT;
    else {
        struct slot *s = &slots[slot];
        switch (op) {
        case OP_QUERY: *value = query(slot); break;
        case OP_REALIZE: *status = realize(s, arg); break;
        case OP_BIND: *status = bind(s, value); break;
        case OP_WIRE: *status = wire(s); break;
        case OP_ENABLE: *status = enable(slot); break;
        case OP_NOTIFY_INSERT: *status = notify_insert(slot); break;
        case OP_NOTIFY_REMOVE: *status = notify_remove(slot); break;
        case OP_DISABLE: *status = disable(slot); break;
        case OP_POWER_OFF: *status = power_off(slot, tag, &later); break;
        case OP_UNWIRE: *status = unwire(s); break;
        case OP_UNBIND: *status = unbind(s); break;
        case OP_STOP: *status = stop(s); break;
        case OP_RELEASE: *status = release(s); break;
        case OP_PARK: *status = park_slot(s); break;
        case OP_REASSERT: *status = reassert(slot); break;
        default: *status = STATUS_UNKNOWN_OP;
        }
    }
    return later;
}

/* The guest says it has ejected `slot`, which may be any number. AML may have written the
 * _STA cell. The eject counts only where the host asked for it and EL3 itself has seen the
 * vCPU go off; the permission goes at this instant, before the host hears of it. */
void slots_eject(u32 slot)
{
    if (slot >= slots_count)
        return;
    struct slot *s = &slots[slot];
    bool8 granted = s->allowed && s->requested && !s->cold && s->power == POWER_OFF;
    if (granted) {
        s->requested = 0;
        allow(slot, 0);
        s->ejected = 1;
    } else {
        page_sta(slot, s->allowed ? ACPI_STA_ENABLED : ACPI_STA_PRESENT);
    }
}
