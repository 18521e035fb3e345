/* A machine that is kept: hpcore dies, and one comes back. */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <time.h>
#include <unistd.h>

#include "qemu.h"

#define ENTRY 0x40200000u
#define EXIT_OTHER 24

static int ran, answers;
static int64_t answer;
static uint64_t loaded;

static void busy(struct fake_vcpu *vcpu)
{
    const struct timespec nap = {0, 200000};
    __atomic_add_fetch(&ran, 1, __ATOMIC_RELAXED);
    nanosleep(&nap, NULL);
    fake_exit(vcpu, EXIT_OTHER);
}

static void caller(struct fake_vcpu *vcpu)
{
    if (vcpu->pc == CODE) {
        fake_hvc(vcpu, PSCI_CPU_ON_64, 1, ENTRY, 0);
        return;
    }
    if (vcpu->pc == CODE + 4) {
        vcpu->pc = CODE;
        if (!__atomic_load_n(&answers, __ATOMIC_ACQUIRE))   /* of the first call since `guest` */
            answer = (int64_t)vcpu->x[0];
        __atomic_add_fetch(&answers, 1, __ATOMIC_RELEASE);
    }
    busy(vcpu);
}

static void load(struct fake_vcpu *vcpu)
{
    if (vcpu->step++ == 0) {
        fake_load(vcpu, BLOCK, 4);
        return;
    }
    if (vcpu->step == 2) {
        loaded = *(uint32_t *)vcpu->run->mmio.data;
        __atomic_add_fetch(&answers, 1, __ATOMIC_RELEASE);
    }
    busy(vcpu);
}

static bool has_run(void)
{
    return __atomic_load_n(&ran, __ATOMIC_RELAXED) > 0;
}

static bool answered(void)
{
    return __atomic_load_n(&answers, __ATOMIC_ACQUIRE) > 0;
}

static bool is_gone(void)
{
    return !link_alive();
}

static bool is_back(void)
{
    return hub_count(WIRE_RESUMED) > 0 && link_alive();
}

static bool is_waited_for(void)
{
    return __atomic_load_n(&hub_page->asked, __ATOMIC_ACQUIRE) != 0;
}

static struct wire_message told(uint64_t number)
{
    return hub_page->last[number % WIRE_TOLD];
}

static void check_runs(void)
{
    __atomic_store_n(&ran, 0, __ATOMIC_RELAXED);
    wait_until(has_run);
}

static void kept_machine(uint32_t granted)
{
    hub_keeps = true;
    for (int i = 0; i < FAKE_VCPUS; i++)
        fake[i].guest = busy;
    qemu_machine(2, granted);
    qemu_threads(2);
    check_runs();
}

static void guest(void (*what)(struct fake_vcpu *))
{
    qemu_pause();
    fake[0].step = 0;
    fake[0].pc = CODE;
    fake[0].guest = what;
    __atomic_store_n(&answers, 0, __ATOMIC_RELEASE);
    qemu_resume();
}

CASE(an_hpcore_that_comes_back_has_page_and_eventfd_and_grants_again)
{
    kept_machine(3);
    hub_leave();
    wait_until(is_gone);
    guest(caller);
    wait_until(answered);
    guest(busy);
    CHECK(answer == PSCI_DENIED);
    hub_return();
    wait_until(is_back);
    CHECK(hub_passed == 2 && hub_event >= 0);
    guest(caller);
    wait_until(answered);
    qemu_stop_all();
    CHECK(answer == PSCI_SUCCESS);
}

CASE(what_hpcore_missed_is_in_the_page_and_what_comes_after_it_is_not_in_between)
{
    kept_machine(1);
    uint64_t before = hub_page->told;
    hub_leave();
    wait_until(is_gone);
    guest(caller);              /* DENIED, again and again */
    wait_until(answered);
    hub_return();
    wait_until(is_back);
    guest(busy);
    qemu_stop_all();
    struct wire_message resumed = hub_last(WIRE_RESUMED);
    CHECK(resumed.a > before && resumed.b == 0);
    for (uint64_t number = before + 1; number <= resumed.a; number++)
        CHECK(told(number).type == WIRE_CPU_ON && (int64_t)told(number).d == PSCI_DENIED);
    CHECK(hub_page->told == resumed.a + (uint64_t)hub_count(WIRE_CPU_ON));
}

