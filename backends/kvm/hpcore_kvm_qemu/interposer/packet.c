/* The packets on hpcore's socket: messages, answers, and the descriptors that go with them. */
#define _GNU_SOURCE
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "interposer.h"

union passed { char room[CMSG_SPACE(PACKET_DESCRIPTORS * sizeof(int))]; struct cmsghdr header; };

/* A socket that is connected to `path`, or -1. Neither a send nor an answer takes it longer than
 * hpcore's patience. */
int packet_connect(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    struct timeval patience = {.tv_sec = PATIENCE};
    int sock = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    memcpy(address.sun_path, path, strlen(path));
    if (sock < 0)
        return -1;
    if (setsockopt(sock, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience)
        || setsockopt(sock, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience)
        || connect(sock, (struct sockaddr *)&address, sizeof address)) {
        int error = errno;
        close(sock);
        errno = error;
        return -1;
    }
    return sock;
}

bool packet_path_fits(const char *path)
{
    return strlen(path) < sizeof ((struct sockaddr_un *)0)->sun_path;
}

/* The user at the other end, or -1. */
int64_t packet_peer(int sock)
{
    struct ucred peer;
    socklen_t length = sizeof peer;
    return getsockopt(sock, SOL_SOCKET, SO_PEERCRED, &peer, &length) ? -1 : (int64_t)peer.uid;
}

bool packet_send(int sock, const struct wire_message *message, const int *descriptors, int count)
{
    struct wire_message copy = *message;
    struct iovec part = {&copy, sizeof copy};
    union passed passed = {0};
    struct msghdr header = {.msg_iov = &part, .msg_iovlen = 1};
    size_t bytes = (size_t)count * sizeof *descriptors;
    ssize_t sent;
    if (count) {
        header.msg_control = &passed;
        header.msg_controllen = CMSG_SPACE(bytes);
        passed.header.cmsg_level = SOL_SOCKET;
        passed.header.cmsg_type = SCM_RIGHTS;
        passed.header.cmsg_len = CMSG_LEN(bytes);
        memcpy(CMSG_DATA(&passed.header), descriptors, bytes);
    }
    do
        sent = sendmsg(sock, &header, MSG_NOSIGNAL);
    while (sent < 0 && errno == EINTR);
    return sent == (ssize_t)sizeof copy;
}

/* Takes the answer to a message of that type, and a descriptor where `descriptor` is given: -1
 * where none came. Sets `errno` where no answer came, and to 0 where a wrong one did. */
bool packet_receive(int sock, uint32_t type, uint64_t *value, int *descriptor)
{
    struct wire_answer answer = {0};
    struct iovec part = {&answer, sizeof answer};
    union passed passed = {0};
    struct msghdr header = {.msg_iov = &part, .msg_iovlen = 1};
    struct cmsghdr *first;
    ssize_t got;
    if (descriptor) {
        *descriptor = -1;
        header.msg_control = &passed;
        header.msg_controllen = CMSG_SPACE(sizeof *descriptor);
    }
    do
        got = recvmsg(sock, &header, MSG_CMSG_CLOEXEC);
    while (got < 0 && errno == EINTR);
    if (got >= 0)
        errno = 0;
    if (got != (ssize_t)sizeof answer || answer.type != type)
        return false;
    first = descriptor ? CMSG_FIRSTHDR(&header) : NULL;
    if (first && first->cmsg_level == SOL_SOCKET && first->cmsg_type == SCM_RIGHTS
        && first->cmsg_len == CMSG_LEN(sizeof *descriptor))
        memcpy(descriptor, CMSG_DATA(first), sizeof *descriptor);
    *value = answer.value;
    return true;
}
