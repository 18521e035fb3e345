/* A gate in front of KVM_RUN: while it is closed, no vCPU of the machine is in there.
 *
 * KVM refuses the VGIC's registers while any vCPU is in KVM_RUN. So the thread that writes them
 * closes the gate, kicks the others out as QEMU does, and opens the gate again. Who comes
 * meanwhile waits in front of it. specs/vgic.pml is the same for SPIN. */
#define _GNU_SOURCE
#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "interposer.h"

#define KICK_NAP_NS 100000  /* until those inside are kicked again */
#define WAIT_NAP_NS 2000000

/* Odd while the gate is closed; written under the lock. Alone in its cache line: all threads read
 * it before each KVM_RUN. */
static struct { uint32_t turns; } __attribute__((aligned(WIRE_LINE))) gate;

/* False: it is closed. Each side writes its own word first and then reads the other's, in an order
 * that all threads agree on. So one of the two sees the other. */
bool gate_enter(struct vcpu *vcpu)
{
    __atomic_store_n(&vcpu->inside, true, __ATOMIC_SEQ_CST);
    if (!(__atomic_load_n(&gate.turns, __ATOMIC_SEQ_CST) & 1))
        return true;
    gate_leave(vcpu);
    return false;
}

void gate_leave(struct vcpu *vcpu)
{
    __atomic_store_n(&vcpu->inside, false, __ATOMIC_RELEASE);
}

/* In front of it, for a nap at most: a signal ends that, or came just before. */
void gate_wait(void)
{
    const struct timespec nap = {0, WAIT_NAP_NS};
    uint32_t now = __atomic_load_n(&gate.turns, __ATOMIC_ACQUIRE);
    if (now & 1)
        syscall(SYS_futex, &gate.turns, FUTEX_WAIT_PRIVATE, now, &nap, NULL, 0);
}

/* Of one machine: a second one would have ended QEMU. */
static bool kick_all_out(void)
{
    bool all_are_out = true;
    for (struct vcpu *vcpu = vcpu_first(); vcpu; vcpu = vcpu->next)
        if (__atomic_load_n(&vcpu->inside, __ATOMIC_SEQ_CST)) {
            host_kick(__atomic_load_n(&vcpu->tid, __ATOMIC_ACQUIRE));
            all_are_out = false;
        }
    return all_are_out;
}

/* With the lock held, on a thread that is outside itself. False: QEMU wants this thread first, and
 * the gate is open as before. A thread needs no lock to come out, so none can be stuck inside. */
bool gate_close(struct vcpu *keeper)
{
    const struct timespec nap = {0, KICK_NAP_NS};
    __atomic_add_fetch(&gate.turns, 1, __ATOMIC_SEQ_CST);
    while (!kick_all_out()) {
        if (vcpu_must_leave(keeper)) {
            gate_open();
            return false;
        }
        nanosleep(&nap, NULL);
    }
    return true;
}

void gate_open(void)
{
    __atomic_add_fetch(&gate.turns, 1, __ATOMIC_RELEASE);
    syscall(SYS_futex, &gate.turns, FUTEX_WAKE_PRIVATE, WIRE_VCPUS, NULL, NULL, 0);
}
