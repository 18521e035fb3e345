/* The VGIC: affinities, CPU interfaces that come back into reset state, and the gate for that. */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "qemu.h"

#define ENTRY 0x40200000u
#define EXIT_OTHER 24
#define DEVICE 0x09000000u

static bool open_up;        /* lets a guest go that no kick gets out of KVM_RUN */
static int stuck, answers;
static int64_t answer;

static void other(struct fake_vcpu *vcpu)
{
    const struct timespec nap = {0, 200000};
    nanosleep(&nap, NULL);
    fake_exit(vcpu, EXIT_OTHER);
}

static void stay(struct fake_vcpu *vcpu)
{
    const struct timespec nap = {0, 200000};
    __atomic_store_n(&stuck, 1, __ATOMIC_RELEASE);
    while (!__atomic_load_n(&open_up, __ATOMIC_ACQUIRE))
        nanosleep(&nap, NULL);
    other(vcpu);
}

static void machine(uint32_t granted)
{
    for (int i = 0; i < FAKE_VCPUS; i++)
        fake[i].guest = other;
    qemu_machine(3, granted);
}

static uint32_t done(uint32_t index)
{
    return __atomic_load_n(&hub_page->seen[index].gic, __ATOMIC_ACQUIRE);
}

static bool two_is_told(void)
{
    return hub_count(WIRE_GIC) > 0 && hub_last(WIRE_GIC).vcpu == 2;
}

static uint64_t runs_of(uint32_t index)
{
    return __atomic_load_n(&hub_page->seen[index].runs, __ATOMIC_RELAXED);
}

static bool is_stuck(void)
{
    return __atomic_load_n(&stuck, __ATOMIC_ACQUIRE);
}

static bool all_have_run(void)
{
    return runs_of(0) > 3 && runs_of(1) > 0 && runs_of(2) > 0;
}

CASE(the_affinity_of_each_vcpu_is_the_vgics)
{
    machine(1);
    CHECK(fake_gic_inits == 1);
    for (uint32_t i = 0; i < 3; i++)
        CHECK(hub_page->seen[i].affinity == i);
}

CASE(a_vcpu_of_the_second_cluster_is_found_by_its_affinity)
{
    for (int i = 0; i < FAKE_VCPUS; i++)
        fake[i].guest = other;
    qemu_machine(FAKE_VCPUS, 1);
    CHECK(hub_page->seen[15].affinity == 15 && hub_page->seen[16].affinity == 0x100);
    CHECK(hub_page->seen[19].affinity == 0x103);
    CHECK(qemu_put_power(0, K_MP_STATE_RUNNABLE) == 0 && qemu_run(0) == 0);
    for (uint32_t i = 0; i < FAKE_VCPUS; i++)
        fake_gic_dirty(i);
    hub_grant(19, true);
    CHECK(qemu_put_power(19, K_MP_STATE_RUNNABLE) == 0);
    hub_reset_gic(19);
    CHECK(qemu_run(19) == 0);
    for (uint32_t i = 0; i < FAKE_VCPUS; i++)
        CHECK(i == 19 ? fake_gic_is_reset(i) : fake_gic_is_dirty(i));
}

CASE(a_question_for_a_vgic_and_an_its_are_no_vgic)
{
    struct k_create_device asked = {.type = K_VGIC_V3, .fd = 77, .flags = K_CREATE_DEVICE_TEST};
    struct k_create_device its = {.type = 8};
    struct k_device_attr init = {.group = K_VGIC_CTRL, .attr = K_VGIC_CTRL_INIT};
    machine(1);
    CHECK(ioctl(fake_vm, K_CREATE_DEVICE, &asked) == 0);
    CHECK(ioctl(fake_vm, K_CREATE_DEVICE, &its) == 0);
    fake_gic_renumbers = true;      /* to be read no more */
    CHECK(ioctl((int)its.fd, K_SET_DEVICE_ATTR, &init) == 0);
    CHECK(qemu_run(0) == 0);
    hub_reset_gic(0);
    fake_gic_dirty(0);
    CHECK(qemu_run(0) == 0 && fake_gic_is_reset(0));
}

