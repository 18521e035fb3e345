/* A KVM of the tests' own: what host.c asks the kernel, answered as arm64 KVM answers. */
#ifndef FAKE_H
#define FAKE_H

#include <stdbool.h>
#include <stdint.h>

#include "interposer.h"

#define FAKE_VCPUS 20   /* more than one cluster */
#define CODE 0x40000000u    /* where a guest of the fake runs */

enum { FREE, A_THREAD, THE_VGIC };

struct fake_vcpu {
    int fd, vm;
    uint32_t index, tid;
    struct k_run *run;
    uint64_t x[4], pc, cntv, cntp;
    uint32_t mp_state, inits, entries, burned;
    int holder;                         /* FREE, or who has it: a thread, or the VGIC */
    bool runs, loads;                   /* is in KVM_RUN; has a load to finish */
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

extern int fake_gic, fake_gic_inits;    /* the VGIC's descriptor */
extern int fake_gic_busy;               /* so many accesses more end with EBUSY */
extern int fake_gic_refused;            /* accesses while a vCPU was in KVM_RUN */
extern int fake_gic_resets;             /* writes of the first register of an interface */
extern bool fake_gic_renumbers;         /* GICR_TYPER has other numbers */
extern void (*fake_gic_hook)(void);     /* at each write */

/* Called at the begin of a vCPU's ioctl, also of KVM_RUN. */
extern void (*fake_hook)(struct fake_vcpu *, unsigned long request, unsigned long argument);

int fake_gic_create(struct k_create_device *device);
int fake_gic_ioctl(unsigned long request, struct k_device_attr *attr);
void fake_gic_dirty(uint32_t index);    /* all that a guest can leave in a CPU interface */
bool fake_gic_is_dirty(uint32_t index); /* all of it, still */
bool fake_gic_is_reset(uint32_t index); /* none of it */
int fake_file(void);

void fake_hvc(struct fake_vcpu *vcpu, uint64_t function, uint64_t a, uint64_t b, uint64_t c);
void fake_smc(struct fake_vcpu *vcpu, uint64_t function);
void fake_load(struct fake_vcpu *vcpu, uint64_t address, uint32_t bytes);
void fake_store(struct fake_vcpu *vcpu, uint64_t address, uint32_t bytes, uint64_t value);
void fake_exit(struct fake_vcpu *vcpu, uint32_t reason);

#endif
