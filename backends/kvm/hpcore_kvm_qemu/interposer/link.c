/* The link to hpcore. Once it is broken it stays so, and no answer can be taken for another's;
 * where the machine is kept, an hpcore that comes back has a new one. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "interposer.h"

#define AGAIN_NAP_NS 100000000

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_mutex_t turn = PTHREAD_MUTEX_INITIALIZER;    /* of those who ask, before the lock */
static pthread_cond_t is_back;
static char where[PACKET_PATH];
static int sock = -1, event = -1, page = -1;
static int64_t user;            /* hpcore's */
static bool broken;
/* under the lock */
static uint32_t links = 1;      /* counts them; also read without the lock */
static bool keeping;            /* an hpcore that comes back is looked for */
static bool waited;             /* in vain, since the link broke */

static bool is_broken(void)
{
    return __atomic_load_n(&broken, __ATOMIC_ACQUIRE);
}

/* With the lock held. */
static void hang_up(void)
{
    static const char words[] = "hpcore interposer: hpcore is gone; no CPU_ON is granted without it\n";
    if (__atomic_exchange_n(&broken, true, __ATOMIC_ACQ_REL))
        return;
    shutdown(sock, SHUT_RDWR);
    if (write(STDERR_FILENO, words, sizeof words - 1) < 0)
        return;
}

void link_open(const char *path)
{
    struct wire_message hello = {.type = WIRE_HELLO, .a = WIRE_VERSION, .b = (uint64_t)getpid()};
    uint64_t version;
    if (!packet_path_fits(path))
        fail_closed("the path of hpcore's socket is longer than 107 bytes", 0);
    strcpy(where, path);
    sock = packet_connect(where);
    if (sock < 0)
        fail_closed("cannot reach hpcore's socket", errno);
    user = packet_peer(sock);
    event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (event < 0)
        fail_closed("cannot make the GED's eventfd", errno);
    if (!packet_send(sock, &hello, &event, 1))
        fail_closed("cannot greet hpcore", errno);
    if (!packet_receive(sock, WIRE_HELLO, &version, &page) || version != WIRE_VERSION)
        fail_closed("hpcore does not answer the greeting", errno);
    if (page < 0)
        fail_closed("hpcore gives no policy page", 0);
    page_open(page);
    if (!page_is_kept())
        close(page);
}

int link_event(void)
{
    return event;
}

bool link_alive(void)
{
    char byte;
    if (is_broken())
        return false;
    uint32_t looked_at = __atomic_load_n(&links, __ATOMIC_ACQUIRE);
    /* An answer to another thread may lie there; it is looked at, not taken. */
    ssize_t got = recv(sock, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
    if (got == 0 || (got < 0 && errno != EAGAIN && errno != EINTR)) {
        pthread_mutex_lock(&lock);
        if (looked_at == links)     /* it may be a new one by now */
            hang_up();
        pthread_mutex_unlock(&lock);
    }
    return !is_broken();
}

void link_must_live(void)
{
    if (!link_alive())
        fail_closed("hpcore is gone before the machine has started", 0);
}

/* With the lock held, as the three that follow. */
static bool send_or_hang_up(const struct wire_message *message)
{
    bool ok = !is_broken() && packet_send(sock, message, NULL, 0);
    if (!ok)
        hang_up();
    return ok;
}

static bool receive_or_hang_up(uint32_t type, uint64_t *value)
{
    bool ok = packet_receive(sock, type, value, NULL);
    if (!ok)
        hang_up();
    return ok;
}

/* Until an hpcore has come back, but no longer than hpcore's patience, and once. */
static bool wait_for_link(void)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += PATIENCE;
    while (is_broken() && !waited)
        waited = pthread_cond_timedwait(&is_back, &lock, &until) == ETIMEDOUT;
    return !is_broken();
}

bool link_tell(struct wire_message message)
{
    pthread_mutex_lock(&lock);
    page_remember(&message, false);
    bool ok = send_or_hang_up(&message);
    pthread_mutex_unlock(&lock);
    return ok;
}

/* An hpcore that comes back finds the message in the page, and answers it: it is not sent again. */
bool link_ask(struct wire_message message, uint64_t *value)
{
    pthread_mutex_lock(&turn);
    pthread_mutex_lock(&lock);
    *value = 0;
    page_remember(&message, true);
    bool ok = send_or_hang_up(&message) && receive_or_hang_up(message.type, value);
    while (!ok && keeping && wait_for_link())
        ok = receive_or_hang_up(message.type, value);
    page_has_answer();
    pthread_mutex_unlock(&lock);
    pthread_mutex_unlock(&turn);
    return ok;
}

/* ------------------------------------------------------------------- an hpcore that comes back */

/* A connection to an hpcore that has taken page and eventfd again, or -1. None but the same user
 * may grant. */
static int greet_again(void)
{
    struct wire_message again = {.type = WIRE_AGAIN, .a = WIRE_VERSION, .b = (uint64_t)getpid()};
    int descriptors[] = {event, page}, fresh = packet_connect(where);
    uint64_t version;
    if (fresh < 0)
        return -1;
    if (packet_peer(fresh) == user && packet_send(fresh, &again, descriptors, 2)
        && packet_receive(fresh, WIRE_AGAIN, &version, NULL) && version == WIRE_VERSION)
        return fresh;
    close(fresh);
    return -1;
}

/* What was told until now is in the page; what is told from now on comes by the new link. */
static void take_up(int fresh)
{
    pthread_mutex_lock(&lock);
    dup3(fresh, sock, O_CLOEXEC);   /* under its old number, which others may be looking at */
    struct wire_message resumed = {.type = WIRE_RESUMED, .a = page_told(), .b = page_asked()};
    __atomic_add_fetch(&links, 1, __ATOMIC_RELEASE);
    waited = false;
    __atomic_store_n(&broken, false, __ATOMIC_RELEASE);
    send_or_hang_up(&resumed);
    pthread_cond_broadcast(&is_back);
    pthread_mutex_unlock(&lock);
    close(fresh);
}

static void *keep(void *nothing)
{
    const struct timespec nap = {0, AGAIN_NAP_NS};
    for (;;) {
        struct pollfd end = {.fd = sock, .events = POLLRDHUP};
        int fresh;
        while (poll(&end, 1, -1) <= 0)
            ;
        pthread_mutex_lock(&lock);
        hang_up();
        pthread_mutex_unlock(&lock);
        while ((fresh = greet_again()) < 0)
            nanosleep(&nap, NULL);
        take_up(fresh);
    }
    return nothing;
}

/* On a thread of its own, which is not there before QEMU has become a daemon. */
void link_keep(void)
{
    pthread_condattr_t clock;
    pthread_t thread;
    sigset_t all, before;
    if (!page_is_kept())
        return;
    pthread_condattr_init(&clock);
    pthread_condattr_setclock(&clock, CLOCK_MONOTONIC);
    pthread_cond_init(&is_back, &clock);
    sigfillset(&all);   /* signals are QEMU's threads' */
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int error = pthread_create(&thread, NULL, keep, NULL);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (error || pthread_detach(thread))
        fail_closed("cannot make a thread that waits for hpcore", error);
    pthread_mutex_lock(&lock);
    keeping = true;
    pthread_mutex_unlock(&lock);
}
