/* A KVM of the tests' own: what host.c asks the kernel, answered as arm64 KVM answers. */
#ifndef FAKE_H
#define FAKE_H

#include <stdbool.h>
#include <stdint.h>

#include "interposer.h"

#define FAKE_VCPUS 8
#define CODE 0x40000000u    /* where a guest of the fake runs */

struct fake_vcpu {
    int fd, vm;
    uint32_t index, tid;
    struct k_run *run;
    uint64_t x[4], pc, cntv, cntp;
    uint32_t mp_state, inits, entries, burned;
    bool inside, loads;
    struct k_vcpu_init init;
    /* The guest: fills in an exit, as KVM_RUN does before it returns. */
    void (*guest)(struct fake_vcpu *);
    int step;
};

extern struct fake_vcpu fake[FAKE_VCPUS];
extern int fake_vm, fake_filters, fake_irqfds;
extern int fake_interrupt_at;           /* this ioctl, counted from 1, ends with EINTR */
extern int fake_calls;
extern unsigned long fake_fail;         /* this request ends with ENODEV */

/* Called at the begin of a vCPU's ioctl, also of KVM_RUN. */
extern void (*fake_hook)(struct fake_vcpu *, unsigned long request, unsigned long argument);

void fake_hvc(struct fake_vcpu *vcpu, uint64_t function, uint64_t a, uint64_t b, uint64_t c);
void fake_smc(struct fake_vcpu *vcpu, uint64_t function);
void fake_load(struct fake_vcpu *vcpu, uint64_t address, uint32_t bytes);
void fake_store(struct fake_vcpu *vcpu, uint64_t address, uint32_t bytes, uint64_t value);
void fake_exit(struct fake_vcpu *vcpu, uint32_t reason);

#endif
