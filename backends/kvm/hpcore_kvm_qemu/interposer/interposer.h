/* What the files of the interposer share. A function's name begins with its file's. */
#ifndef INTERPOSER_H
#define INTERPOSER_H

#include <stdbool.h>
#include <stdint.h>

#include "kvm_arm64.h"
#include "wire.h"

/* ------------------------------------------------- host.c: the kernel; tests have another one */

int host_ioctl(int fd, unsigned long request, unsigned long argument);
void host_kick(uint32_t tid);   /* QEMU's own: its handler sets immediate_exit */

/* ----------------------------------------------------------------------- fail.c: the way out */

/* Ends QEMU with 97 and words on stderr: never a machine that is not enforced. */
_Noreturn void fail_closed(const char *what, int error);

/* --------------------------------------------------------------------- page.c: what is granted */

void page_open(int fd);
bool page_is_kept(void);        /* the machine, when hpcore is gone */
uint32_t page_possible(void);
uint32_t page_spi(void);
bool page_has(uint64_t address);
bool page_granted(uint32_t index);
bool page_allows(void);         /* hpcore lets the machine run as it is since its last reset */
bool page_has_allowed(void);    /* ever */
uint32_t page_count_reset(void);
bool page_force_wanted(uint32_t index);
void page_set_forced(uint32_t index);
uint32_t page_gic_wanted(uint32_t index);
bool page_gic_is_due(uint32_t index);
void page_set_gic(uint32_t index, uint32_t done);
void page_set_affinity(uint32_t index, uint32_t affinity);
void page_set_thread(uint32_t index, uint32_t tid);
void page_set_powered(uint32_t index, bool on);
void page_count_run(uint32_t index);
/* these four with the link's lock held */
void page_remember(const struct wire_message *message, bool asks);
void page_has_answer(void);
uint64_t page_told(void);
uint64_t page_asked(void);

/* ------------------------------------------------------------------- packet.c: on hpcore's socket */

#ifndef PATIENCE    /* the tests' is shorter */
#define PATIENCE 20 /* seconds; a vCPU waits inside of a load no longer, and QMP's stop with it */
#endif
#define PACKET_PATH 108         /* bytes, with the 0 at its end */
#define PACKET_DESCRIPTORS 2

int packet_connect(const char *path);
bool packet_path_fits(const char *path);
int64_t packet_peer(int sock);
bool packet_send(int sock, const struct wire_message *message, const int *descriptors, int count);
bool packet_receive(int sock, uint32_t type, uint64_t *value, int *descriptor);

/* ---------------------------------------------------------------------- link.c: the link to hpcore */

void link_open(const char *path);
int link_event(void);           /* the GED's eventfd */
bool link_alive(void);          /* false while hpcore is gone */
void link_must_live(void);
bool link_tell(struct wire_message message);
bool link_ask(struct wire_message message, uint64_t *value);
void link_keep(void);           /* have an hpcore that comes back find the machine */

/* --------------------------------------------------------------------- vcpu.c: one of QEMU's vCPUs */

enum { CALL_NONE, CALL_POSTED, CALL_ENDED, CALL_CANCELLED };

struct vcpu {
    struct vcpu *next;
    int fd, vm;
    uint32_t index;
    struct k_run *run;
    /* its own thread's */
    bool unsettled;             /* KVM has an MMIO access to finish, at the next KVM_RUN */
    uint32_t tid;
    bool inside;                /* of KVM_RUN; also read by who closes the gate */
    /* under the lock */
    bool powered, has_init;
    uint32_t resets;
    struct k_vcpu_init init;
    struct vcpu *caller;        /* whose CPU_ON waits for this one; also read without the lock */
    struct {
        uint32_t state;         /* also read without the lock */
        int status;
        uint64_t affinity, entry, context;
    } call;                     /* the CPU_ON that this one makes */
} __attribute__((aligned(WIRE_LINE)));

void vcpu_lock(void);
void vcpu_unlock(void);
struct vcpu *vcpu_new(int vm, int fd, uint32_t index);
struct vcpu *vcpu_of(int fd);
struct vcpu *vcpu_find(int vm, uint32_t index);
struct vcpu *vcpu_first(void);
uint32_t vcpu_affinity(uint32_t index);
void vcpu_forget_vm(int vm);
uint64_t vcpu_get(struct vcpu *vcpu, uint64_t reg);
void vcpu_set(struct vcpu *vcpu, uint64_t reg, uint64_t value);
void vcpu_init_again(struct vcpu *vcpu);
void vcpu_set_powered(struct vcpu *vcpu, bool on);
void vcpu_start(struct vcpu *vcpu);
void vcpu_quiet_timers(struct vcpu *vcpu);
void vcpu_stop(struct vcpu *vcpu);
bool vcpu_must_leave(struct vcpu *vcpu);

/* -------------------------------------------------------------- call.c: CPU_ON from hand to hand */

bool call_make(struct vcpu *vcpu, bool wide);   /* false: rewound, go out to QEMU */
void call_take(struct vcpu *vcpu);
void call_cancel(struct vcpu *vcpu);

/* ---------------------------------------------------- gate.c: nobody in KVM_RUN while it is closed */

bool gate_enter(struct vcpu *vcpu);
void gate_leave(struct vcpu *vcpu);
void gate_wait(void);
bool gate_close(struct vcpu *keeper);           /* with the lock held, and so is gate_open */
void gate_open(void);

/* ------------------------------------------------ gic.c: the VGIC; all of it with the lock held */

void gic_note_device(int vm, int fd);
void gic_forget_vm(int vm);
void gic_note_init(int fd);
bool gic_is_ready(int vm);
void gic_reset(struct vcpu *vcpu);

/* --------------------------------------------------------------------- machine.c: the VM that runs */

void machine_set_filter(int vm);
bool machine_started(int vm);
void machine_start(struct vcpu *vcpu);          /* with the lock held */
void machine_note_reset(const struct vcpu *vcpu);   /* with the lock held */
bool machine_is_held(void);

/* ---------------------------------------------------------------------- run.c: around KVM_RUN */

int run_loop(struct vcpu *vcpu);

/* ----------------------------------------------------------------- ioctl.c: what QEMU calls */

void ioctl_load(void);          /* the constructor */

#endif