CASE(an_interface_is_reset_while_nobody_is_in_kvm_run)
{
    machine(7);
    CHECK(qemu_put_power(1, K_MP_STATE_RUNNABLE) == 0);
    for (uint32_t i = 0; i < 3; i++)
        fake_gic_dirty(i);
    qemu_threads(3);
    wait_until(all_have_run);
    hub_reset_gic(2);
    host_kick(__atomic_load_n(&hub_page->seen[2].tid, __ATOMIC_ACQUIRE));
    wait_until(two_is_told);
    CHECK(done(2) == 1 && hub_last(WIRE_GIC).a == 1);
    uint64_t before[2] = {runs_of(0), runs_of(1)};
    while (runs_of(0) < before[0] + 3 || runs_of(1) < before[1] + 3)
        usleep(500);
    qemu_stop_all();
    CHECK(fake_gic_is_reset(2) && fake_gic_is_dirty(0) && fake_gic_is_dirty(1));
    CHECK(fake_gic_refused == 0 && fake_gic_resets == 1 && hub_count(WIRE_GIC) == 1);
    CHECK(fake[2].mp_state == K_MP_STATE_STOPPED);
}

CASE(an_interface_is_reset_in_a_hold)
{
    hub_holds = true;
    machine(1);
    fake_gic_dirty(2);
    hub_reset_gic(2);
    qemu_threads(3);
    wait_until(two_is_told);
    CHECK(runs_of(0) == 0 && runs_of(1) == 0 && runs_of(2) == 0);
    hub_allow(0);
    wait_until(all_have_run);
    qemu_stop_all();
    CHECK(fake_gic_is_reset(2) && fake_gic_refused == 0);
}

static void ask_again(void)
{
    static int writes;
    if (writes++ == 3)
        hub_reset_gic(0);
}

CASE(a_count_that_comes_while_an_interface_is_reset_is_another_reset)
{
    machine(1);
    CHECK(qemu_run(0) == 0);
    fake_gic_hook = ask_again;
    hub_reset_gic(0);
    CHECK(qemu_run(0) == 0 && done(0) == 2 && fake_gic_resets == 2);
    CHECK(qemu_run(0) == 0 && fake_gic_resets == 2);
}

CASE(a_vgic_that_is_busy_for_a_moment_is_waited_for)
{
    machine(1);
    CHECK(qemu_run(0) == 0);
    fake_gic_dirty(0);
    fake_gic_busy = 40;
    hub_reset_gic(0);
    CHECK(qemu_run(0) == 0 && done(0) == 1 && fake_gic_is_reset(0) && fake_gic_busy == 0);
}

/* ------------------------------------------------------------------- the gate, one step at a time */

static int result[3];

static void *run(void *argument)
{
    uint32_t index = (uint32_t)(uintptr_t)argument;
    int value = qemu_run(index) ? -errno : 1;
    __atomic_store_n(&result[index], value, __ATOMIC_RELEASE);
    return NULL;
}

static pthread_t start(uint32_t index)
{
    pthread_t thread;
    CHECK(!pthread_create(&thread, NULL, run, (void *)(uintptr_t)index));
    return thread;
}

static bool zero_is_kicked(void)
{
    return __atomic_load_n(&fake[0].run->immediate_exit, __ATOMIC_ACQUIRE);
}

/* vCPU 0 is in KVM_RUN, and stays; vCPU 2 has closed the gate and waits for it. */
static void close_gate(pthread_t *zero, pthread_t *two)
{
    CHECK(qemu_put_power(1, K_MP_STATE_RUNNABLE) == 0);
    CHECK(qemu_run(1) == 0);
    fake[0].guest = stay;
    *zero = start(0);
    wait_until(is_stuck);
    fake_gic_dirty(2);
    hub_reset_gic(2);
    *two = start(2);
    wait_until(zero_is_kicked);
}

static void let_go(pthread_t zero)
{
    __atomic_store_n(&open_up, true, __ATOMIC_RELEASE);
    pthread_join(zero, NULL);
    CHECK(result[0] == 1);
}

static void want(uint32_t index)        /* QEMU's kick */
{
    __atomic_store_n(&fake[index].run->immediate_exit, 1, __ATOMIC_RELEASE);
}

