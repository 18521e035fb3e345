/* Start: hpcore's consent, the filter, and all the ways in which QEMU must end. */
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "qemu.h"

static void other(struct fake_vcpu *vcpu)
{
    fake_exit(vcpu, 24);
}

static void machine(void)
{
    for (int i = 0; i < FAKE_VCPUS; i++)
        fake[i].guest = other;
    qemu_machine(2, 1);
}

CASE(a_machine_starts_with_the_filter_the_interrupt_and_hpcores_consent)
{
    machine();
    CHECK(fake_filters == 2 && fake_irqfds == 0);
    CHECK(qemu_run(0) == 0 && qemu_run(0) == 0);
    CHECK(fake_irqfds == 1 && hub_count(WIRE_START) == 1);
    struct wire_message told = hub_last(WIRE_START);
    CHECK(told.a == (uint64_t)fake_vm && told.b == (uint64_t)getpid() && told.c == 2);
    CHECK(hub_count(WIRE_VM) == 1 && hub_count(WIRE_VCPU) == 2);
    CHECK(hub_page->seen[0].tid == (uint32_t)gettid());
    uint64_t raised = 5;
    CHECK(write(hub_event, &raised, sizeof raised) == sizeof raised);
    raised = 0;
    CHECK(read(link_event(), &raised, sizeof raised) == sizeof raised && raised == 5);
    CHECK(!getenv("LD_PRELOAD") && !getenv("HPCORE_INTERPOSER"));
}

CASE(a_vm_that_only_probes_does_no_harm)
{
    machine();
    int real = fake_vm;
    struct fake_vcpu kept = fake[0];
    struct k_vcpu_init bare = {.target = 5};
    int vm = ioctl(-1, K_CREATE_VM, 0ul);
    int fd = ioctl(vm, K_CREATE_VCPU, 0ul);
    CHECK(vm >= 0 && fd >= 0 && ioctl(fd, K_ARM_VCPU_INIT, &bare) == 0);
    close(fd);
    close(vm);
    fake[0] = kept;
    CHECK(qemu_run(0) == 0 && hub_last(WIRE_START).a == (uint64_t)real);
}

CASE(without_its_variable_the_object_does_nothing)
{
    ioctl_load();
    int vm = ioctl(-1, K_CREATE_VM, 0ul);
    CHECK(vm >= 0 && fake_filters == 0);
    fake[0].guest = other;
    int fd = ioctl(vm, K_CREATE_VCPU, 0ul);
    CHECK(ioctl(fd, K_RUN, 0ul) == 0 && fake[0].run->exit_reason == 24);
}

FAILS(a_kernel_without_the_filter_ends_qemu, "no SMCCC filter")
{
    fake_fail = K_SET_DEVICE_ATTR;
    machine();
}

FAILS(a_ged_interrupt_that_cannot_be_bound_ends_qemu, "KVM_IRQFD")
{
    machine();
    fake_fail = K_IRQFD;
    qemu_run(0);
}

FAILS(an_hpcore_that_does_not_consent_ends_qemu, "does not let this machine run")
{
    hub_fault = HUB_REFUSES;
    machine();
    qemu_run(0);
}

FAILS(an_hpcore_that_dies_before_the_start_ends_qemu, "does not let this machine run")
{
    machine();
    hub_leave();
    qemu_run(0);
}

FAILS(an_hpcore_that_dies_before_the_vm_ends_qemu, "gone before the machine has started")
{
    qemu_load(2, 1);
    hub_leave();
    ioctl(-1, K_CREATE_VM, 0ul);
}

FAILS(a_vcpu_that_was_not_made_ends_qemu, "without all of its vCPUs")
{
    qemu_load(2, 1);
    int vm = ioctl(-1, K_CREATE_VM, 0ul);
    ioctl(vm, K_CREATE_VCPU, 0ul);
    qemu_init(0, true);
    qemu_run(0);
}

FAILS(a_vcpu_of_psci_0_1_ends_qemu, "PSCI 0.1")
{
    struct k_vcpu_init old = {.target = 5, .features = {1}};
    machine();
    ioctl(fake[1].fd, K_ARM_VCPU_INIT, &old);
    qemu_run(0);
}

FAILS(a_vcpu_that_hpcore_does_not_know_ends_qemu, "does not have")
{
    machine();
    ioctl(fake_vm, K_CREATE_VCPU, 2ul);
}

FAILS(a_vcpu_after_the_start_ends_qemu, "after the machine has started")
{
    machine();
    qemu_run(0);
    ioctl(fake_vm, K_CREATE_VCPU, 1ul);
}

FAILS(a_vcpu_from_elsewhere_ends_qemu, "not the interposer's")
{
    machine();
    ioctl(0, K_RUN, 0ul);
}

FAILS(a_second_vm_that_runs_ends_qemu, "a second VM")
{
    machine();
    qemu_run(0);
    int vm = ioctl(-1, K_CREATE_VM, 0ul);
    ioctl(vm, K_CREATE_VCPU, 0ul);
    qemu_init(0, true);
    qemu_run(0);
}

static void call(struct fake_vcpu *vcpu)
{
    fake_hvc(vcpu, PSCI_CPU_OFF, 0, 0, 0);
}

FAILS(a_register_that_cannot_be_set_ends_qemu, "KVM_SET_ONE_REG")
{
    machine();
    fake[0].guest = call;
    fake_fail = K_SET_ONE_REG;
    qemu_run(0);
}

FAILS(a_vcpu_that_cannot_be_stopped_ends_qemu, "KVM_SET_MP_STATE")
{
    machine();
    fake[0].guest = call;
    fake_fail = K_SET_MP_STATE;
    qemu_run(0);
}

FAILS(an_hpcore_without_a_page_ends_qemu, "gives no policy page")
{
    hub_fault = HUB_NO_PAGE;
    machine();
}

FAILS(a_page_that_is_too_small_ends_qemu, "too small")
{
    hub_fault = HUB_SHORT_PAGE;
    machine();
}

FAILS(a_page_that_can_shrink_ends_qemu, "not sealed")
{
    hub_fault = HUB_UNSEALED;
    machine();
}

FAILS(a_page_of_another_version_ends_qemu, "another version")
{
    hub_fault = HUB_OLD_PAGE;
    machine();
}

FAILS(a_page_without_vcpus_ends_qemu, "impossible number of vCPUs")
{
    hub_fault = HUB_NO_VCPUS;
    machine();
}

FAILS(an_hpcore_that_hangs_up_ends_qemu, "does not answer the greeting")
{
    hub_fault = HUB_HANGS_UP;
    machine();
}

FAILS(a_socket_that_is_not_there_ends_qemu, "cannot reach hpcore's socket: No such file")
{
    setenv("HPCORE_INTERPOSER", "not-there", 1);
    ioctl_load();
}

FAILS(a_path_that_is_too_long_ends_qemu, "longer than 107 bytes")
{
    char path[120];
    memset(path, 'a', sizeof path);
    path[sizeof path - 1] = 0;
    setenv("HPCORE_INTERPOSER", path, 1);
    ioctl_load();
}
