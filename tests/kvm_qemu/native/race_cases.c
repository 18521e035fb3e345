/* All at once: calls, offs, forces, grants, stops, resets, signals; for -DSECONDS of time. */
#define _GNU_SOURCE
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "qemu.h"

#ifndef SECONDS
#define SECONDS 2
#endif
#define ENTRY 0x40200000u
#define VCPUS 4

static int successes, answers, starts, qemu_inits, interfaces;
static bool revoked[VCPUS];    /* force has said that it is off, and it is not granted */
static bool over;

static unsigned roll(unsigned *seed, unsigned sides)
{
    *seed = *seed * 1103515245u + 12345u;
    return (*seed >> 16) % sides;
}

static unsigned seeds[VCPUS] = {1, 2, 3, 4};

/* QEMU resets while no thread is in KVM_RUN, and none comes in before hpcore allows it. */
static void check_allowed(void)
{
    CHECK(__atomic_load_n(&hub_page->allowed, __ATOMIC_ACQUIRE)
          == __atomic_load_n(&hub_page->resets, __ATOMIC_ACQUIRE) + 1);
}

static void other(struct fake_vcpu *vcpu)
{
    const struct timespec nap = {0, 20000};
    nanosleep(&nap, NULL);
    fake_exit(vcpu, 24);
}

/* vCPU 0 calls the others, again and again. */
static void caller(struct fake_vcpu *vcpu)
{
    check_allowed();
    if (vcpu->pc == CODE && __atomic_load_n(&over, __ATOMIC_ACQUIRE)) {
        other(vcpu);
    } else if (vcpu->pc == CODE) {
        uint64_t target = 1 + roll(&seeds[0], VCPUS);    /* one is not possible */
        fake_hvc(vcpu, PSCI_CPU_ON_64, target, ENTRY, 0x5000 + target);
    } else {
        __atomic_add_fetch(&answers, 1, __ATOMIC_RELAXED);
        if (vcpu->x[0] == PSCI_SUCCESS)
            __atomic_add_fetch(&successes, 1, __ATOMIC_RELAXED);
        vcpu->pc = CODE;
        other(vcpu);
    }
}

/* A target works a little, loads a register, and goes off. */
static void target(struct fake_vcpu *vcpu)
{
    check_allowed();
    CHECK(!__atomic_load_n(&revoked[vcpu->index], __ATOMIC_ACQUIRE));
    if (vcpu->pc == ENTRY) {
        CHECK(vcpu->x[0] == 0x5000 + vcpu->index);
        __atomic_add_fetch(&starts, 1, __ATOMIC_RELAXED);
        vcpu->pc += 4;
        vcpu->cntv = 1;
    }
    switch (roll(&seeds[vcpu->index], 8)) {
    case 0:
        fake_hvc(vcpu, PSCI_CPU_OFF, 0, 0, 0);
        break;
    case 1:
        fake_load(vcpu, BLOCK, 4);
        break;
    case 2:
        fake_load(vcpu, 0x09000000, 4);
        break;
    case 3:     /* itself, and back to vCPU 0: both are on */
        fake_hvc(vcpu, PSCI_CPU_ON_64, roll(&seeds[vcpu->index], 2) * vcpu->index, ENTRY, 1);
        break;
    default:
        other(vcpu);
    }
}

static void *signals(void *nothing)
{
    const struct timespec nap = {0, 300000};
    while (!__atomic_load_n(&over, __ATOMIC_ACQUIRE)) {
        for (int i = 0; i < VCPUS; i++) {   /* EINTR wherever the thread waits */
            uint32_t tid = __atomic_load_n(&fake[i].tid, __ATOMIC_ACQUIRE);
            if (tid)
                syscall(SYS_tgkill, getpid(), tid, SIGUSR1);
        }
        nanosleep(&nap, NULL);
    }
    return nothing;
}

static uint32_t forced_now;

static bool is_forced(void)
{
    return __atomic_load_n(&hub_page->seen[forced_now].forced, __ATOMIC_ACQUIRE)
        == hub_page->force[forced_now];
}

/* The writes take long, so that who comes in meanwhile is seen. */
static void slowly(void)
{
    const struct timespec nap = {0, 30000};
    nanosleep(&nap, NULL);
}

static bool is_interface_reset(void)
{
    return __atomic_load_n(&hub_page->seen[forced_now].gic, __ATOMIC_ACQUIRE)
        == hub_page->gic[forced_now];
}

static void reset_interface(uint32_t index)
{
    hub_reset_gic(index);
    uint32_t tid = __atomic_load_n(&hub_page->seen[index].tid, __ATOMIC_ACQUIRE);
    if (tid)
        host_kick(tid);
    wait_until(is_interface_reset);
    interfaces++;
}