CASE(qemu_has_the_thread_that_waits_for_others_and_the_reset_comes_later)
{
    pthread_t zero, two;
    machine(7);
    close_gate(&zero, &two);
    CHECK(done(2) == 0);
    want(2);
    pthread_join(two, NULL);
    CHECK(result[2] == -EINTR && done(2) == 0 && fake_gic_resets == 0);
    CHECK(qemu_run(1) == 0);            /* the gate is open */
    let_go(zero);
    CHECK(qemu_run(2) == -1 && done(2) == 0);   /* still wanted: nobody is kicked out for it */
    qemu_eat(2);
    CHECK(qemu_put_power(2, K_MP_STATE_RUNNABLE) == 0);
    CHECK(qemu_run(2) == 0 && done(2) == 1);
    CHECK(fake_gic_is_reset(2) && fake_gic_refused == 0);
}

CASE(who_comes_to_a_closed_gate_waits_and_is_still_qemus)
{
    pthread_t zero, two;
    machine(7);
    close_gate(&zero, &two);
    uint64_t before = runs_of(1);
    for (int i = 0; i < 3; i++) {
        pthread_t one = start(1);
        usleep(5000);
        CHECK(__atomic_load_n(&result[1], __ATOMIC_ACQUIRE) == 0 && runs_of(1) == before);
        want(1);
        pthread_join(one, NULL);
        CHECK(result[1] == -EINTR && runs_of(1) == before);
        result[1] = 0;
        qemu_eat(1);
    }
    pthread_t one = start(1);
    let_go(zero);
    pthread_join(one, NULL);
    CHECK(result[1] == 1 && runs_of(1) == before + 1);
    want(2);
    pthread_join(two, NULL);
    CHECK(done(2) == 1 && fake_gic_refused == 0);
}

static void load(struct fake_vcpu *vcpu)
{
    if (vcpu->step++ == 0)
        fake_load(vcpu, DEVICE, 4);
    else
        other(vcpu);
}

CASE(a_load_that_kvm_has_to_finish_waits_for_the_gate)
{
    pthread_t zero, two, one;
    machine(7);
    close_gate(&zero, &two);
    /* open again, for the load */
    want(2);
    pthread_join(two, NULL);
    qemu_eat(2);
    fake[1].guest = load;
    CHECK(qemu_run(1) == 0 && fake[1].loads);
    qemu_eat(0);
    two = start(2);
    wait_until(zero_is_kicked);
    want(1);
    one = start(1);
    usleep(20000);
    CHECK(__atomic_load_n(&result[1], __ATOMIC_ACQUIRE) == 0);
    let_go(zero);
    pthread_join(one, NULL);
    CHECK(result[1] == -EINTR && !fake[1].loads && fake[1].step == 1);
    want(2);
    pthread_join(two, NULL);
    CHECK(done(2) == 1 && fake_gic_refused == 0);
}

static void caller(struct fake_vcpu *vcpu)
{
    if (vcpu->pc == CODE) {
        fake_hvc(vcpu, PSCI_CPU_ON_64, 2, ENTRY, 0);
        return;
    }
    if (vcpu->pc == CODE + 4) {
        vcpu->pc += 4;
        answer = (int64_t)vcpu->x[0];
        __atomic_add_fetch(&answers, 1, __ATOMIC_RELEASE);
    }
    other(vcpu);
}

static bool answered(void)
{
    return __atomic_load_n(&answers, __ATOMIC_ACQUIRE) > 0;
}

static void look_at_gic(struct fake_vcpu *vcpu, unsigned long request, unsigned long argument)
{
    (void)argument;
    if (vcpu == &fake[2] && request == K_SET_MP_STATE)
        CHECK(fake_gic_is_reset(2));
}

CASE(a_call_that_waits_for_the_target_comes_after_its_reset)
{
    machine(7);
    fake_gic_dirty(2);
    fake[0].guest = caller;
    hub_reset_gic(2);
    fake_hook = look_at_gic;
    qemu_threads(3);
    wait_until(answered);
    qemu_stop_all();
    CHECK(answer == PSCI_SUCCESS && done(2) == 1 && fake_gic_refused == 0);
    CHECK(fake[2].mp_state == K_MP_STATE_RUNNABLE);
}

