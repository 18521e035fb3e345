#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "fake.h"

struct fake_vcpu fake[FAKE_VCPUS];
int fake_vm = -1, fake_filters, fake_irqfds, fake_interrupt_at, fake_calls;
unsigned long fake_fail;
void (*fake_hook)(struct fake_vcpu *, unsigned long, unsigned long);

int fake_file(void)
{
    int fd = memfd_create("kvm", MFD_CLOEXEC);
    if (fd < 0 || ftruncate(fd, 4096))
        abort();
    return fd;
}

static struct fake_vcpu *of(int fd)
{
    for (int i = 0; i < FAKE_VCPUS; i++)
        if (fake[i].run && fake[i].fd == fd)
            return &fake[i];
    return NULL;
}

static int create_vcpu(int vm, unsigned long index)
{
    struct fake_vcpu *vcpu = &fake[index];
    void (*guest)(struct fake_vcpu *) = vcpu->guest;
    memset(vcpu, 0, sizeof *vcpu);
    vcpu->guest = guest;
    vcpu->fd = fake_file();
    vcpu->vm = vm;
    vcpu->index = (uint32_t)index;
    vcpu->run = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu->fd, 0);
    return vcpu->fd;
}

static uint64_t *reg(struct fake_vcpu *vcpu, uint64_t id)
{
    for (unsigned n = 0; n < 4; n++)
        if (id == K_REG_X(n))
            return &vcpu->x[n];
    return id == K_REG_PC ? &vcpu->pc : id == K_REG_CNTV_CTL ? &vcpu->cntv
        : id == K_REG_CNTP_CTL ? &vcpu->cntp : NULL;
}

static int leave(int error)
{
    errno = error;
    return -1;
}

static bool kicked(struct fake_vcpu *vcpu)
{
    return __atomic_load_n(&vcpu->run->immediate_exit, __ATOMIC_ACQUIRE);
}

static int run(struct fake_vcpu *vcpu)
{
    vcpu->entries++;
    if (vcpu->loads) {      /* what KVM finishes first, whatever the vCPU has become since */
        vcpu->loads = false;
        memcpy(&vcpu->x[0], vcpu->run->mmio.data, vcpu->run->mmio.len);
        vcpu->pc += 4;
    }
    while (vcpu->mp_state == K_MP_STATE_STOPPED && !kicked(vcpu)) {
        const struct timespec nap = {0, 200000};
        vcpu->burned += (vcpu->cntv | vcpu->cntp) & 1;
        nanosleep(&nap, NULL);
    }
    if (kicked(vcpu))
        return leave(EINTR);
    vcpu->guest(vcpu);
    return 0;
}

static int vcpu_ioctl(struct fake_vcpu *vcpu, unsigned long request, unsigned long argument)
{
    struct k_one_reg *one = (struct k_one_reg *)argument;
    for (int is = FREE; !__atomic_compare_exchange_n(&vcpu->holder, &is, A_THREAD, false,
                                                     __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE); is = FREE) {
        if (is == A_THREAD) {
            fputs("fake: a vCPU is touched while another thread has it\n", stderr);
            _exit(1);
        }
        sched_yield();
    }
    int result = 0;
    if (fake_hook)
        fake_hook(vcpu, request, argument);
    switch (request) {
    case K_RUN:
        __atomic_store_n(&vcpu->runs, true, __ATOMIC_RELEASE);
        result = run(vcpu);
        __atomic_store_n(&vcpu->runs, false, __ATOMIC_RELEASE);
        break;
    case K_ARM_VCPU_INIT:
        vcpu->init = *(struct k_vcpu_init *)argument;
        vcpu->mp_state = vcpu->init.features[0] & 1 ? K_MP_STATE_STOPPED : K_MP_STATE_RUNNABLE;
        vcpu->inits++;
        vcpu->pc = vcpu->cntv = vcpu->cntp = 0;
        memset(vcpu->x, 0, sizeof vcpu->x);
        break;
    case K_SET_MP_STATE:
        vcpu->mp_state = ((struct k_mp_state *)argument)->mp_state;
        break;
    case K_GET_ONE_REG:
        memcpy((void *)(uintptr_t)one->addr, reg(vcpu, one->id), 8);
        break;
    case K_SET_ONE_REG:
        memcpy(reg(vcpu, one->id), (void *)(uintptr_t)one->addr, 8);
        break;
    default:
        result = leave(ENOTTY);
    }
    int error = errno;
    __atomic_store_n(&vcpu->holder, FREE, __ATOMIC_RELEASE);
    errno = error;
    return result;
}

