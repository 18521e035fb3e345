/* CPU_ON from the caller's thread to the target's. specs/cpu_on.pml is the same for SPIN.
 *
 * The target's own thread carries the call out, so that no vCPU is touched from another one's. Only
 * then has the caller its answer, so that AFFINITY_INFO, which the kernel answers, is right. Where
 * QEMU wants the caller's thread first, the call is withdrawn and rewound: the guest makes it again
 * when it runs again, and a migration has nothing of it to carry. */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "interposer.h"

#define HVC_BYTES 4
#define NAP_NS 1000000  /* until the target is kicked again, and immediate_exit looked at */

/* The vCPU's number, or one that none has. */
static uint32_t index_of(uint64_t affinity)
{
    uint32_t index = (uint32_t)((affinity >> 8 & 0xff) * 16 + (affinity & 0xff));
    return index < page_possible() && vcpu_affinity(index) == affinity ? index : WIRE_VCPUS;
}

/* What a call is answered now; SUCCESS is to be carried out first. */
static int verdict(const struct vcpu *target)
{
    if (!target)
        return PSCI_INVALID_PARAMETERS;
    if (!page_granted(target->index) || !link_alive())
        return PSCI_DENIED;
    if (target->powered)
        return PSCI_ALREADY_ON;
    return PSCI_SUCCESS;
}

static void report(struct vcpu *caller, int status)
{
    link_tell((struct wire_message){
        .type = WIRE_CPU_ON, .vcpu = caller->index, .a = caller->call.affinity,
        .b = caller->call.entry, .c = caller->call.context, .d = (uint64_t)(int64_t)status});
}

static void end(struct vcpu *target, uint32_t state)
{
    struct vcpu *caller = target->caller;
    __atomic_store_n(&target->caller, NULL, __ATOMIC_RELEASE);
    __atomic_store_n(&caller->call.state, state, __ATOMIC_RELEASE);
    syscall(SYS_futex, &caller->call.state, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

/* With the lock held, on the target's thread, outside of KVM_RUN. */
void call_take(struct vcpu *target)
{
    struct vcpu *caller = target->caller;
    if (!caller)
        return;
    int status = verdict(target);   /* what was granted when it was posted may be so no more */
    if (status == PSCI_SUCCESS) {
        vcpu_init_again(target);
        vcpu_set(target, K_REG_PC, caller->call.entry);
        vcpu_set(target, K_REG_X(0), caller->call.context);
    }
    report(caller, status);         /* first, so that no CPU_OFF of the target comes before */
    if (status == PSCI_SUCCESS)
        vcpu_start(target);
    caller->call.status = status;
    end(target, CALL_ENDED);
}

/* With the lock held: the target was reset. Its caller rewinds and makes the call again. */
void call_cancel(struct vcpu *target)
{
    if (target->caller)
        end(target, CALL_CANCELLED);
}

static void wait_for(struct vcpu *caller, struct vcpu *target)
{
    const struct timespec nap = {0, NAP_NS};
    uint32_t *state = &caller->call.state;
    while (__atomic_load_n(state, __ATOMIC_ACQUIRE) == CALL_POSTED && !vcpu_must_leave(caller)) {
        uint32_t tid = __atomic_load_n(&target->tid, __ATOMIC_ACQUIRE);
        if (tid)
            host_kick(tid);
        vcpu_unlock();
        /* EINTR by a signal, which may have set immediate_exit; a signal just before costs a nap */
        syscall(SYS_futex, state, FUTEX_WAIT_PRIVATE, CALL_POSTED, &nap, NULL, 0);
        vcpu_lock();
    }
}

/* With the lock held. False: the call is withdrawn. */
static bool hand_over(struct vcpu *caller, struct vcpu *target)
{
    caller->call.state = CALL_POSTED;
    __atomic_store_n(&target->caller, caller, __ATOMIC_RELEASE);
    wait_for(caller, target);
    uint32_t state = __atomic_exchange_n(&caller->call.state, CALL_NONE, __ATOMIC_ACQ_REL);
    if (state == CALL_POSTED)
        __atomic_store_n(&target->caller, NULL, __ATOMIC_RELEASE);
    return state == CALL_ENDED;
}

bool call_make(struct vcpu *caller, bool wide)
{
    const uint64_t mask = wide ? UINT64_MAX : UINT32_MAX;
    vcpu_lock();
    caller->call.affinity = vcpu_get(caller, K_REG_X(1)) & mask;
    caller->call.entry = vcpu_get(caller, K_REG_X(2)) & mask;
    caller->call.context = vcpu_get(caller, K_REG_X(3)) & mask;
    uint32_t resets = caller->resets, index = index_of(caller->call.affinity);
    struct vcpu *target = vcpu_find(caller->vm, index);
    int status = verdict(target);
    bool answered = true;
    if (status == PSCI_SUCCESS && target->caller)
        status = PSCI_ON_PENDING;
    if (status == PSCI_SUCCESS) {
        answered = hand_over(caller, target);
        status = caller->call.status;
    } else {
        report(caller, status);
    }
    if (!answered)
        link_tell((struct wire_message){
            .type = WIRE_REWOUND, .vcpu = caller->index, .a = caller->call.affinity});
    /* A caller that was reset meanwhile has made no call: its registers are new. */
    if (caller->resets == resets) {
        if (answered)
            vcpu_set(caller, K_REG_X(0), (uint64_t)(int64_t)status);
        else
            vcpu_set(caller, K_REG_PC, vcpu_get(caller, K_REG_PC) - HVC_BYTES);
    }
    vcpu_unlock();
    return answered;
}
