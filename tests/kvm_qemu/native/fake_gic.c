/* The VGICv3 of the fake: what it keeps for each vCPU, and when it is busy. */
#define _GNU_SOURCE
#include <errno.h>
#include <string.h>

#include "fake.h"

#define TYPER 0x8
#define IGROUPR0 0x10080
#define ISENABLER0 0x10100
#define ICENABLER0 0x10180
#define ISPENDR0 0x10200
#define ISACTIVER0 0x10300
#define ICACTIVER0 0x10380
#define DIRT 0x5a5a5a5au
#define REG(crn, crm, op2) (3u << 14 | (crn) << 7 | (crm) << 3 | (op2))

int fake_gic = -1, fake_gic_inits, fake_gic_busy, fake_gic_refused, fake_gic_resets;
bool fake_gic_renumbers;
void (*fake_gic_hook)(void);

enum { WORDS = 14, REGS = 11 };
static const uint32_t word_at[WORDS] = {
    IGROUPR0, ISENABLER0, ISPENDR0, ISACTIVER0, 0x10400, 0x10404, 0x10408, 0x1040c, 0x10410,
    0x10414, 0x10418, 0x1041c, 0x10c00, 0x10c04,
};
/* SRE, CTLR, IGRPEN0, IGRPEN1, PMR, BPR0, BPR1, and the active priorities of 6 bits */
static const uint32_t reg_at[REGS] = {
    REG(12, 12, 5), REG(12, 12, 4), REG(12, 12, 6), REG(12, 12, 7), REG(4, 6, 0), REG(12, 8, 3),
    REG(12, 12, 3), REG(12, 8, 4), REG(12, 8, 5), REG(12, 9, 0), REG(12, 9, 1),
};
struct interface { uint32_t word[WORDS], lines; uint64_t reg[REGS]; };
static struct interface now[FAKE_VCPUS];
/* All different, and not 0: what is not read, or written elsewhere, is seen. */
static const struct interface at_reset = {
    .word = {~0u, 0xffff, 0x10, 0x20, 1, 2, 3, 4, 5, 6, 7, 8, 0xaaaaaaaa, 4},
    .lines = 0x8000,
    .reg = {7, 5 << 8, 1, 2, 3, 4, 5, 6, 7, 8, 9},
};

int fake_gic_create(struct k_create_device *device)
{
    if (device->flags & K_CREATE_DEVICE_TEST)
        return 0;
    device->fd = (uint32_t)fake_file();
    if (device->type == K_VGIC_V3)
        fake_gic = (int)device->fd;
    return 0;
}

static void unlock_until(int end)
{
    for (int i = 0; i < end; i++)
        if (fake[i].run)
            __atomic_store_n(&fake[i].holder, FREE, __ATOMIC_RELEASE);
}

/* KVM takes all vCPUs or none, and waits for nobody. */
static bool lock_all(void)
{
    for (int i = 0; i < FAKE_VCPUS; i++) {
        int is = FREE;
        if (!fake[i].run || __atomic_compare_exchange_n(&fake[i].holder, &is, THE_VGIC, false,
                                                        __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
            continue;
        if (__atomic_load_n(&fake[i].runs, __ATOMIC_ACQUIRE))
            fake_gic_refused++;
        unlock_until(i);
        return false;
    }
    return true;
}

static int place(const uint32_t *list, int count, uint32_t at)
{
    for (int i = 0; i < count; i++)
        if (list[i] == at)
            return i;
    return -1;
}

static int word(struct interface *its, uint32_t index, uint32_t at, bool is_write, uint32_t *value)
{
    if (!is_write && (at == TYPER || at == TYPER + 4)) {
        *value = at == TYPER ? (index + fake_gic_renumbers) << 8 : (index & ~15u) << 4 | (index & 15);
        return 0;
    }
    bool clears = is_write && (at == ICENABLER0 || at == ICACTIVER0);
    int i = place(word_at, WORDS, clears ? at - (ICENABLER0 - ISENABLER0) : at);
    if (i < 0)
        return ENXIO;
    if (!is_write)
        *value = its->word[i];
    else if (clears)
        its->word[i] &= ~*value;
    else if (at == ISENABLER0 || at == ISACTIVER0)
        its->word[i] |= *value;
    else
        its->word[i] = *value;
    fake_gic_resets += is_write && at == IGROUPR0;
    return 0;
}

static int access_of(struct k_device_attr *attr, bool is_write)
{
    /* of a cluster, the second byte, 16 vCPUs */
    uint32_t affinity = (uint32_t)(attr->attr >> 32), at = (uint32_t)attr->attr;
    uint32_t index = (affinity >> 8) * 16 + (affinity & 15);
    void *value = (void *)(uintptr_t)attr->addr;
    if (affinity & 0xf0 || index >= FAKE_VCPUS || !fake[index].run)
        return EINVAL;
    struct interface *its = &now[index];
    if (attr->group == K_VGIC_REDIST_REGS)
        return word(its, index, at, is_write, value);
    if (attr->group == K_VGIC_LEVEL_INFO && at == 0) {
        memcpy(is_write ? (void *)&its->lines : value, is_write ? value : (void *)&its->lines, 4);
        return 0;
    }
    int i = place(reg_at, REGS, at);
    if (attr->group != K_VGIC_CPU_SYSREGS || i < 0)
        return ENXIO;
    memcpy(is_write ? (void *)&its->reg[i] : value, is_write ? value : (void *)&its->reg[i], 8);
    return 0;
}

int fake_gic_ioctl(unsigned long request, struct k_device_attr *attr)
{
    if (attr->group == K_VGIC_CTRL) {
        for (int i = 0; i < FAKE_VCPUS; i++)
            now[i] = at_reset;
        fake_gic_inits++;
        return 0;
    }
    if (request == K_SET_DEVICE_ATTR && fake_gic_hook)
        fake_gic_hook();
    bool busy = fake_gic_busy > 0 && fake_gic_busy--;
    if (busy || !lock_all()) {
        errno = EBUSY;
        return -1;
    }
    errno = access_of(attr, request == K_SET_DEVICE_ATTR);
    unlock_until(FAKE_VCPUS);
    return errno ? -1 : 0;
}

void fake_gic_dirty(uint32_t index)
{
    for (int i = 0; i < WORDS; i++)
        now[index].word[i] = DIRT;
    for (int i = 0; i < REGS; i++)
        now[index].reg[i] = DIRT;
    now[index].lines = DIRT;
}

bool fake_gic_is_dirty(uint32_t index)
{
    struct interface seen = now[index];
    for (int i = 0; i < WORDS; i++)
        if (seen.word[i] != DIRT)
            return false;
    for (int i = 0; i < REGS; i++)
        if (seen.reg[i] != DIRT)
            return false;
    return seen.lines == DIRT;
}

bool fake_gic_is_reset(uint32_t index)
{
    return !memcmp(&now[index], &at_reset, sizeof at_reset);
}