int host_ioctl(int fd, unsigned long request, unsigned long argument)
{
    if (__atomic_add_fetch(&fake_calls, 1, __ATOMIC_RELAXED) == fake_interrupt_at)
        return leave(EINTR);
    if (request == fake_fail)
        return leave(ENODEV);
    switch (request) {
    case K_CREATE_VM:
        return fake_vm = fake_file();
    case K_CREATE_VCPU:
        return create_vcpu(fd, argument);
    case K_CREATE_DEVICE:
        return fake_gic_create((struct k_create_device *)argument);
    case K_SET_DEVICE_ATTR:
    case K_GET_DEVICE_ATTR:
        if (fd == fake_gic)
            return fake_gic_ioctl(request, (struct k_device_attr *)argument);
        fake_filters += fd == fake_vm;
        return 0;
    case K_IRQFD:
        fake_irqfds++;
        return 0;
    default: {
        struct fake_vcpu *vcpu = of(fd);
        return vcpu ? vcpu_ioctl(vcpu, request, argument) : leave(ENOTTY);
    }
    }
}

/* What QEMU's handler of SIGUSR1 does; and a signal, so that what waits ends with EINTR. */
void host_kick(uint32_t tid)
{
    for (int i = 0; i < FAKE_VCPUS; i++)
        if (__atomic_load_n(&fake[i].tid, __ATOMIC_ACQUIRE) == tid)
            __atomic_store_n(&fake[i].run->immediate_exit, 1, __ATOMIC_RELEASE);
    syscall(SYS_tgkill, getpid(), tid, SIGUSR1);
}

void fake_exit(struct fake_vcpu *vcpu, uint32_t reason)
{
    vcpu->run->exit_reason = reason;
}

static void call(struct fake_vcpu *vcpu, uint64_t function, uint64_t flags)
{
    memset(&vcpu->run->hypercall, 0, sizeof vcpu->run->hypercall);
    vcpu->run->hypercall.nr = function;
    vcpu->run->hypercall.flags = flags;
    vcpu->x[0] = function;
    vcpu->pc += 4;
    fake_exit(vcpu, K_EXIT_HYPERCALL);
}

void fake_hvc(struct fake_vcpu *vcpu, uint64_t function, uint64_t a, uint64_t b, uint64_t c)
{
    vcpu->x[1] = a;
    vcpu->x[2] = b;
    vcpu->x[3] = c;
    call(vcpu, function, 0);
}

void fake_smc(struct fake_vcpu *vcpu, uint64_t function)
{
    call(vcpu, function, K_HYPERCALL_EXIT_SMC);
}

static void mmio(struct fake_vcpu *vcpu, uint64_t address, uint32_t bytes, bool is_write)
{
    memset(&vcpu->run->mmio, 0, sizeof vcpu->run->mmio);
    vcpu->run->mmio.phys_addr = address;
    vcpu->run->mmio.len = bytes;
    vcpu->run->mmio.is_write = is_write;
    vcpu->loads = !is_write;
    if (is_write)
        vcpu->pc += 4;
    fake_exit(vcpu, K_EXIT_MMIO);
}

void fake_load(struct fake_vcpu *vcpu, uint64_t address, uint32_t bytes)
{
    mmio(vcpu, address, bytes, false);
}

void fake_store(struct fake_vcpu *vcpu, uint64_t address, uint32_t bytes, uint64_t value)
{
    mmio(vcpu, address, bytes, true);
    memcpy(vcpu->run->mmio.data, &value, bytes);
}