CASE(a_force_and_a_reset_of_the_interface_are_done_in_one)
{
    machine(7);
    CHECK(qemu_put_power(2, K_MP_STATE_RUNNABLE) == 0);
    fake_gic_dirty(2);
    qemu_threads(3);
    wait_until(all_have_run);
    hub_grant(2, false);
    hub_force(2);
    hub_reset_gic(2);
    host_kick(__atomic_load_n(&hub_page->seen[2].tid, __ATOMIC_ACQUIRE));
    wait_until(two_is_told);
    qemu_stop_all();
    CHECK(hub_count(WIRE_FORCED) == 1 && fake[2].mp_state == K_MP_STATE_STOPPED);
    CHECK(fake_gic_is_reset(2) && fake_gic_refused == 0);
}

/* Each ioctl of start and reset in its turn ends with EINTR; a process for each. */
CASE(eintr_at_every_access_of_the_vgic_changes_nothing)
{
    enum { CALLS = 80 };
    for (int at = 1; at <= CALLS; at++) {
        int status;
        pid_t child = fork();
        if (!child) {
            fake_interrupt_at = at;
            machine(1);
            for (int i = 0; i < 2; i++)     /* a KVM_RUN may be what is interrupted */
                if (qemu_run(0))
                    CHECK(errno == EINTR);
            fake_gic_dirty(0);
            hub_reset_gic(0);
            qemu_run(0);
            CHECK(fake_gic_is_reset(0) && done(0) == 1 && fake_gic_resets == 1);
            CHECK(hub_page->seen[2].affinity == 2 && fake_calls < CALLS + 20);
            _exit(fake_calls > CALLS ? 1 : 0);
        }
        waitpid(child, &status, 0);
        CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    }
}

/* -------------------------------------------------------------------------------- it ends with 97 */

static int bare_machine(void)
{
    for (int i = 0; i < FAKE_VCPUS; i++)
        fake[i].guest = other;
    qemu_load(1, 1);
    int vm = ioctl(-1, K_CREATE_VM, 0ul);
    CHECK(ioctl(vm, K_CREATE_VCPU, 0ul) >= 0);
    qemu_init(0, true);
    return vm;
}

FAILS(a_machine_without_a_vgic_ends_qemu, "gic-version=3")
{
    bare_machine();
    qemu_run(0);
}

FAILS(a_machine_with_a_vgicv2_ends_qemu, "gic-version=3")
{
    struct k_create_device old = {.type = 5};
    struct k_device_attr init = {.group = K_VGIC_CTRL, .attr = K_VGIC_CTRL_INIT};
    CHECK(ioctl(bare_machine(), K_CREATE_DEVICE, &old) == 0);
    CHECK(ioctl((int)old.fd, K_SET_DEVICE_ATTR, &init) == 0);
    qemu_run(0);
}

FAILS(a_vgic_that_is_not_initialised_ends_qemu, "gic-version=3")
{
    struct k_create_device device = {.type = K_VGIC_V3};
    CHECK(ioctl(bare_machine(), K_CREATE_DEVICE, &device) == 0);
    qemu_run(0);
}

FAILS(a_vgic_of_a_vm_that_was_closed_ends_qemu, "gic-version=3")
{
    int vm = bare_machine();
    struct k_create_device device = {.type = K_VGIC_V3};
    qemu_gic(vm);
    close(vm);
    CHECK(ioctl(-1, K_CREATE_VM, 0ul) == vm);   /* the number comes again */
    CHECK(ioctl(vm, K_CREATE_VCPU, 0ul) >= 0);
    CHECK(ioctl(vm, K_CREATE_DEVICE, &device) == 0);    /* and is not initialised */
    qemu_init(0, true);
    qemu_run(0);
}

FAILS(a_vgic_that_numbers_vcpus_otherwise_ends_qemu, "otherwise than hpcore")
{
    fake_gic_renumbers = true;
    machine(1);
}

FAILS(a_vgic_that_cannot_be_read_ends_qemu, "register of the VGIC: No such device")
{
    fake_fail = K_GET_DEVICE_ATTR;
    machine(1);
}

FAILS(a_vgic_that_cannot_be_written_ends_qemu, "register of the VGIC: No such device")
{
    machine(1);
    CHECK(qemu_run(0) == 0);
    fake_fail = K_SET_DEVICE_ATTR;
    hub_reset_gic(0);
    qemu_run(0);
}

FAILS(a_vgic_that_stays_busy_ends_qemu, "register of the VGIC: Device or resource busy")
{
    machine(1);
    CHECK(qemu_run(0) == 0);
    fake_gic_busy = 1 << 30;
    hub_reset_gic(0);
    qemu_run(0);
}
