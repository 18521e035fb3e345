/* The kernel's side of what the interposer does. Tests link a fake in its place. */
#define _GNU_SOURCE
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "interposer.h"

int host_ioctl(int fd, unsigned long request, unsigned long argument)
{
    return (int)syscall(SYS_ioctl, fd, request, argument);
}

void host_kick(uint32_t tid)
{
    /* getpid() each time: QEMU forks for -daemonize after this object was loaded. */
    (void)syscall(SYS_tgkill, getpid(), tid, SIGUSR1);
}
