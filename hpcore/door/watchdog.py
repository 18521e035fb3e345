"""The process between a QEMU and its door: when the door ends, whoever ended it, QEMU ends too.

A QEMU whose door is gone would go on with vCPUs that nobody controls. The door is not QEMU's
parent, so the kernel can't see to this. What does is a small process that waits for the end
of the door. A VM that is kept it lets be, from when another door can take it up.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal

LET_BE = 0
"""In place of a process id: QEMU is not to end with the door."""

END_SECONDS = 5.0
"""For QEMU to end by itself after SIGTERM."""


def watch(heard: int) -> None:
    """Wait for the end of the door, and then end QEMU if it is still there.

    `heard` is the reading end of a pipe whose other end is the door's alone. The door writes
    QEMU's process id there, anew when that changes, or LET_BE.
    """
    qemu: int | None = None
    with os.fdopen(heard) as told:
        for line in told:
            if qemu is not None:
                os.close(qemu)
            pid = int(line)
            qemu = None if pid == LET_BE else _open(pid)
    if qemu is not None:
        _end(qemu)


def _open(pid: int) -> int | None:
    try:
        return os.pidfd_open(pid)
    except ProcessLookupError:
        return None


def _end(qemu: int) -> None:
    gone = select.poll()
    gone.register(qemu, select.POLLIN)
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(qemu, number)
        if gone.poll(END_SECONDS * 1000):
            return
