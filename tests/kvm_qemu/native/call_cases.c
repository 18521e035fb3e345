/* CPU_ON: who is answered what, and when. */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "qemu.h"

#define ENTRY 0x40200000u
#define CONTEXT 0x1234u
#define EXIT_OTHER 24

static uint64_t affinity = 1, function = PSCI_CPU_ON_64, entry = ENTRY;
static int64_t answer;
static int answers, starts;

static void idle(struct fake_vcpu *vcpu)
{
    const struct timespec nap = {0, 200000};
    nanosleep(&nap, NULL);
    fake_exit(vcpu, EXIT_OTHER);
}

/* At CODE stands the HVC, behind it what looks at the answer: a rewound call is made again. */
static void caller(struct fake_vcpu *vcpu)
{
    if (vcpu->pc == CODE) {
        fake_hvc(vcpu, function, affinity, entry, CONTEXT);
        return;
    }
    if (vcpu->pc == CODE + 4) {
        vcpu->pc += 4;
        answer = (int64_t)vcpu->x[0];
        __atomic_add_fetch(&answers, 1, __ATOMIC_RELEASE);
    }
    idle(vcpu);
}

static void target(struct fake_vcpu *vcpu)
{
    if (vcpu->pc == ENTRY && vcpu->x[0] == CONTEXT) {
        vcpu->pc += 4;
        __atomic_add_fetch(&starts, 1, __ATOMIC_RELEASE);
    }
    idle(vcpu);
}

static bool answered(void)
{
    return __atomic_load_n(&answers, __ATOMIC_ACQUIRE) > 0;
}

static bool started(void)
{
    return __atomic_load_n(&starts, __ATOMIC_ACQUIRE) > 0;
}

static void machine(uint32_t granted)
{
    for (int i = 0; i < FAKE_VCPUS; i++)
        fake[i].guest = i ? target : caller;
    qemu_machine(3, granted);
}

static int64_t call_alone(void)
{
    answers = 0;
    fake[0].pc = CODE;
    CHECK(qemu_run(0) == 0 && answered());
    return answer;
}

CASE(a_vcpu_that_is_not_granted_is_denied)
{
    machine(1);
    CHECK(call_alone() == PSCI_DENIED);
    CHECK(fake[1].mp_state == K_MP_STATE_STOPPED && fake[1].inits == 1);
    CHECK(!hub_page->seen[1].powered);
}

CASE(an_affinity_that_no_possible_vcpu_has_is_invalid)
{
    static const uint64_t wrong[] = {3, 16, 0x100, 0x10001, 1ull << 32 | 1, 1ull << 31 | 1, ~0ull};
    machine(7);
    for (unsigned i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        affinity = wrong[i];
        CHECK(call_alone() == PSCI_INVALID_PARAMETERS);
    }
}

CASE(a_vcpu_of_the_second_cluster_is_called_by_its_affinity)
{
    for (int i = 0; i < FAKE_VCPUS; i++)
        fake[i].guest = caller;
    qemu_machine(FAKE_VCPUS, 1 | 1 << 17);
    CHECK(qemu_put_power(17, K_MP_STATE_RUNNABLE) == 0);
    affinity = 0x101;
    CHECK(call_alone() == PSCI_ALREADY_ON);
    affinity = 0x102;
    CHECK(call_alone() == PSCI_DENIED);
    affinity = 17;
    CHECK(call_alone() == PSCI_INVALID_PARAMETERS);
}

CASE(a_vcpu_that_is_on_is_said_to_be)
{
    machine(7);
    affinity = 0;
    CHECK(call_alone() == PSCI_ALREADY_ON);
}

static void by_smc(struct fake_vcpu *vcpu)
{
    if (vcpu->pc == CODE)
        fake_smc(vcpu, PSCI_CPU_ON_64);
    else
        caller(vcpu);
}

CASE(a_call_by_smc_is_not_supported)
{
    machine(7);
    fake[0].guest = by_smc;
    CHECK(call_alone() == PSCI_NOT_SUPPORTED);
    CHECK(fake[1].inits == 1);
}

