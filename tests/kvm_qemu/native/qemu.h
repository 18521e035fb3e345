/* What QEMU does with KVM, in small: its ioctls, and a vCPU's thread around KVM_RUN. */
#ifndef QEMU_H
#define QEMU_H

#include "fake.h"
#include "hub.h"

#define BLOCK 0x090c0000u   /* hpcore's registers, as the hub's page has them */

int ioctl(int fd, unsigned long request, ...);

struct qemu_vcpu {
    uint32_t index;
    int others;             /* exits that QEMU got */
    int interrupted;        /* and EINTR */
};
extern struct qemu_vcpu qemu[FAKE_VCPUS];

void qemu_load(uint32_t possible, uint32_t granted);    /* the hub, the object */
void qemu_machine(uint32_t possible, uint32_t granted); /* and a VM, its vCPUs, its VGIC */
int qemu_gic(int vm);
int qemu_init(uint32_t index, bool powered);
int qemu_put_power(uint32_t index, uint32_t mp_state);
void qemu_threads(uint32_t count);      /* vCPUs 0 to count - 1 run, until qemu_stop_all */
void qemu_pause(void);                  /* all threads are out of KVM_RUN, and wait */
void qemu_resume(void);
void qemu_stop_all(void);               /* and joins the threads */
int qemu_run(uint32_t index);           /* one KVM_RUN, on this thread */
void qemu_eat(uint32_t index);          /* clears immediate_exit */
void wait_until(bool (*is_so)(void));

/* A case is a process of its own; test_native.py finds cases by these lines. */
struct test_case { const char *name; void (*run)(void); struct test_case *next; };
extern struct test_case *test_cases;
#define CASE(title) \
    static void title(void); \
    static struct test_case case_##title = {#title, title, 0}; \
    __attribute__((constructor)) static void add_##title(void) \
    { case_##title.next = test_cases; test_cases = &case_##title; } \
    static void title(void)
/* A case that must end with 97 and these words. */
#define FAILS(title, words) CASE(title)

void check(bool so, const char *what, int line);
#define CHECK(so) check(so, #so, __LINE__)

#endif
