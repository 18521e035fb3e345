/* Exits, off, force, and what QEMU puts. */
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "qemu.h"

#define EXIT_OTHER 24
#define DEVICE 0x09000000u  /* one of QEMU's */

static uint32_t reason;
static uint64_t address = BLOCK, function;
static uint32_t bytes = 4;
static uint64_t loaded;

static void other(struct fake_vcpu *vcpu)
{
    const struct timespec nap = {0, 200000};
    nanosleep(&nap, NULL);
    fake_exit(vcpu, EXIT_OTHER);
}

static void machine(uint32_t granted)
{
    for (int i = 0; i < FAKE_VCPUS; i++)
        fake[i].guest = other;
    qemu_machine(2, granted);
}

static void any_exit(struct fake_vcpu *vcpu)
{
    fake_exit(vcpu, reason);
}

CASE(every_exit_that_is_not_hpcores_is_qemus)
{
    machine(1);
    fake[0].guest = any_exit;
    for (reason = 0; reason < 64; reason++) {
        if (reason == K_EXIT_MMIO || reason == K_EXIT_HYPERCALL)
            continue;
        uint32_t before = fake[0].entries;
        CHECK(qemu_run(0) == 0 && fake[0].run->exit_reason == reason);
        CHECK(fake[0].entries == before + 1);
    }
    CHECK(hub_page->seen[0].runs == fake[0].entries);
}

static void any_hvc(struct fake_vcpu *vcpu)
{
    fake_hvc(vcpu, function, 0, 0, 0);
}

CASE(a_hypercall_that_the_filter_does_not_name_is_qemus)
{
    machine(1);
    fake[0].guest = any_hvc;
    static const uint64_t others[] = {0x84000000, 0x84000008, 0xc4000001, 1ull << 32 | PSCI_CPU_OFF};
    for (unsigned i = 0; i < sizeof others / sizeof *others; i++) {
        function = others[i];
        CHECK(qemu_run(0) == 0 && fake[0].run->exit_reason == K_EXIT_HYPERCALL);
    }
}

static void load(struct fake_vcpu *vcpu)
{
    if (vcpu->pc == CODE) {
        fake_load(vcpu, address, bytes);
        return;
    }
    loaded = vcpu->x[0];
    other(vcpu);
}

CASE(a_load_of_the_block_is_hpcores)
{
    machine(1);
    fake[0].guest = load;
    hub_value = 0x11223344;
    CHECK(qemu_run(0) == 0 && fake[0].run->exit_reason == EXIT_OTHER && loaded == 0x11223344);
    struct wire_message told = hub_last(WIRE_READ);
    CHECK(told.vcpu == 0 && told.a == BLOCK && told.b == 4);
}

CASE(a_load_of_a_device_of_qemus_is_qemus)
{
    static const uint64_t outside[] = {DEVICE, BLOCK - 4, BLOCK + 12, 0};
    machine(1);
    fake[0].guest = load;
    for (unsigned i = 0; i < sizeof outside / sizeof *outside; i++) {
        address = outside[i];
        fake[0].pc = CODE;
        CHECK(qemu_run(0) == 0 && fake[0].run->exit_reason == K_EXIT_MMIO);
        CHECK(qemu_run(0) == 0 && fake[0].run->exit_reason == EXIT_OTHER);
    }
    CHECK(hub_count(WIRE_READ) == 0);
}

CASE(a_load_reads_0_once_hpcore_is_gone)
{
    machine(1);
    CHECK(qemu_run(0) == 0);
    hub_value = 77;
    loaded = 1;
    hub_leave();
    fake[0].guest = load;
    CHECK(qemu_run(0) == 0 && loaded == 0);
}

static bool has_hung_up(void)
{
    return __atomic_load_n(&hub_hung_up, __ATOMIC_ACQUIRE);
}

