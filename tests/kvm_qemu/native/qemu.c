#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "qemu.h"

struct qemu_vcpu qemu[FAKE_VCPUS];
struct test_case *test_cases;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static pthread_t threads[FAKE_VCPUS];
static uint32_t running, paused;
static bool pausing, ending;

void check(bool so, const char *what, int line)
{
    if (so)
        return;
    fprintf(stderr, "line %d: not so: %s\n", line, what);
    _exit(1);
}

static void on_signal(int number)
{
    (void)number;   /* a wait ends with EINTR; immediate_exit is set by who sends it */
}

void qemu_load(uint32_t possible, uint32_t granted)
{
    struct sigaction action = {.sa_handler = on_signal};
    sigaction(SIGUSR1, &action, NULL);
    hub_start(possible, granted);
    ioctl_load();
}

int qemu_init(uint32_t index, bool powered)
{
    struct k_vcpu_init init = {.target = 5, .features = {1u << K_VCPU_PSCI_0_2 | !powered}};
    int result;
    do
        result = ioctl(fake[index].fd, K_ARM_VCPU_INIT, &init);
    while (result < 0 && errno == EINTR);
    fake[index].pc = CODE;
    return result;
}

int qemu_gic(int vm)
{
    struct k_create_device device = {.type = K_VGIC_V3};
    struct k_device_attr init = {.group = K_VGIC_CTRL, .attr = K_VGIC_CTRL_INIT};
    int result;
    int create = (int)K_CREATE_DEVICE;  /* negative, as in QEMU, which has requests in an int */
    while (ioctl(vm, (unsigned long)create, &device) < 0)
        CHECK(errno == EINTR);
    do
        result = ioctl((int)device.fd, K_SET_DEVICE_ATTR, &init);
    while (result < 0 && errno == EINTR);
    return (int)device.fd;
}

void qemu_machine(uint32_t possible, uint32_t granted)
{
    int vm;
    qemu_load(possible, granted);
    do
        vm = ioctl(-1, K_CREATE_VM, 0ul);
    while (vm < 0 && errno == EINTR);
    for (uint32_t i = 0; i < possible; i++) {
        qemu[i].index = i;
        while (ioctl(vm, K_CREATE_VCPU, (unsigned long)i) < 0)
            CHECK(errno == EINTR);
        qemu_init(i, i == 0);
    }
    qemu_gic(vm);
}

int qemu_put_power(uint32_t index, uint32_t mp_state)
{
    struct k_mp_state state = {mp_state};
    int result;
    do
        result = ioctl(fake[index].fd, K_SET_MP_STATE, &state);
    while (result < 0 && errno == EINTR);
    return result;
}

int qemu_run(uint32_t index)
{
    __atomic_store_n(&fake[index].tid, (uint32_t)syscall(SYS_gettid), __ATOMIC_RELEASE);
    return ioctl(fake[index].fd, K_RUN, 0ul);
}

void qemu_eat(uint32_t index)
{
    __atomic_store_n(&fake[index].run->immediate_exit, 0, __ATOMIC_RELEASE);
}

static bool stand_by(void)
{
    pthread_mutex_lock(&lock);
    if (pausing) {
        paused++;
        pthread_cond_broadcast(&changed);
        while (pausing)
            pthread_cond_wait(&changed, &lock);
        paused--;
    }
    bool go_on = !ending;
    pthread_mutex_unlock(&lock);
    return go_on;
}

static void *thread(void *argument)
{
    struct qemu_vcpu *vcpu = argument;
    while (stand_by()) {
        int result = qemu_run(vcpu->index);
        if (result < 0) {
            CHECK(errno == EINTR);
            __atomic_add_fetch(&vcpu->interrupted, 1, __ATOMIC_RELAXED);
            qemu_eat(vcpu->index);      /* before it looks at what is asked of it */
        } else {
            __atomic_add_fetch(&vcpu->others, 1, __ATOMIC_RELAXED);
        }
    }
    return NULL;
}

void qemu_threads(uint32_t count)
{
    running = count;
    for (uint32_t i = 0; i < count; i++)
        CHECK(!pthread_create(&threads[i], NULL, thread, &qemu[i]));
}

static void kick_all(void)
{
    for (uint32_t i = 0; i < running; i++) {
        __atomic_store_n(&fake[i].run->immediate_exit, 1, __ATOMIC_RELEASE);
        pthread_kill(threads[i], SIGUSR1);
    }
}

void qemu_pause(void)
{
    pthread_mutex_lock(&lock);
    pausing = true;
    kick_all();
    while (paused < running)
        pthread_cond_wait(&changed, &lock);
    pthread_mutex_unlock(&lock);
}

void qemu_resume(void)
{
    pthread_mutex_lock(&lock);
    pausing = false;
    pthread_cond_broadcast(&changed);
    while (paused) {
        pthread_mutex_unlock(&lock);
        sched_yield();
        pthread_mutex_lock(&lock);
    }
    pthread_mutex_unlock(&lock);
}

void qemu_stop_all(void)
{
    qemu_pause();
    ending = true;
    qemu_resume();
    for (uint32_t i = 0; i < running; i++)
        pthread_join(threads[i], NULL);
}

void wait_until(bool (*is_so)(void))
{
    const struct timespec nap = {0, 500000};
    for (int i = 0; i < 20000; i++) {
        if (is_so())
            return;
        nanosleep(&nap, NULL);
    }
    fputs("what was waited for did not come\n", stderr);
    _exit(1);
}

int main(int count, char **arguments)
{
    for (struct test_case *one = test_cases; count == 2 && one; one = one->next)
        if (!strcmp(one->name, arguments[1])) {
            one->run();
            return 0;
        }
    fputs("no such case\n", stderr);
    return 2;
}
