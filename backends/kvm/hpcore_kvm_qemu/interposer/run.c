/* Around KVM_RUN: exits that are hpcore's are answered and the vCPU goes on; all others, and every
 * EINTR, are QEMU's. */
#define _GNU_SOURCE
#include <errno.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "interposer.h"

#define HOLD_NAP_NS 2000000

static bool is_wanted(struct vcpu *vcpu)
{
    return __atomic_load_n(&vcpu->caller, __ATOMIC_ACQUIRE) || page_force_wanted(vcpu->index)
        || page_gic_is_due(vcpu->index);
}

/* What others want of this vCPU: on its own thread, outside of KVM_RUN, nothing left to finish. */
static void serve(struct vcpu *vcpu)
{
    if (!is_wanted(vcpu))
        return;
    vcpu_lock();
    if (page_force_wanted(vcpu->index)) {
        vcpu_stop(vcpu);
        page_set_forced(vcpu->index);
        link_tell((struct wire_message){.type = WIRE_FORCED, .vcpu = vcpu->index});
    }
    if (page_gic_is_due(vcpu->index) && !vcpu_must_leave(vcpu))
        gic_reset(vcpu);
    /* The call waits for the reset: its caller kicks this thread until it is taken, or withdraws. */
    if (!page_gic_is_due(vcpu->index))
        call_take(vcpu);
    vcpu_unlock();
}

static void first_run(struct vcpu *vcpu)
{
    vcpu_lock();
    machine_start(vcpu);
    __atomic_store_n(&vcpu->tid, (uint32_t)syscall(SYS_gettid), __ATOMIC_RELEASE);
    page_set_thread(vcpu->index, vcpu->tid);
    vcpu_unlock();
}

/* Waits while the machine is held or the gate is closed; what others want is done meanwhile.
 * True: this thread may be in KVM_RUN. False: QEMU wants it first. */
static bool enter(struct vcpu *vcpu)
{
    const struct timespec nap = {0, HOLD_NAP_NS};
    for (;;) {
        serve(vcpu);
        bool held = machine_is_held();
        if (!held && gate_enter(vcpu))
            return true;
        if (vcpu_must_leave(vcpu))
            return false;
        if (held)
            nanosleep(&nap, NULL);  /* a signal ends it, or came just before and costs a nap */
        else
            gate_wait();
    }
}

/* KVM finishes a load at the next KVM_RUN, and would do so on a vCPU that was reset in between. So
 * that comes first, and where there is something to be done, with no instruction of the guest;
 * QEMU, which clears immediate_exit, then comes back. */
static void enter_to_finish(struct vcpu *vcpu)
{
    if (is_wanted(vcpu) || machine_is_held())
        __atomic_store_n(&vcpu->run->immediate_exit, 1, __ATOMIC_RELEASE);
    while (!gate_enter(vcpu))
        gate_wait();
}

static void turn_off(struct vcpu *vcpu)
{
    vcpu_lock();
    /* first, so that a guest which waits for AFFINITY_INFO and then ejects is never ahead */
    link_tell((struct wire_message){.type = WIRE_CPU_OFF, .vcpu = vcpu->index});
    vcpu_stop(vcpu);
    vcpu_unlock();
}

enum next { GO_ON, TO_QEMU, REWOUND };

static enum next hypercall(struct vcpu *vcpu)
{
    uint64_t function = vcpu->run->hypercall.nr;
    if (vcpu->run->hypercall.flags & K_HYPERCALL_EXIT_SMC) {
        vcpu_set(vcpu, K_REG_X(0), (uint64_t)(int64_t)PSCI_NOT_SUPPORTED);
        return GO_ON;
    }
    switch (function) {
    case PSCI_CPU_ON_32:
    case PSCI_CPU_ON_64:
        return call_make(vcpu, function == PSCI_CPU_ON_64) ? GO_ON : REWOUND;
    case PSCI_CPU_OFF:
        turn_off(vcpu);
        return GO_ON;
    default:
        return TO_QEMU;
    }
}

/* A store is answered as well: once the guest is past _EJ0, the grant is gone. */
static enum next mmio(struct vcpu *vcpu)
{
    struct k_run *run = vcpu->run;
    uint64_t value = 0;
    uint32_t bytes = run->mmio.len;
    if (!page_has(run->mmio.phys_addr) || bytes > sizeof value)
        return TO_QEMU;
    struct wire_message message = {.type = WIRE_READ, .vcpu = vcpu->index,
                                   .a = run->mmio.phys_addr, .b = bytes};
    if (run->mmio.is_write) {
        message.type = WIRE_WRITE;
        memcpy(&message.c, run->mmio.data, bytes);
    }
    link_ask(message, &value);  /* hpcore is gone: a load reads 0, a store is nothing */
    if (!run->mmio.is_write)
        memcpy(run->mmio.data, &value, bytes);
    return GO_ON;
}

static enum next answer(struct vcpu *vcpu)
{
    switch (vcpu->run->exit_reason) {
    case K_EXIT_HYPERCALL:
        return hypercall(vcpu);
    case K_EXIT_MMIO:
        return mmio(vcpu);
    default:
        return TO_QEMU;
    }
}

int run_loop(struct vcpu *vcpu)
{
    if (!vcpu->tid)
        first_run(vcpu);
    for (;;) {
        if (vcpu->unsettled) {
            enter_to_finish(vcpu);
        } else if (!enter(vcpu)) {
            errno = EINTR;
            return -1;
        }
        page_count_run(vcpu->index);
        int result = host_ioctl(vcpu->fd, K_RUN, 0), error = errno;
        gate_leave(vcpu);
        vcpu->unsettled = !result && vcpu->run->exit_reason == K_EXIT_MMIO;
        enum next next = TO_QEMU;
        if (!result)
            next = answer(vcpu);
        if (next == GO_ON)
            continue;
        if (next == REWOUND) {
            result = -1;
            error = EINTR;
        }
        if (!vcpu->unsettled)
            serve(vcpu);
        errno = error;
        return result;
    }
}
