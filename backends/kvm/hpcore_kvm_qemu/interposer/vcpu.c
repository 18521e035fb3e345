/* QEMU's vCPUs, by their file descriptors, and what is done to one by ioctls. */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "interposer.h"

#define FDS 65536
#define RUN_BYTES 4096

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct vcpu *by_fd[FDS], *all;

void vcpu_lock(void)
{
    pthread_mutex_lock(&lock);
}

void vcpu_unlock(void)
{
    pthread_mutex_unlock(&lock);
}

static void forget(struct vcpu *vcpu)
{
    __atomic_store_n(&by_fd[vcpu->fd], NULL, __ATOMIC_RELEASE);
    vcpu->vm = -1;
}

/* close(2) is not wrapped: a number that KVM gives out again was closed before. */
void vcpu_forget_vm(int vm)
{
    for (struct vcpu *vcpu = all; vcpu; vcpu = vcpu->next)
        if (vcpu->vm == vm)
            forget(vcpu);
}

struct vcpu *vcpu_new(int vm, int fd, uint32_t index)
{
    struct vcpu *vcpu = aligned_alloc(WIRE_LINE, sizeof *vcpu);
    if (!vcpu)
        fail_closed("no memory for a vCPU", 0);
    memset(vcpu, 0, sizeof *vcpu);
    if (fd >= FDS)
        fail_closed("a vCPU's file descriptor is 65536 or more", 0);
    if (index >= page_possible())
        fail_closed("QEMU makes a vCPU that hpcore's machine does not have", 0);
    vcpu->fd = fd;
    vcpu->vm = vm;
    vcpu->index = index;
    vcpu->run = mmap(NULL, RUN_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (vcpu->run == MAP_FAILED)
        fail_closed("cannot map a vCPU's kvm_run", errno);
    if (by_fd[fd])
        forget(by_fd[fd]);
    vcpu->next = all;
    all = vcpu;
    __atomic_store_n(&by_fd[fd], vcpu, __ATOMIC_RELEASE);
    return vcpu;
}

struct vcpu *vcpu_of(int fd)
{
    return fd >= 0 && fd < FDS ? __atomic_load_n(&by_fd[fd], __ATOMIC_ACQUIRE) : NULL;
}

struct vcpu *vcpu_find(int vm, uint32_t index)
{
    for (struct vcpu *vcpu = all; vcpu; vcpu = vcpu->next)
        if (vcpu->vm == vm && vcpu->index == index)
            return vcpu;
    return NULL;
}

/* With the lock held; `next` leads to the others. */
struct vcpu *vcpu_first(void)
{
    return all;
}

/* As hpcore.model.topology has it: 16 vCPUs in a cluster. */
uint32_t vcpu_affinity(uint32_t index)
{
    return index / 16 << 8 | index % 16;
}

static void must(struct vcpu *vcpu, unsigned long request, void *argument, const char *what)
{
    int result;
    do
        result = host_ioctl(vcpu->fd, request, (unsigned long)argument);
    while (result < 0 && errno == EINTR);
    if (result < 0)
        fail_closed(what, errno);
}

uint64_t vcpu_get(struct vcpu *vcpu, uint64_t reg)
{
    uint64_t value = 0;
    struct k_one_reg one = {reg, (uint64_t)(uintptr_t)&value};
    must(vcpu, K_GET_ONE_REG, &one, "KVM_GET_ONE_REG");
    return value;
}

void vcpu_set(struct vcpu *vcpu, uint64_t reg, uint64_t value)
{
    struct k_one_reg one = {reg, (uint64_t)(uintptr_t)&value};
    must(vcpu, K_SET_ONE_REG, &one, "KVM_SET_ONE_REG");
}

void vcpu_init_again(struct vcpu *vcpu)
{
    if (!vcpu->has_init)
        fail_closed("a vCPU runs that was never initialised", 0);
    must(vcpu, K_ARM_VCPU_INIT, &vcpu->init, "KVM_ARM_VCPU_INIT");
}

void vcpu_set_powered(struct vcpu *vcpu, bool on)
{
    vcpu->powered = on;
    page_set_powered(vcpu->index, on);
}

static void set_mp_state(struct vcpu *vcpu, uint32_t state)
{
    struct k_mp_state mp_state = {state};
    must(vcpu, K_SET_MP_STATE, &mp_state, "KVM_SET_MP_STATE");
}

void vcpu_start(struct vcpu *vcpu)
{
    set_mp_state(vcpu, K_MP_STATE_RUNNABLE);
    vcpu_set_powered(vcpu, true);
}

/* KVM wakes a stopped vCPU thousands of times a second while a timer of it is due. */
void vcpu_quiet_timers(struct vcpu *vcpu)
{
    vcpu_set(vcpu, K_REG_CNTV_CTL, 0);
    vcpu_set(vcpu, K_REG_CNTP_CTL, 0);
}

void vcpu_stop(struct vcpu *vcpu)
{
    vcpu_quiet_timers(vcpu);
    set_mp_state(vcpu, K_MP_STATE_STOPPED);
    vcpu_set_powered(vcpu, false);
}

bool vcpu_must_leave(struct vcpu *vcpu)
{
    return __atomic_load_n(&vcpu->run->immediate_exit, __ATOMIC_ACQUIRE);
}