static void force(uint32_t index)
{
    hub_grant(index, false);
    hub_force(index);
    uint32_t tid = __atomic_load_n(&hub_page->seen[index].tid, __ATOMIC_ACQUIRE);
    if (tid)
        host_kick(tid);
    forced_now = index;
    wait_until(is_forced);
    if (index % 2)
        reset_interface(index);
    __atomic_store_n(&revoked[index], true, __ATOMIC_RELEASE);
    usleep(2000);
    __atomic_store_n(&revoked[index], false, __ATOMIC_RELEASE);
    hub_grant(index, true);
}

static void reset(void)
{
    for (uint32_t i = 0; i < VCPUS; i++) {
        while (fake[i].loads) {     /* QEMU finishes an access before a reset */
            fake[i].run->immediate_exit = 1;
            qemu_run(i);
            fake[i].run->immediate_exit = 0;
        }
        qemu_init(i, i == 0);
        qemu_inits++;
        CHECK(qemu_put_power(i, i ? K_MP_STATE_STOPPED : K_MP_STATE_RUNNABLE) == 0);
    }
}

/* hpcore takes its time; QEMU stops meanwhile, and hpcore forces. */
static void allow_late(unsigned *seed)
{
    usleep(roll(seed, 4000));
    if (roll(seed, 2))
        force(1 + roll(seed, VCPUS - 1));
    qemu_pause();
    qemu_resume();
    hub_allow(hub_page->resets);
    __atomic_store_n(&hub_holds, false, __ATOMIC_RELEASE);
}

static bool more_answers_than(void);
static int answers_before;

static bool more_answers_than(void)
{
    return __atomic_load_n(&answers, __ATOMIC_RELAXED) > answers_before;
}

static void storm(bool with_resets)
{
    struct timespec begin, now;
    unsigned seed = 7;
    pthread_t thread;
    for (int i = 0; i < FAKE_VCPUS; i++)
        fake[i].guest = i ? target : caller;
    qemu_machine(VCPUS, 7);     /* the last is not granted before it was forced once */
    qemu_inits = VCPUS;
    fake_gic_hook = slowly;
    qemu_threads(VCPUS);
    CHECK(!pthread_create(&thread, NULL, signals, NULL));
    clock_gettime(CLOCK_MONOTONIC, &begin);
    do {
        switch (roll(&seed, 4)) {
        case 0:
            force(1 + roll(&seed, VCPUS - 1));
            break;
        case 1:
            hub_grant(1, false);
            usleep(500);
            hub_grant(1, true);
            break;
        default:
            qemu_pause();
            bool late = roll(&seed, 2);
            __atomic_store_n(&hub_holds, late, __ATOMIC_RELEASE);
            if (with_resets && roll(&seed, 2))
                reset();
            qemu_resume();
            if (late)
                allow_late(&seed);
        }
        usleep(roll(&seed, 3000));
        clock_gettime(CLOCK_MONOTONIC, &now);
    } while (now.tv_sec - begin.tv_sec < SECONDS);
    answers_before = __atomic_load_n(&answers, __ATOMIC_RELAXED);
    wait_until(more_answers_than);      /* nothing is stuck */
    __atomic_store_n(&over, true, __ATOMIC_RELEASE);
    answers_before = 0;
    usleep(20000);
    qemu_stop_all();
    pthread_join(thread, NULL);
    CHECK(fake_gic_refused == 0 && interfaces > 0 && fake_gic_resets >= interfaces);
}

static int taken(void)
{
    int inits = -qemu_inits;
    for (int i = 0; i < VCPUS; i++)
        inits += (int)fake[i].inits;
    return inits;
}

/* An answer that stands in x0 and that the guest has not looked at yet. */
static int unseen(void)
{
    return fake[0].pc == CODE + 4 && fake[0].x[0] == PSCI_SUCCESS;
}

CASE(every_success_is_one_start_and_every_start_one_success)
{
    storm(false);
    CHECK(successes + unseen() == taken());
    CHECK(starts <= taken() && starts > 0);
    printf("%d calls answered, %d granted, %d started, %d rewound\n", answers, successes, starts,
           hub_count(WIRE_REWOUND));
}

CASE(resets_in_between_lose_no_thread_and_start_nothing)
{
    storm(true);
    CHECK(successes <= taken());
    CHECK(starts <= taken() && starts > 0);
    printf("%d calls answered, %d granted, %d started, %d resets\n", answers, successes, starts,
           qemu_inits / VCPUS - 1);
}