CASE(an_hpcore_that_is_silent_is_taken_for_gone)
{
    machine(3);
    CHECK(qemu_run(0) == 0);
    hub_fault = HUB_SILENT;
    loaded = 1;
    fake[0].guest = load;
    CHECK(qemu_run(0) == 0 && loaded == 0);
    wait_until(has_hung_up);
    CHECK(!link_alive());
}

static void eject(const struct wire_message *message)
{
    CHECK(message->a == BLOCK && message->b == 1 && message->c == 9);
    hub_grant(1, false);
}

static void store_and_call(struct fake_vcpu *vcpu)
{
    if (vcpu->step++ == 0)
        fake_store(vcpu, BLOCK, 1, 9);
    else if (vcpu->step == 2)
        fake_hvc(vcpu, PSCI_CPU_ON_64, 1, 0, 0);
    else
        other(vcpu);
}

CASE(a_store_is_done_before_the_guest_goes_on)
{
    machine(3);
    hub_on_write = eject;
    fake[0].guest = store_and_call;
    CHECK(qemu_run(0) == 0 && (int64_t)fake[0].x[0] == PSCI_DENIED);
}

/* ---------------------------------------------------------------------------------------- off */

static bool told_first;

static void look(struct fake_vcpu *vcpu, unsigned long request, unsigned long argument)
{
    if (request != K_SET_MP_STATE)
        return;
    CHECK(((struct k_mp_state *)argument)->mp_state == K_MP_STATE_STOPPED);
    CHECK(!vcpu->cntv && !vcpu->cntp);
    const struct timespec nap = {0, 1000000};
    for (int i = 0; i < 5000 && !hub_count(WIRE_CPU_OFF); i++)
        nanosleep(&nap, NULL);
    told_first = hub_count(WIRE_CPU_OFF) == 1;
}

static void off(struct fake_vcpu *vcpu)
{
    vcpu->cntv = vcpu->cntp = 1;
    vcpu->run->immediate_exit = 1;      /* it would wait for ever, with nobody to kick it */
    fake_hvc(vcpu, PSCI_CPU_OFF, 0, 0, 0);
}

CASE(cpu_off_is_told_then_the_timers_are_quiet_then_it_stops)
{
    machine(1);
    fake[0].guest = off;
    fake_hook = look;
    CHECK(qemu_run(0) == -1 && errno == EINTR);
    CHECK(told_first && fake[0].mp_state == K_MP_STATE_STOPPED && !hub_page->seen[0].powered);
}

static bool is_forced(void)
{
    return __atomic_load_n(&hub_page->seen[1].forced, __ATOMIC_ACQUIRE) == 1;
}

static int guest_ran;

static bool has_run(void)
{
    return __atomic_load_n(&guest_ran, __ATOMIC_RELAXED) > 3;
}

static void with_a_timer(struct fake_vcpu *vcpu)
{
    __atomic_add_fetch(&guest_ran, 1, __ATOMIC_RELAXED);
    vcpu->cntv = 1;
    other(vcpu);
}

CASE(a_forced_vcpu_is_off_and_costs_nothing)
{
    machine(3);
    fake[1].guest = with_a_timer;
    CHECK(qemu_put_power(1, K_MP_STATE_RUNNABLE) == 0);
    qemu_threads(2);
    wait_until(has_run);
    hub_grant(1, false);
    hub_force(1);
    host_kick(__atomic_load_n(&hub_page->seen[1].tid, __ATOMIC_ACQUIRE));
    wait_until(is_forced);
    int before = __atomic_load_n(&guest_ran, __ATOMIC_RELAXED);
    usleep(50000);
    CHECK(__atomic_load_n(&guest_ran, __ATOMIC_RELAXED) == before);
    qemu_stop_all();
    CHECK(fake[1].mp_state == K_MP_STATE_STOPPED && fake[1].burned == 0);
    CHECK(hub_count(WIRE_FORCED) == 1);
}