static void look_at_order(struct fake_vcpu *vcpu, unsigned long request, unsigned long argument)
{
    (void)argument;
    if (vcpu == &fake[0] && request == K_RUN && fake[0].pc == CODE + 4 && !answered())
        CHECK(fake[1].mp_state == K_MP_STATE_RUNNABLE && hub_page->seen[1].powered);
}

CASE(a_granted_call_is_answered_once_the_target_is_runnable)
{
    machine(3);
    fake_hook = look_at_order;
    qemu_threads(2);
    wait_until(answered);
    wait_until(started);
    qemu_stop_all();
    CHECK(answer == PSCI_SUCCESS && answers == 1 && starts == 1);
    CHECK(fake[1].inits == 2 && fake[1].init.features[0] & 1);
    CHECK(hub_count(WIRE_CPU_ON) == 1);
    struct wire_message told = hub_last(WIRE_CPU_ON);
    CHECK(told.vcpu == 0 && told.a == 1 && told.b == ENTRY && told.c == CONTEXT && told.d == 0);
}

CASE(the_32_bit_call_has_32_bit_arguments)
{
    machine(3);
    function = PSCI_CPU_ON_32;
    affinity = 0xffull << 32 | 1;
    entry = 1ull << 40 | ENTRY;
    qemu_threads(2);
    wait_until(answered);
    wait_until(started);
    qemu_stop_all();
    CHECK(answer == PSCI_SUCCESS && hub_last(WIRE_CPU_ON).b == ENTRY);
}

static void kicked_at_once(struct fake_vcpu *vcpu)
{
    if (vcpu->pc == CODE && vcpu->step++ == 0)
        vcpu->run->immediate_exit = 1;
    caller(vcpu);
}

CASE(a_call_is_withdrawn_where_qemu_wants_the_thread_and_made_again)
{
    machine(3);
    fake[0].guest = kicked_at_once;
    CHECK(qemu_run(0) == -1 && errno == EINTR);
    CHECK(fake[0].pc == CODE && fake[1].inits == 1 && !answered());
    CHECK(hub_count(WIRE_CPU_ON) == 0);
    CHECK(fake[0].run->immediate_exit == 1);     /* QEMU's to clear */
    qemu_eat(0);
    qemu_threads(2);
    wait_until(answered);
    qemu_stop_all();
    CHECK(answer == PSCI_SUCCESS && fake[1].inits == 2);
    CHECK(hub_count(WIRE_REWOUND) >= 1 && hub_last(WIRE_REWOUND).a == 1);
}

static void kick_the_caller(struct fake_vcpu *vcpu, unsigned long request, unsigned long argument)
{
    (void)argument;
    if (vcpu == &fake[1] && request == K_ARM_VCPU_INIT)
        __atomic_store_n(&fake[0].run->immediate_exit, 1, __ATOMIC_RELEASE);
}

CASE(a_call_that_was_taken_is_not_withdrawn)
{
    machine(3);
    fake_hook = kick_the_caller;
    qemu_threads(2);
    wait_until(answered);
    qemu_stop_all();
    CHECK(answer == PSCI_SUCCESS && answers == 1 && fake[1].inits == 2);
    CHECK(hub_count(WIRE_REWOUND) == 0);
}

/* ---------------------------------------------- between the post and the target: one step at a time */

static int alone_result;

static void *run_zero(void *nothing)
{
    int result = qemu_run(0);
    __atomic_store_n(&alone_result, result ? -errno : 1, __ATOMIC_RELEASE);
    return nothing;
}

static bool posted(void)
{
    return __atomic_load_n(&vcpu_of(fake[1].fd)->caller, __ATOMIC_ACQUIRE);
}

static pthread_t post(void)
{
    pthread_t thread;
    CHECK(!pthread_create(&thread, NULL, run_zero, NULL));
    wait_until(posted);
    return thread;
}

CASE(a_grant_that_is_taken_back_before_the_target_comes_is_no_grant)
{
    machine(3);
    pthread_t thread = post();
    hub_grant(1, false);
    fake[1].run->immediate_exit = 1;
    CHECK(qemu_run(1) == -1 && errno == EINTR);
    pthread_join(thread, NULL);
    CHECK(answer == PSCI_DENIED && fake[1].inits == 1);
    CHECK(fake[1].mp_state == K_MP_STATE_STOPPED);
}

