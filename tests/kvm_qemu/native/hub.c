#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "hub.h"

#define KEPT 65536

struct wire_page *hub_page;
enum hub_fault hub_fault;
uint64_t hub_value;
void (*hub_on_write)(const struct wire_message *);
int hub_event = -1;
int hub_passed;
bool hub_holds, hub_hung_up, hub_keeps;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct wire_message kept[KEPT];
static int messages, listener, talk = -1, page;
static char path[64];

union passed { char room[CMSG_SPACE(2 * sizeof(int))]; struct cmsghdr header; };

static void answer(uint32_t type, uint64_t value, int fd)
{
    struct wire_answer text = {.type = type, .value = value};
    struct iovec part = {&text, sizeof text};
    union passed passed = {0};
    struct msghdr header = {.msg_iov = &part, .msg_iovlen = 1};
    if (fd >= 0) {
        header.msg_control = &passed;
        header.msg_controllen = CMSG_SPACE(sizeof fd);
        passed.header.cmsg_level = SOL_SOCKET;
        passed.header.cmsg_type = SCM_RIGHTS;
        passed.header.cmsg_len = CMSG_LEN(sizeof fd);
        memcpy(CMSG_DATA(&passed.header), &fd, sizeof fd);
    }
    sendmsg(talk, &header, MSG_NOSIGNAL);
}

static void handle(const struct wire_message *message)
{
    bool holds = __atomic_load_n(&hub_holds, __ATOMIC_ACQUIRE);
    if (!holds && (message->type == WIRE_START || message->type == WIRE_RESET))
        hub_allow(message->type == WIRE_RESET ? (uint32_t)message->a : hub_page->resets);
    switch (message->type) {
    case WIRE_HELLO:
        if (hub_fault == HUB_HANGS_UP)
            shutdown(talk, SHUT_RDWR);
        else
            answer(WIRE_HELLO, WIRE_VERSION, hub_fault == HUB_NO_PAGE ? -1 : page);
        break;
    case WIRE_AGAIN:
        answer(WIRE_AGAIN, WIRE_VERSION + (hub_fault == HUB_OTHER_VERSION), -1);
        break;
    case WIRE_RESUMED:
        if (message->b)
            answer(hub_page->last[message->b % WIRE_TOLD].type, hub_value, -1);
        break;
    case WIRE_START:
        if (hub_fault != HUB_SILENT)
            answer(WIRE_START, hub_fault != HUB_REFUSES, -1);
        break;
    case WIRE_READ:
        if (hub_fault != HUB_SILENT)
            answer(WIRE_READ, hub_value, -1);
        break;
    case WIRE_WRITE:
        if (hub_on_write)
            hub_on_write(message);
        answer(WIRE_WRITE, 0, -1);
        break;
    default:
        break;
    }
}

static void *serve(void *nothing)
{
    talk = accept(listener, NULL, NULL);
    for (;;) {
        struct wire_message message;
        struct iovec part = {&message, sizeof message};
        union passed passed = {0};
        struct msghdr header = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = &passed,
                                .msg_controllen = sizeof passed.room};
        ssize_t got = recvmsg(talk, &header, 0);
        if (got < 0 && errno == EINTR)
            continue;
        if (got != (ssize_t)sizeof message) {
            close(talk);
            __atomic_store_n(&hub_hung_up, true, __ATOMIC_RELEASE);
            return nothing;
        }
        struct cmsghdr *first = CMSG_FIRSTHDR(&header);
        if (first) {
            hub_passed = (int)((first->cmsg_len - CMSG_LEN(0)) / sizeof hub_event);
            memcpy(&hub_event, CMSG_DATA(first), sizeof hub_event);
        }
        pthread_mutex_lock(&lock);
        if (messages < KEPT)
            kept[messages++] = message;
        pthread_mutex_unlock(&lock);
        handle(&message);
    }
}

static void make_page(uint32_t possible, uint32_t granted)
{
    size_t bytes = hub_fault == HUB_SHORT_PAGE ? 4096 : sizeof *hub_page;
    page = memfd_create("page", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (page < 0 || ftruncate(page, (off_t)bytes))
        abort();
    if (hub_fault != HUB_UNSEALED)
        fcntl(page, F_ADD_SEALS, F_SEAL_SHRINK);
    hub_page = mmap(NULL, sizeof *hub_page, PROT_READ | PROT_WRITE, MAP_SHARED, page, 0);
    hub_page->magic = WIRE_MAGIC;
    hub_page->version = hub_fault == HUB_OLD_PAGE ? 0 : WIRE_VERSION;
    hub_page->possible = hub_fault == HUB_NO_VCPUS ? 0 : possible;
    hub_page->spi = 9;
    hub_page->kept = hub_keeps;
    hub_page->region[0].base = 0x090c0000;
    hub_page->region[0].size = 12;
    for (uint32_t i = 0; i < 32; i++)
        hub_page->granted[i] = granted >> i & 1;
}

static void listen_and_serve(void)
{
    pthread_t thread;
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    strcpy(address.sun_path, path);
    unlink(path);
    listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, 1))
        abort();
    __atomic_store_n(&hub_hung_up, false, __ATOMIC_RELEASE);
    if (pthread_create(&thread, NULL, serve, NULL) || pthread_detach(thread))
        abort();
}

void hub_start(uint32_t possible, uint32_t granted)
{
    snprintf(path, sizeof path, "hub-%d", (int)getpid());
    make_page(possible, granted);
    setenv("HPCORE_INTERPOSER", path, 1);
    listen_and_serve();
}

void hub_leave(void)
{
    close(listener);
    shutdown(talk, SHUT_RDWR);
    while (!__atomic_load_n(&hub_hung_up, __ATOMIC_ACQUIRE))
        usleep(1000);
}

void hub_return(void)
{
    listen_and_serve();
}

void hub_grant(uint32_t index, bool yes)
{
    __atomic_store_n(&hub_page->granted[index], yes, __ATOMIC_RELEASE);
}

void hub_allow(uint32_t resets)
{
    uint32_t before = __atomic_load_n(&hub_page->allowed, __ATOMIC_RELAXED);
    while (before < resets + 1)     /* the case's thread and the hub's, whose news may be older */
        if (__atomic_compare_exchange_n(&hub_page->allowed, &before, resets + 1, false,
                                        __ATOMIC_RELEASE, __ATOMIC_RELAXED))
            return;
}

void hub_force(uint32_t index)
{
    __atomic_add_fetch(&hub_page->force[index], 1, __ATOMIC_RELEASE);
}

void hub_reset_gic(uint32_t index)
{
    __atomic_add_fetch(&hub_page->gic[index], 1, __ATOMIC_RELEASE);
}

int hub_messages(void)
{
    pthread_mutex_lock(&lock);
    int now = messages;
    pthread_mutex_unlock(&lock);
    return now;
}

struct wire_message hub_message(int number)
{
    pthread_mutex_lock(&lock);
    struct wire_message message = kept[number];
    pthread_mutex_unlock(&lock);
    return message;
}

int hub_count(uint32_t type)
{
    int count = 0;
    for (int i = hub_messages(); i-- > 0;)
        count += hub_message(i).type == type;
    return count;
}

struct wire_message hub_last(uint32_t type)
{
    for (int i = hub_messages(); i-- > 0;)
        if (hub_message(i).type == type)
            return hub_message(i);
    return (struct wire_message){0};
}

void hub_forget(void)
{
    pthread_mutex_lock(&lock);
    messages = 0;
    pthread_mutex_unlock(&lock);
}
