/* The policy page: hpcore writes what is granted, the interposer what it sees. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "interposer.h"

static struct wire_page *page;

/* hpcore is trusted, its page is checked all the same: a wrong one must not look like a right one. */
void page_open(int fd)
{
    struct stat stat;
    int seals = fcntl(fd, F_GET_SEALS);
    if (fstat(fd, &stat) || stat.st_size < (off_t)sizeof *page)
        fail_closed("the policy page is too small", 0);
    if (seals < 0 || !(seals & F_SEAL_SHRINK))
        fail_closed("the policy page is not sealed against shrinking", 0);
    page = mmap(NULL, sizeof *page, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (page == MAP_FAILED)
        fail_closed("cannot map the policy page", errno);
    if (page->magic != WIRE_MAGIC || page->version != WIRE_VERSION)
        fail_closed("the policy page is of another version of hpcore", 0);
    if (page->possible < 1 || page->possible > WIRE_VCPUS)
        fail_closed("the policy page names an impossible number of vCPUs", 0);
}

bool page_is_kept(void)
{
    return page->kept;
}

uint32_t page_possible(void)
{
    return page->possible;
}

uint32_t page_spi(void)
{
    return page->spi;
}

bool page_has(uint64_t address)
{
    for (int i = 0; i < WIRE_REGIONS; i++)
        if (address - page->region[i].base < page->region[i].size)
            return true;
    return false;
}

bool page_granted(uint32_t index)
{
    return index < page->possible && __atomic_load_n(&page->granted[index], __ATOMIC_ACQUIRE) == 1;
}

bool page_allows(void)
{
    return __atomic_load_n(&page->allowed, __ATOMIC_ACQUIRE)
        == __atomic_load_n(&page->resets, __ATOMIC_RELAXED) + 1;
}

bool page_has_allowed(void)
{
    return __atomic_load_n(&page->allowed, __ATOMIC_ACQUIRE) != 0;
}

uint32_t page_count_reset(void)
{
    return __atomic_add_fetch(&page->resets, 1, __ATOMIC_RELEASE);
}

bool page_force_wanted(uint32_t index)
{
    return __atomic_load_n(&page->force[index], __ATOMIC_ACQUIRE)
        != __atomic_load_n(&page->seen[index].forced, __ATOMIC_RELAXED);
}

/* Called once the vCPU is off. A force that comes after the load is another one. */
void page_set_forced(uint32_t index)
{
    uint32_t wanted = __atomic_load_n(&page->force[index], __ATOMIC_ACQUIRE);
    __atomic_store_n(&page->seen[index].forced, wanted, __ATOMIC_RELEASE);
}

uint32_t page_gic_wanted(uint32_t index)
{
    return __atomic_load_n(&page->gic[index], __ATOMIC_ACQUIRE);
}

bool page_gic_is_due(uint32_t index)
{
    return page_gic_wanted(index) != __atomic_load_n(&page->seen[index].gic, __ATOMIC_RELAXED);
}

void page_set_gic(uint32_t index, uint32_t done)
{
    __atomic_store_n(&page->seen[index].gic, done, __ATOMIC_RELEASE);
}

void page_set_affinity(uint32_t index, uint32_t affinity)
{
    __atomic_store_n(&page->seen[index].affinity, affinity, __ATOMIC_RELEASE);
}

void page_set_thread(uint32_t index, uint32_t tid)
{
    __atomic_store_n(&page->seen[index].tid, tid, __ATOMIC_RELEASE);
}

void page_set_powered(uint32_t index, bool on)
{
    __atomic_store_n(&page->seen[index].powered, on, __ATOMIC_RELEASE);
}

void page_count_run(uint32_t index)
{
    uint64_t runs = __atomic_load_n(&page->seen[index].runs, __ATOMIC_RELAXED);
    __atomic_store_n(&page->seen[index].runs, runs + 1, __ATOMIC_RELAXED);
}

/* The message before the count: who reads the count finds what is counted. */
void page_remember(const struct wire_message *message, bool asks)
{
    uint64_t number = page->told + 1;
    page->last[number % WIRE_TOLD] = *message;
    if (asks)
        __atomic_store_n(&page->asked, number, __ATOMIC_RELEASE);
    __atomic_store_n(&page->told, number, __ATOMIC_RELEASE);
}

void page_has_answer(void)
{
    __atomic_store_n(&page->asked, 0, __ATOMIC_RELEASE);
}

uint64_t page_told(void)
{
    return page->told;
}

uint64_t page_asked(void)
{
    return page->asked;
}
