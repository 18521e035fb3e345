/* What the records mean that AML has put into the page, and what the host hears of them.
 *
 * Any record may be the guest's invention: only an eject changes anything here, and it is
 * judged by the monitor's own state.
 */
#include "monitor.h"

static void take(struct ring_record r)
{
    switch (r.kind) {
    case RINGRECORD_SCAN_STARTED:
        report_event(EVENT_SCAN_STARTED);
        break;
    case RINGRECORD_SCAN_ENDED:
        report_event(EVENT_SCAN_ENDED);
        break;
    case RINGRECORD_INSERT_ACKED:
        report_slot(EVENT_INSERT_ACKED, r.slot);
        break;
    case RINGRECORD_REMOVE_ACKED:
        report_slot(EVENT_REMOVE_ACKED, r.slot);
        break;
    case RINGRECORD_EJECT:
        slots_eject(r.slot);
        report_slot(EVENT_EJECT, r.slot);
        break;
    case RINGRECORD_OST: {
        u64 ost[3] = {r.slot, r.argument >> 16, r.argument & 0xffff};
        report_fields(EVENT_OST, ost);
        break;
    }
    default: {
        u64 stray[3] = {r.kind, r.slot, r.argument};
        report_fields(EVENT_STRAY, stray);
    }
    }
}

/* Read what AML has written since last time, at most one ring's worth: a guest that keeps
 * writing gets another interrupt, and does not keep vCPU 0 in EL3. */
void calls_drain(void)
{
    page_arm_doorbell();
    u32 unread = page_unread();
    if (unread > PAGE_RING_RECORDS) {
        u64 lost = unread - PAGE_RING_RECORDS;
        report_fields(EVENT_OVERRUN, &lost);
        page_skip((u32)lost);
        unread = PAGE_RING_RECORDS;
    }
    for (; unread; unread--) {
        take(page_record());
        page_pass(); /* only now: TAIL says that the record is done with */
    }
    if (page_unread())
        gic_pend(VIRT_RTC_GSI);
}