CASE(a_load_waits_for_an_hpcore_that_comes_back)
{
    kept_machine(1);
    hub_leave();
    wait_until(is_gone);
    hub_value = 77;
    guest(load);
    wait_until(is_waited_for);
    uint64_t asked = hub_page->asked;
    CHECK(told(asked).type == WIRE_READ && told(asked).a == BLOCK && !answered());
    hub_return();
    wait_until(answered);
    qemu_stop_all();
    CHECK(loaded == 77 && hub_last(WIRE_RESUMED).b == asked && hub_page->asked == 0);
    CHECK(hub_count(WIRE_READ) == 0);       /* it is not said twice */
}

CASE(a_load_that_waits_in_vain_reads_0_and_the_next_waits_no_longer)
{
    struct timespec began, ended;
    kept_machine(1);
    hub_leave();
    wait_until(is_gone);
    loaded = 1;
    guest(load);
    wait_until(answered);
    CHECK(loaded == 0);
    clock_gettime(CLOCK_MONOTONIC, &began);
    guest(load);
    wait_until(answered);
    clock_gettime(CLOCK_MONOTONIC, &ended);
    CHECK(ended.tv_sec - began.tv_sec < PATIENCE);
    hub_value = 77;
    hub_return();
    wait_until(is_back);
    guest(load);
    wait_until(answered);
    qemu_stop_all();
    CHECK(loaded == 77);
}

CASE(a_kept_machine_that_is_reset_waits_for_hpcore)
{
    kept_machine(1);
    hub_leave();
    wait_until(is_gone);
    hub_holds = true;
    qemu_pause();
    qemu_init(0, true);
    qemu_init(1, false);
    CHECK(qemu_put_power(0, K_MP_STATE_RUNNABLE) == 0);
    qemu_resume();
    __atomic_store_n(&ran, 0, __ATOMIC_RELAXED);
    usleep(40000);
    CHECK(!has_run() && hub_page->resets == 1);
    CHECK(told(hub_page->told).type == WIRE_RESET);
    hub_return();
    wait_until(is_back);
    CHECK(!has_run());
    hub_allow(1);
    check_runs();
    qemu_stop_all();
}

CASE(hpcore_may_die_and_come_back_again_and_again)
{
    kept_machine(3);
    guest(caller);
    for (int i = 0; i < 10; i++) {
        hub_leave();
        hub_forget();
        hub_return();
        wait_until(is_back);
    }
    hub_forget();
    __atomic_store_n(&answers, 0, __ATOMIC_RELEASE);
    wait_until(answered);
    qemu_stop_all();
}

CASE(an_hpcore_of_another_version_that_comes_back_is_none)
{
    kept_machine(1);
    hub_leave();
    hub_fault = HUB_OTHER_VERSION;
    hub_return();
    usleep(300000);
    CHECK(!link_alive() && hub_count(WIRE_AGAIN) == 1 && hub_count(WIRE_RESUMED) == 0);
    hub_leave();
    hub_fault = HUB_FINE;
    hub_return();
    wait_until(is_back);
    qemu_stop_all();
}

CASE(a_machine_that_is_not_kept_looks_for_no_hpcore)
{
    for (int i = 0; i < FAKE_VCPUS; i++)
        fake[i].guest = busy;
    qemu_machine(2, 1);
    qemu_threads(2);
    check_runs();
    hub_leave();
    wait_until(is_gone);
    hub_return();
    usleep(300000);
    CHECK(hub_count(WIRE_AGAIN) == 0 && !link_alive());
    qemu_stop_all();
}
