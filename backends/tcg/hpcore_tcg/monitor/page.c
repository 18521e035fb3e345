/* The page shared with AML, and the doorbell with which AML calls for attention: where
 * things lie, not what they mean.
 *
 * hpcore/platform/hotplug_page.py is the page's layout. The guest can write anything here:
 * a record is read once, and `tail` is kept where the guest cannot reach it.
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
void page_arm_doorbell(void)
{
    R32(RTC_ICR) = 1;
    R32(RTC_IMSC) = 1;
}

/* How many records AML has written that are not passed yet. More than the ring holds: the
 * oldest are overwritten. */
u32 page_unread(void)
{
    return R32(PAGE + PAGE_HEAD) - tail;
}

/* Leave out `count` records that are overwritten. */
void page_skip(u32 count)
{
    tail += count;
}

/* The oldest record that is not passed yet. */
struct ring_record page_record(void)
{
    u64 at = PAGE + PAGE_RING + (u64)(tail % PAGE_RING_RECORDS) * PAGE_RECORD_SIZE;
    u32 word = R32(at), argument = R32(at + 4);
    return (struct ring_record){word & 0xffff, word >> 16, argument};
}

/* The oldest record is done with: AML may write over it. */
void page_pass(void)
{
    tail++;
    R32(PAGE + PAGE_TAIL) = tail;
}
