/* The monitor's one lock: over the table of vCPUs, the link and the page. EL3 runs with all
 * exceptions masked, so the holder is never interrupted on its own vCPU.
 */
#include "monitor.h"

static volatile u32 lock_word;

/* Once after every reset, before another vCPU looks at the monitor's variables. */
void lock_reset(void)
{
    lock_word = 0;
}

void lock_take(void)
{
    u32 old, failed;
    __asm__ volatile("1: ldaxr %w0, [%2]; cbnz %w0, 1b; stxr %w1, %w3, [%2]; cbnz %w1, 1b"
                     : "=&r"(old), "=&r"(failed)
                     : "r"(&lock_word), "r"(1)
                     : "memory");
}

void lock_release(void)
{
    __asm__ volatile("stlr wzr, [%0]" ::"r"(&lock_word) : "memory");
}