CASE(a_force_that_comes_before_the_target_leaves_it_off)
{
    machine(3);
    pthread_t thread = post();
    hub_grant(1, false);
    hub_force(1);
    fake[1].run->immediate_exit = 1;
    CHECK(qemu_run(1) == -1 && errno == EINTR);
    pthread_join(thread, NULL);
    CHECK(answer == PSCI_DENIED && fake[1].mp_state == K_MP_STATE_STOPPED);
    CHECK(hub_page->seen[1].forced == 1 && hub_count(WIRE_FORCED) == 1);
}

CASE(a_second_call_of_the_same_vcpu_is_pending)
{
    machine(7);
    fake[2].guest = caller;
    CHECK(qemu_put_power(2, K_MP_STATE_RUNNABLE) == 0);
    pthread_t thread = post();
    CHECK(qemu_run(2) == 0 && answer == PSCI_ON_PENDING);
    host_kick(vcpu_of(fake[0].fd)->tid);
    pthread_join(thread, NULL);
    CHECK(alone_result == -EINTR && fake[0].pc == CODE);
}

CASE(a_target_that_is_reset_cancels_the_call)
{
    machine(3);
    pthread_t thread = post();
    qemu_init(1, false);
    pthread_join(thread, NULL);
    CHECK(alone_result == -EINTR && fake[0].pc == CODE && !answered());
    CHECK(fake[1].mp_state == K_MP_STATE_STOPPED && fake[1].inits == 2);
}

CASE(a_caller_that_is_reset_keeps_its_new_registers)
{
    machine(3);
    pthread_t thread = post();
    qemu_init(0, true);
    host_kick(vcpu_of(fake[0].fd)->tid);
    pthread_join(thread, NULL);
    CHECK(alone_result == -EINTR && fake[0].pc == CODE && fake[0].x[0] == 0);
}

CASE(a_target_that_qemu_has_started_meanwhile_is_on)
{
    machine(3);
    pthread_t thread = post();
    CHECK(qemu_put_power(1, K_MP_STATE_RUNNABLE) == 0);
    CHECK(qemu_run(1) == 0);
    pthread_join(thread, NULL);
    CHECK(answer == PSCI_ALREADY_ON && fake[1].inits == 1);
}

CASE(nothing_is_granted_once_hpcore_is_gone)
{
    machine(3);
    affinity = 2;
    CHECK(call_alone() == PSCI_DENIED);     /* and the machine has started */
    affinity = 1;
    hub_leave();
    CHECK(call_alone() == PSCI_DENIED && fake[1].inits == 1);
}

CASE(a_call_that_waits_as_hpcore_dies_is_denied)
{
    machine(3);
    pthread_t thread = post();
    hub_leave();
    fake[1].run->immediate_exit = 1;
    CHECK(qemu_run(1) == -1 && errno == EINTR);
    pthread_join(thread, NULL);
    CHECK(answer == PSCI_DENIED && fake[1].inits == 1);
}

/* Every ioctl of a whole start in its turn ends with EINTR; a process for each, as state is its. */
CASE(eintr_at_every_ioctl_changes_nothing)
{
    bool more = true;
    int tried = 0;
    for (int at = 1; more; at++, tried++) {
        int status;
        pid_t child = fork();
        if (!child) {
            fake_interrupt_at = at;
            machine(3);
            qemu_threads(2);
            wait_until(answered);
            wait_until(started);
            qemu_stop_all();
            CHECK(answer == PSCI_SUCCESS && answers == 1 && starts == 1 && fake_irqfds == 1);
            CHECK(fake_filters == 2 && fake[1].inits == 2);
            _exit(at > 80 ? 3 : 0);
        }
        waitpid(child, &status, 0);
        CHECK(WIFEXITED(status) && (WEXITSTATUS(status) == 0 || WEXITSTATUS(status) == 3));
        more = WEXITSTATUS(status) == 0;
    }
    CHECK(tried == 81);
}