CASE(a_force_waits_until_kvm_has_finished_a_load)
{
    machine(1);
    address = DEVICE;
    fake[0].guest = load;
    CHECK(qemu_run(0) == 0 && fake[0].run->exit_reason == K_EXIT_MMIO && fake[0].loads);
    hub_force(0);
    CHECK(qemu_run(0) == -1 && errno == EINTR);
    CHECK(!fake[0].loads && fake[0].pc == CODE + 4);
    CHECK(fake[0].mp_state == K_MP_STATE_STOPPED && hub_page->seen[0].forced == 1);
    CHECK(fake[0].run->immediate_exit == 1);
}

CASE(every_eintr_is_qemus)
{
    machine(1);
    CHECK(qemu_run(0) == 0);
    for (int i = 0; i < 3; i++) {
        fake[0].run->immediate_exit = 1;
        errno = 0;
        CHECK(qemu_run(0) == -1 && errno == EINTR && fake[0].run->immediate_exit == 1);
    }
}

CASE(an_error_of_kvm_run_is_qemus)
{
    machine(1);
    CHECK(qemu_run(0) == 0);
    fake_fail = K_RUN;
    CHECK(qemu_run(0) == -1 && errno == ENODEV);
}

/* ----------------------------------------------------------------------------- what QEMU puts */

CASE(a_vcpu_that_is_not_granted_is_kept_off_whatever_qemu_puts)
{
    machine(1);
    fake[1].cntv = 1;
    CHECK(qemu_put_power(1, K_MP_STATE_RUNNABLE) == 0);
    CHECK(fake[1].mp_state == K_MP_STATE_STOPPED && fake[1].cntv == 0);
    CHECK(qemu_put_power(1, 10) == 0);      /* KVM_MP_STATE_SUSPENDED runs as soon as it is woken */
    CHECK(fake[1].mp_state == K_MP_STATE_STOPPED);
    CHECK(qemu_init(1, true) == 0 && fake[1].mp_state == K_MP_STATE_STOPPED);
    CHECK(!hub_page->seen[1].powered);
    CHECK(qemu_run(0) == 0);    /* a message that is answered: all before it have come */
    CHECK(hub_count(WIRE_KEPT_OFF) == 3);
}

CASE(a_vcpu_that_qemu_puts_as_stopped_has_quiet_timers)
{
    machine(3);
    CHECK(qemu_put_power(1, K_MP_STATE_RUNNABLE) == 0 && hub_page->seen[1].powered);
    fake[1].cntv = fake[1].cntp = 1;
    CHECK(qemu_put_power(1, K_MP_STATE_STOPPED) == 0);
    CHECK(!fake[1].cntv && !fake[1].cntp && !hub_page->seen[1].powered);
}

CASE(a_reset_is_told_and_leaves_what_is_parked_parked)
{
    machine(1);
    CHECK(qemu_run(0) == 0);
    CHECK(hub_count(WIRE_RESET) == 0);
    qemu_init(0, true);
    qemu_init(1, false);
    CHECK(qemu_put_power(0, K_MP_STATE_RUNNABLE) == 0);
    CHECK(qemu_put_power(1, K_MP_STATE_STOPPED) == 0);
    fake[0].guest = load;
    CHECK(qemu_run(0) == 0);
    CHECK(hub_count(WIRE_RESET) == 1 && hub_count(WIRE_KEPT_OFF) == 0);
    CHECK(fake[0].mp_state == K_MP_STATE_RUNNABLE && fake[1].mp_state == K_MP_STATE_STOPPED);
}

CASE(what_kvm_refuses_qemu_sees)
{
    machine(1);
    struct k_vcpu_init init = {0};
    fake_fail = K_ARM_VCPU_INIT;
    CHECK(ioctl(fake[0].fd, K_ARM_VCPU_INIT, &init) == -1 && errno == ENODEV);
    fake_fail = K_SET_MP_STATE;
    struct k_mp_state state = {K_MP_STATE_RUNNABLE};
    CHECK(ioctl(fake[0].fd, K_SET_MP_STATE, &state) == -1 && errno == ENODEV);
    fake_fail = K_CREATE_VM;
    CHECK(ioctl(-1, K_CREATE_VM, 0ul) == -1 && errno == ENODEV);
}
