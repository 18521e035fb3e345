#define _GNU_SOURCE
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "interposer.h"

_Noreturn void fail_closed(const char *what, int error)
{
    char text[256];
    int length = error ? snprintf(text, sizeof text, "hpcore interposer: %s: %s\n", what,
                                  strerrordesc_np(error))
                       : snprintf(text, sizeof text, "hpcore interposer: %s\n", what);
    if (length >= (int)sizeof text)
        length = (int)sizeof text - 1;
    if (write(STDERR_FILENO, text, (size_t)length) < 0)
        _exit(97);
    _exit(97);  /* at once: no handler of QEMU's, no other thread that runs on */
}
