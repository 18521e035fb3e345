/* The machine is held from its start and from each reset on, until hpcore allows it to run. */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <time.h>
#include <unistd.h>

#include "qemu.h"

#define ENTRY 0x40200000u
#define EXIT_OTHER 24
#define DEVICE 0x09000000u

static int ran, answers;
static int64_t answer;

static void busy(struct fake_vcpu *vcpu)
{
    const struct timespec nap = {0, 200000};
    __atomic_add_fetch(&ran, 1, __ATOMIC_RELAXED);
    nanosleep(&nap, NULL);
    fake_exit(vcpu, EXIT_OTHER);
}

static bool has_run(void)
{
    return __atomic_load_n(&ran, __ATOMIC_RELAXED) > 0;
}

static bool is_started(void)
{
    return hub_count(WIRE_START) == 1;
}

static bool is_reset(void)
{
    return hub_count(WIRE_RESET) > 0;
}

static bool is_told(void)
{
    return hub_count(WIRE_FORCED) == 1;
}

static void machine(uint32_t granted)
{
    hub_holds = true;
    for (int i = 0; i < FAKE_VCPUS; i++)
        fake[i].guest = busy;
    qemu_machine(2, granted);
}

static uint64_t runs_of(uint32_t index)
{
    return __atomic_load_n(&hub_page->seen[index].runs, __ATOMIC_RELAXED);
}

/* Twenty naps of a thread that is held. */
static void check_held(void)
{
    uint64_t before[2] = {runs_of(0), runs_of(1)};
    usleep(40000);
    CHECK(runs_of(0) == before[0] && runs_of(1) == before[1]);
}

static void check_runs(void)
{
    __atomic_store_n(&ran, 0, __ATOMIC_RELAXED);
    wait_until(has_run);
}

static void reset_all(void)
{
    qemu_init(0, true);
    qemu_init(1, false);
    CHECK(qemu_put_power(0, K_MP_STATE_RUNNABLE) == 0);
    CHECK(qemu_put_power(1, K_MP_STATE_STOPPED) == 0);
}

/* What QEMU's system_reset does. */
static void system_reset(void)
{
    qemu_pause();
    reset_all();
    qemu_resume();
}

CASE(nothing_runs_before_hpcore_allows_it)
{
    machine(1);
    qemu_threads(2);
    wait_until(is_started);
    check_held();
    CHECK(!has_run() && runs_of(0) == 0 && runs_of(1) == 0);
    hub_allow(0);
    check_runs();
    qemu_stop_all();
}

CASE(a_reset_holds_the_machine_until_hpcore_allows_it_again)
{
    machine(1);
    qemu_threads(2);
    hub_allow(0);
    check_runs();
    system_reset();
    check_held();
    CHECK(hub_page->resets == 1 && hub_count(WIRE_RESET) == 1 && hub_last(WIRE_RESET).a == 1);
    hub_allow(1);
    check_runs();
    qemu_stop_all();
}

CASE(qemu_stops_a_machine_that_is_held)
{
    machine(1);
    qemu_threads(2);
    wait_until(is_started);
    /* a thread that comes late is stopped again before it has gone to KVM_RUN: that counts for none */
    while (__atomic_load_n(&qemu[0].interrupted, __ATOMIC_RELAXED) < 20) {
        qemu_pause();
        qemu_resume();
    }
    check_held();
    CHECK(!has_run());
    hub_allow(0);
    check_runs();
    qemu_stop_all();
}

CASE(what_was_allowed_before_a_reset_is_not_allowed_after_it)
{
    machine(1);
    qemu_threads(2);
    wait_until(is_started);
    system_reset();
    hub_allow(0);       /* hpcore's answer to the start comes late */
    check_held();
    CHECK(!has_run());
    hub_allow(1);
    check_runs();
    qemu_stop_all();
}

CASE(two_resets_in_a_row_want_the_second_to_be_allowed)
{
    machine(1);
    qemu_threads(2);
    hub_allow(0);
    check_runs();
    system_reset();
    system_reset();
    hub_allow(1);
    check_held();
    hub_allow(2);
    check_runs();
    qemu_stop_all();
    CHECK(hub_count(WIRE_RESET) == 2 && hub_last(WIRE_RESET).a == 2);
}

CASE(a_machine_that_is_reset_while_stopped_is_held_once_it_goes_on)
{
    machine(1);
    qemu_threads(2);
    hub_allow(0);
    check_runs();
    qemu_pause();
    reset_all();
    wait_until(is_reset);       /* told at once, so hpcore need not wait for `cont` */
    qemu_resume();
    check_held();
    hub_allow(1);
    check_runs();
    qemu_pause();
    reset_all();
    hub_allow(2);               /* and where hpcore was faster, nothing is held */
    qemu_resume();
    check_runs();
    qemu_stop_all();
}

