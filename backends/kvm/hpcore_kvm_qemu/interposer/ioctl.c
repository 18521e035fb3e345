/* Preloaded into QEMU: ioctl(2), and nothing else. Without HPCORE_INTERPOSER it is the kernel's. */
#define _GNU_SOURCE
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <unistd.h>

#include "interposer.h"

static bool on;

__attribute__((constructor)) void ioctl_load(void)
{
    const char *path = getenv("HPCORE_INTERPOSER");
    if (!path)
        return;     /* libvirt asks the emulator what it can do */
    link_open(path);
    unsetenv("LD_PRELOAD");     /* QEMU's children are none of ours */
    unsetenv("HPCORE_INTERPOSER");
    on = true;
}

static int create_vm(int fd, unsigned long argument)
{
    int vm = host_ioctl(fd, K_CREATE_VM, argument);
    if (vm < 0)
        return vm;
    vcpu_lock();
    if (machine_started(vm))
        fail_closed("the machine's VM was closed", 0);
    vcpu_forget_vm(vm);
    gic_forget_vm(vm);
    machine_set_filter(vm);
    link_must_live();
    link_tell((struct wire_message){.type = WIRE_VM, .a = (uint64_t)vm});
    vcpu_unlock();
    return vm;
}

static int create_vcpu(int vm, unsigned long index)
{
    int fd = host_ioctl(vm, K_CREATE_VCPU, index);
    if (fd < 0)
        return fd;
    vcpu_lock();
    if (machine_started(vm))
        fail_closed("a vCPU is made after the machine has started", 0);
    if (index >= WIRE_VCPUS)
        fail_closed("QEMU makes a vCPU that hpcore's machine does not have", 0);
    vcpu_new(vm, fd, (uint32_t)index);
    link_must_live();
    link_tell((struct wire_message){.type = WIRE_VCPU, .vcpu = (uint32_t)index,
                                    .a = (uint64_t)vm});
    vcpu_unlock();
    return fd;
}

/* QEMU also asks whether it could make one: that makes none. */
static int create_device(int vm, unsigned long argument)
{
    const struct k_create_device *device = (const struct k_create_device *)argument;
    int result = host_ioctl(vm, K_CREATE_DEVICE, argument);
    if (!result && device->type == K_VGIC_V3 && !(device->flags & K_CREATE_DEVICE_TEST)) {
        vcpu_lock();
        gic_note_device(vm, (int)device->fd);
        vcpu_unlock();
    }
    return result;
}

static int set_device_attr(int fd, unsigned long argument)
{
    const struct k_device_attr *attr = (const struct k_device_attr *)argument;
    int result = host_ioctl(fd, K_SET_DEVICE_ATTR, argument);
    if (!result && attr->group == K_VGIC_CTRL && attr->attr == K_VGIC_CTRL_INIT) {
        vcpu_lock();
        gic_note_init(fd);
        vcpu_unlock();
    }
    return result;
}

static void keep_off(struct vcpu *vcpu)
{
    vcpu_stop(vcpu);
    link_tell((struct wire_message){.type = WIRE_KEPT_OFF, .vcpu = vcpu->index});
}

/* QEMU's start and reset. Only the first vCPU begins powered; the page may say otherwise. */
static int init_vcpu(struct vcpu *vcpu, unsigned long argument)
{
    vcpu_lock();
    int result = host_ioctl(vcpu->fd, K_ARM_VCPU_INIT, argument), error = errno;
    if (!result) {
        vcpu->init = *(const struct k_vcpu_init *)argument;
        vcpu->has_init = true;
        vcpu->resets++;
        call_cancel(vcpu);
        machine_note_reset(vcpu);
        bool powered = !(vcpu->init.features[0] & 1u << K_VCPU_POWER_OFF);
        if (powered && !page_granted(vcpu->index))
            keep_off(vcpu);
        else
            vcpu_set_powered(vcpu, powered);
    }
    vcpu_unlock();
    errno = error;
    return result;
}

/* QEMU puts its registers: after a stop, a reset, a migration. A second lock for the page. */
static int set_mp_state(struct vcpu *vcpu, unsigned long argument)
{
    bool powered = ((const struct k_mp_state *)argument)->mp_state != K_MP_STATE_STOPPED;
    int result = 0, error = errno;
    vcpu_lock();
    if (powered && !page_granted(vcpu->index)) {
        keep_off(vcpu);
    } else {
        if (!powered)
            vcpu_quiet_timers(vcpu);
        result = host_ioctl(vcpu->fd, K_SET_MP_STATE, argument);
        error = errno;
        if (!result)
            vcpu_set_powered(vcpu, powered);
    }
    vcpu_unlock();
    errno = error;
    return result;
}

__attribute__((visibility("default"))) int ioctl(int fd, unsigned long request, ...)
{
    va_list rest;
    va_start(rest, request);
    unsigned long argument = va_arg(rest, unsigned long);
    va_end(rest);
    struct vcpu *vcpu = on ? vcpu_of(fd) : NULL;
    if (!on)
        return host_ioctl(fd, request, argument);
    /* QEMU has the request in an int, so that one with the highest bit comes sign-extended */
    switch ((uint32_t)request) {
    case K_CREATE_VM:
        return create_vm(fd, argument);
    case K_CREATE_VCPU:
        return create_vcpu(fd, argument);
    case K_CREATE_DEVICE:
        return create_device(fd, argument);
    case K_SET_DEVICE_ATTR:
        return set_device_attr(fd, argument);
    case K_RUN:
        if (!vcpu)
            fail_closed("QEMU runs a vCPU that is not the interposer's", 0);
        return run_loop(vcpu);
    case K_ARM_VCPU_INIT:
        return vcpu ? init_vcpu(vcpu, argument) : host_ioctl(fd, request, argument);
    case K_SET_MP_STATE:
        return vcpu ? set_mp_state(vcpu, argument) : host_ioctl(fd, request, argument);
    default:
        return host_ioctl(fd, request, argument);
    }
}
