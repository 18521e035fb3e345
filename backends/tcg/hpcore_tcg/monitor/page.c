/* The page shared with AML, and the doorbell with which AML calls for attention.
 *
 * hpcore/platform/hotplug_page.py is its layout. The guest can write anything here: a
 * record is read once and judged by the monitor's own state, and `tail` is kept where
 * the guest cannot reach it.
 */
#include "monitor.h"

#define PAGE PAGE_PAGE_BASE
#define RTC_ICR (VIRT_RTC_BASE + 0x1c)
#define RTC_IMSC (VIRT_RTC_BASE + 0x10)

static u32 tail;

void page_sta(u32 slot, u32 sta)
{
    R8(PAGE + PAGE_STA + slot) = (u8)sta;
}

u32 page_read_sta(u32 slot)
{
    return R8(PAGE + PAGE_STA + slot);
}

void page_set(u32 cells, u32 slot, u32 value)
{
    R8(PAGE + cells + slot) = (u8)value;
    BARRIER();
}

/* Every slot shows PRESENT and no more, because INIT calls slots_reset just before, which
 * takes the permission from all of them. */
void page_reset(void)
{
    tail = 0;
    R32(PAGE + PAGE_HEAD) = 0;
    R32(PAGE + PAGE_TAIL) = 0;
    for (u32 i = 0; i < TOPOLOGY_MAX_POSSIBLE; i++) {
        page_sta(i, ACPI_STA_PRESENT);
        page_set(PAGE_INSERT, i, 0);
        page_set(PAGE_REMOVE, i, 0);
    }
}

/* AML sets the RTC's alarm to now; the alarm's interrupt is the monitor's. The mask is
 * set again at every turn, since the guest can reach the RTC and might have cleared it. */
void doorbell_arm(void)
{
    R32(RTC_ICR) = 1;
    R32(RTC_IMSC) = 1;
}

static void record(u32 kind, u32 slot, u32 argument)
{
    switch (kind) {
    case RINGRECORD_SCAN_STARTED:
        report(EVENT_SCAN_STARTED);
        break;
    case RINGRECORD_SCAN_ENDED:
        report(EVENT_SCAN_ENDED);
        break;
    case RINGRECORD_INSERT_ACKED:
        report_slot(EVENT_INSERT_ACKED, slot);
        break;
    case RINGRECORD_REMOVE_ACKED:
        report_slot(EVENT_REMOVE_ACKED, slot);
        break;
    case RINGRECORD_EJECT:
        slots_eject(slot);
        report_slot(EVENT_EJECT, slot);
        break;
    case RINGRECORD_OST: {
        u64 ost[3] = {slot, argument >> 16, argument & 0xffff};
        report_fields(EVENT_OST, ost);
        break;
    }
    default: {
        u64 stray[3] = {kind, slot, argument};
        report_fields(EVENT_STRAY, stray);
    }
    }
}

/* Read what AML has written since last time, at most one ring's worth: a guest that keeps
 * writing gets another interrupt, and does not keep vCPU 0 in EL3. */
void page_drain(void)
{
    doorbell_arm();
    u32 head = R32(PAGE + PAGE_HEAD);
    if (head - tail > PAGE_RING_RECORDS) {
        u64 lost = head - tail - PAGE_RING_RECORDS;
        report_fields(EVENT_OVERRUN, &lost);
        tail = head - PAGE_RING_RECORDS;
    }
    while (tail != head) {
        u64 at = PAGE + PAGE_RING + (u64)(tail % PAGE_RING_RECORDS) * PAGE_RECORD_SIZE;
        u32 word = R32(at), argument = R32(at + 4);
        record(word & 0xffff, word >> 16, argument);
        tail++;
        R32(PAGE + PAGE_TAIL) = tail;
    }
    if (R32(PAGE + PAGE_HEAD) != tail)
        gic_pend(VIRT_RTC_GSI);
}