CASE(a_force_is_followed_in_a_hold)
{
    machine(3);
    CHECK(qemu_put_power(1, K_MP_STATE_RUNNABLE) == 0);
    qemu_threads(2);
    wait_until(is_started);
    hub_grant(1, false);
    hub_force(1);               /* without a signal: it looks at each nap */
    wait_until(is_told);
    CHECK(__atomic_load_n(&hub_page->seen[1].forced, __ATOMIC_ACQUIRE) == 1 && runs_of(1) == 0);
    hub_allow(0);
    check_runs();
    qemu_stop_all();
    CHECK(fake[1].mp_state == K_MP_STATE_STOPPED);
}

/* ------------------------------------------------------------------ CPU_ON and a load in between */

static void caller(struct fake_vcpu *vcpu)
{
    if (vcpu->pc == CODE) {
        fake_hvc(vcpu, PSCI_CPU_ON_64, 1, ENTRY, 0);
        return;
    }
    if (vcpu->pc == CODE + 4) {
        vcpu->pc += 4;
        answer = (int64_t)vcpu->x[0];
        __atomic_add_fetch(&answers, 1, __ATOMIC_RELEASE);
    }
    busy(vcpu);
}

static void *run_zero(void *nothing)
{
    CHECK(qemu_run(0) == -1 && errno == EINTR);
    return nothing;
}

static bool posted(void)
{
    return __atomic_load_n(&vcpu_of(fake[1].fd)->caller, __ATOMIC_ACQUIRE);
}

static bool answered(void)
{
    return __atomic_load_n(&answers, __ATOMIC_ACQUIRE) > 0;
}

CASE(a_call_that_waits_as_the_machine_is_reset_is_none_of_the_new_machines)
{
    pthread_t thread;
    machine(3);
    fake[0].guest = caller;
    hub_allow(0);
    CHECK(!pthread_create(&thread, NULL, run_zero, NULL));
    wait_until(posted);
    host_kick(vcpu_of(fake[0].fd)->tid);    /* QEMU pauses all before it resets */
    pthread_join(thread, NULL);
    reset_all();
    qemu_eat(0);
    CHECK(fake[0].pc == CODE && fake[1].inits == 2);
    CHECK(fake[1].mp_state == K_MP_STATE_STOPPED);
    qemu_threads(2);
    check_held();
    CHECK(!answered());
    hub_allow(1);
    wait_until(answered);                   /* the call of the new machine */
    qemu_stop_all();
    CHECK(answer == PSCI_SUCCESS && answers == 1 && fake[1].inits == 3);
}

CASE(a_target_that_was_started_as_the_machine_is_reset_is_off)
{
    machine(3);
    fake[0].guest = caller;
    qemu_threads(2);
    hub_allow(0);
    wait_until(answered);
    qemu_pause();
    fake[0].guest = busy;
    reset_all();
    qemu_resume();
    hub_allow(1);
    check_runs();
    qemu_stop_all();
    CHECK(answer == PSCI_SUCCESS && fake[1].mp_state == K_MP_STATE_STOPPED);
    CHECK(!hub_page->seen[1].powered);
}

static void load_once(struct fake_vcpu *vcpu)
{
    if (vcpu->step++ == 0)
        fake_load(vcpu, DEVICE, 4);
    else
        busy(vcpu);
}

CASE(a_load_is_finished_before_the_hold_and_the_guest_does_not_go_on)
{
    machine(1);
    fake[0].guest = load_once;
    hub_allow(0);
    CHECK(qemu_run(0) == 0 && fake[0].loads);
    hub_allow(77);
    CHECK(qemu_run(0) == -1 && errno == EINTR && !fake[0].loads);
    CHECK(!has_run() && fake[0].run->immediate_exit == 1);
    CHECK(qemu_run(0) == -1 && errno == EINTR && fake[0].entries == 2);     /* held, and wanted */
}

/* ------------------------------------------------------------------------------ hpcore is gone */

CASE(nothing_is_held_once_hpcore_is_gone_and_nothing_is_granted)
{
    machine(3);
    fake[0].guest = caller;
    qemu_threads(2);
    hub_allow(0);
    wait_until(answered);
    qemu_pause();
    reset_all();
    qemu_resume();
    check_held();
    __atomic_store_n(&answers, 0, __ATOMIC_RELEASE);
    hub_leave();
    wait_until(answered);
    qemu_stop_all();
    CHECK(answer == PSCI_DENIED && fake[1].mp_state == K_MP_STATE_STOPPED);
}

FAILS(an_hpcore_that_dies_before_it_allows_ends_qemu, "before it has let the machine run")
{
    machine(1);
    qemu_threads(2);
    wait_until(is_started);
    check_held();
    hub_leave();
    sleep(60);
}

FAILS(an_hpcore_that_is_silent_at_the_start_ends_qemu, "does not let this machine run")
{
    hub_fault = HUB_SILENT;
    machine(1);
    qemu_run(0);
}
