/* The VM: each has the filter; the one that runs has hpcore's consent, its interrupt, its holds. */
#define _GNU_SOURCE
#include <errno.h>
#include <unistd.h>

#include "interposer.h"

static int started = -1;    /* under the lock */

/* QEMU makes VMs to probe the host, too; a filter there does no harm. */
void machine_set_filter(int vm)
{
    static const struct { uint32_t base, count; } ranges[] = {
        {PSCI_CPU_OFF, 2}, {PSCI_CPU_ON_64, 1},
    };
    for (unsigned i = 0; i < sizeof ranges / sizeof *ranges; i++) {
        struct k_smccc_filter filter = {.base = ranges[i].base, .nr_functions = ranges[i].count,
                                        .action = K_SMCCC_FILTER_FWD_TO_USER};
        struct k_device_attr attr = {.group = K_VM_SMCCC_CTRL, .attr = K_VM_SMCCC_FILTER,
                                     .addr = (uint64_t)(uintptr_t)&filter};
        int result;
        do
            result = host_ioctl(vm, K_SET_DEVICE_ATTR, (unsigned long)&attr);
        while (result < 0 && errno == EINTR);
        if (result < 0)
            fail_closed("this host kernel has no SMCCC filter, it came with Linux 6.4", errno);
    }
}

bool machine_started(int vm)
{
    return started == vm;
}

/* Before anything runs: all possible vCPUs are there, and their PSCI is the one that is filtered.
 * PSCI 0.1 has a CPU_ON of its own number, which the filter does not forward. */
static uint32_t check_vcpus(int vm)
{
    for (uint32_t index = 0; index < page_possible(); index++) {
        struct vcpu *vcpu = vcpu_find(vm, index);
        if (!vcpu || !vcpu->has_init)
            fail_closed("the machine starts without all of its vCPUs", 0);
        if (!(vcpu->init.features[0] & 1u << K_VCPU_PSCI_0_2))
            fail_closed("the machine's vCPUs have PSCI 0.1, which cannot be filtered", 0);
    }
    return page_possible();
}

void machine_start(struct vcpu *vcpu)
{
    struct k_irqfd irq = {.fd = (uint32_t)link_event(), .gsi = page_spi()};
    uint64_t consent;
    int result;
    if (started == vcpu->vm)
        return;
    if (started >= 0)
        fail_closed("a second VM would run in this QEMU", 0);
    uint32_t vcpus = check_vcpus(vcpu->vm);
    if (!gic_is_ready(vcpu->vm))
        fail_closed("the machine has no VGICv3 of KVM's; it needs gic-version=3", 0);
    do
        result = host_ioctl(vcpu->vm, K_IRQFD, (unsigned long)&irq);
    while (result < 0 && errno == EINTR);
    if (result < 0)
        fail_closed("cannot bind the GED's interrupt, KVM_IRQFD", errno);
    if (!link_ask((struct wire_message){.type = WIRE_START, .a = (uint64_t)vcpu->vm,
                                        .b = (uint64_t)getpid(), .c = vcpus}, &consent)
        || consent != 1)
        fail_closed("hpcore does not let this machine run", 0);
    link_keep();
    started = vcpu->vm;
}

/* QEMU pauses all vCPUs, then initialises each: the first vCPU stands for the machine. It is held
 * from here on, until hpcore has set its own state up and allows this count. */
void machine_note_reset(const struct vcpu *vcpu)
{
    if (started != vcpu->vm || vcpu->index)
        return;
    link_tell((struct wire_message){.type = WIRE_RESET, .a = page_count_reset()});
}

/* Asked before each KVM_RUN. What hpcore has let run once runs on without hpcore; a machine that is
 * kept waits for hpcore after a reset. */
bool machine_is_held(void)
{
    if (page_allows())
        return false;
    if (link_alive() || (page_is_kept() && page_has_allowed()))
        return true;
    if (!page_has_allowed())
        fail_closed("hpcore is gone before it has let the machine run", 0);
    return false;
}
