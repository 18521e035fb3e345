"""The first process of a private libvirt: it starts the daemon, and its end ends all.

It runs as a script, as process 1 of a PID namespace and in a mount namespace. So every QEMU
that libvirt has started, as a daemon of its own, ends when this process does; and this one
does when its standard input ends, which also happens where the tests were killed. As process
1 it reaps what nobody else does: libvirt takes a QEMU that is not reaped for one that lives.

A line `start` or `stop` on standard input starts or stops the daemon, and is answered by the
same word when that is done. The first argument is the directory that `instance.py` has laid
out, the others are the daemon's command.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

STATE = ("/etc/libvirt", "/var/lib/libvirt", "/var/cache/libvirt", "/var/log/libvirt",
         "/run/libvirt")  # fmt: skip
"""Where the libvirt of a machine keeps its state. These paths are compiled in."""

OVERLAID = ("passwd", "group")
"""Files of /etc that are seen with one line more: libvirt wants its user to be there."""

PAUSE = 0.01


def main(directory: Path, command: list[str]) -> None:
    """Obey the lines of standard input until it ends."""
    if os.geteuid() == 0:
        hide_the_machines_own(directory)
    living: set[int] = set()

    def reap(*_: object) -> None:
        while True:
            try:
                pid, _status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            living.discard(pid)

    signal.signal(signal.SIGCHLD, reap)
    daemon = 0
    for line in sys.stdin:
        if line == "start\n":
            daemon = os.posix_spawn(command[0], command, os.environ)
            living.add(daemon)
            reap()  # it may have ended before it was in the set
        elif daemon in living:
            os.kill(daemon, signal.SIGTERM)
            while daemon in living:
                time.sleep(PAUSE)
        print(line, end="", flush=True)


def hide_the_machines_own(directory: Path) -> None:
    """Lay private directories over those of the machine's libvirt, and a user's line over /etc."""
    for path in STATE:
        Path(path).mkdir(parents=True, exist_ok=True)
        subprocess.run(["mount", "-t", "tmpfs", "private", path], check=True)
    for file in (directory / "etc-libvirt").iterdir():
        Path("/etc/libvirt", file.name).write_bytes(file.read_bytes())
    for name in OVERLAID:
        subprocess.run(["mount", "--bind", directory / name, f"/etc/{name}"], check=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
