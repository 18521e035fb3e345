/* The socket to hpcore. Once it is broken it stays so: no answer can be taken for another's. */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "interposer.h"

#ifndef PATIENCE    /* the tests' is shorter */
#define PATIENCE 20 /* seconds; a vCPU waits inside of a load no longer, and QMP's stop with it */
#endif

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int sock = -1, event = -1;
static bool broken;

static void hang_up(void)
{
    static const char words[] = "hpcore interposer: hpcore is gone; no CPU_ON is granted any more\n";
    if (__atomic_exchange_n(&broken, true, __ATOMIC_ACQ_REL))
        return;
    shutdown(sock, SHUT_RDWR);
    if (write(STDERR_FILENO, words, sizeof words - 1) < 0)
        return;
}

static bool send_message(const struct wire_message *message)
{
    ssize_t sent;
    do
        sent = send(sock, message, sizeof *message, MSG_NOSIGNAL);
    while (sent < 0 && errno == EINTR);
    return sent == (ssize_t)sizeof *message;
}

/* Sets `errno` where no answer came, and to 0 where a wrong one did. */
static bool receive_answer(uint32_t type, struct msghdr *header)
{
    const struct wire_answer *answer = header->msg_iov->iov_base;
    ssize_t got;
    do
        got = recvmsg(sock, header, MSG_CMSG_CLOEXEC);
    while (got < 0 && errno == EINTR);
    if (got >= 0)
        errno = 0;
    return got == (ssize_t)sizeof *answer && answer->type == type;
}

union passed { char room[CMSG_SPACE(sizeof(int))]; struct cmsghdr header; };

static void say_hello(void)
{
    struct wire_message hello = {.type = WIRE_HELLO, .a = WIRE_VERSION, .b = (uint64_t)getpid()};
    struct iovec part = {&hello, sizeof hello};
    union passed passed = {0};
    struct msghdr header = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = &passed,
                            .msg_controllen = sizeof passed.room};
    ssize_t sent;
    passed.header.cmsg_level = SOL_SOCKET;
    passed.header.cmsg_type = SCM_RIGHTS;
    passed.header.cmsg_len = CMSG_LEN(sizeof event);
    memcpy(CMSG_DATA(&passed.header), &event, sizeof event);
    do
        sent = sendmsg(sock, &header, MSG_NOSIGNAL);
    while (sent < 0 && errno == EINTR);
    if (sent != (ssize_t)sizeof hello)
        fail_closed("cannot greet hpcore", errno);
}

static int receive_page(void)
{
    struct wire_answer answer;
    struct iovec part = {&answer, sizeof answer};
    union passed passed = {0};
    struct msghdr header = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = &passed,
                            .msg_controllen = sizeof passed.room};
    struct cmsghdr *first;
    int page;
    if (!receive_answer(WIRE_HELLO, &header) || answer.value != WIRE_VERSION)
        fail_closed("hpcore does not answer the greeting", errno);
    first = CMSG_FIRSTHDR(&header);
    if (!first || first->cmsg_level != SOL_SOCKET || first->cmsg_type != SCM_RIGHTS
        || first->cmsg_len != CMSG_LEN(sizeof page))
        fail_closed("hpcore gives no policy page", 0);
    memcpy(&page, CMSG_DATA(first), sizeof page);
    return page;
}

void link_open(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    struct timeval patience = {.tv_sec = PATIENCE};
    int page;
    if (strlen(path) >= sizeof address.sun_path)
        fail_closed("the path of hpcore's socket is longer than 107 bytes", 0);
    memcpy(address.sun_path, path, strlen(path));
    sock = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    if (sock < 0 || setsockopt(sock, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience)
        || setsockopt(sock, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience)
        || connect(sock, (struct sockaddr *)&address, sizeof address))
        fail_closed("cannot reach hpcore's socket", errno);
    event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (event < 0)
        fail_closed("cannot make the GED's eventfd", errno);
    say_hello();
    page = receive_page();
    page_open(page);
    close(page);
}

int link_event(void)
{
    return event;
}

bool link_alive(void)
{
    char byte;
    if (__atomic_load_n(&broken, __ATOMIC_ACQUIRE))
        return false;
    /* An answer to another thread may lie there; it is looked at, not taken. */
    ssize_t got = recv(sock, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
    if (got == 0 || (got < 0 && errno != EAGAIN && errno != EINTR))
        hang_up();
    return !__atomic_load_n(&broken, __ATOMIC_ACQUIRE);
}

void link_must_live(void)
{
    if (!link_alive())
        fail_closed("hpcore is gone before the machine has started", 0);
}

bool link_tell(struct wire_message message)
{
    pthread_mutex_lock(&lock);
    bool ok = !__atomic_load_n(&broken, __ATOMIC_ACQUIRE) && send_message(&message);
    if (!ok)
        hang_up();
    pthread_mutex_unlock(&lock);
    return ok;
}

bool link_ask(struct wire_message message, uint64_t *value)
{
    struct wire_answer answer = {0};
    struct iovec part = {&answer, sizeof answer};
    struct msghdr header = {.msg_iov = &part, .msg_iovlen = 1};
    pthread_mutex_lock(&lock);
    bool ok = !__atomic_load_n(&broken, __ATOMIC_ACQUIRE) && send_message(&message)
        && receive_answer(message.type, &header);
    if (!ok)
        hang_up();
    pthread_mutex_unlock(&lock);
    *value = ok ? answer.value : 0;
    return ok;
}
