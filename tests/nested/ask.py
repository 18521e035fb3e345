"""Run in L1: what `hpcore accel` and `hpcore run --accel kvm` say, to root and to nobody.

All of them are children of one process, because importing hpcore takes seconds there.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

import hpcore.cli.main  # noqa: F401 - loaded here, it is not loaded in every child
from hpcore.cli.start import main

USERS = {"root": 0, "nobody": 65534}
OUT = Path("/out")


def start(user: str, name: str, arguments: Sequence[str]) -> int:
    """`hpcore` with `arguments` as `user`, its output in `/out/USER/NAME*`; its process id."""
    pid = os.fork()
    if pid == 0:
        directory = OUT / user
        for descriptor, suffix in ((1, "json"), (2, "err")):
            file = os.open(directory / f"{name}.{suffix}", os.O_WRONLY | os.O_CREAT, 0o666)
            os.dup2(file, descriptor)
        if USERS[user]:
            os.setgroups([])
            os.setgid(USERS[user])
            os.setuid(USERS[user])
        sys.argv = ["hpcore", *arguments]
        main()
    return pid


def ask() -> None:
    """Ask for both users, and keep the exit status of each `hpcore run`."""
    runs = {}
    for user in USERS:
        (OUT / user).mkdir()
        (OUT / user).chmod(0o777)
        start(user, "accel", ["accel", "--json"])
        log = str(OUT / user / "log.jsonl")
        runs[start(user, "run", ["run", "plug-unplug", "--accel", "kvm", "--log", log])] = user
    for _ in range(2 * len(USERS)):
        pid, status = os.wait()
        if pid in runs:
            (OUT / runs[pid] / "status").write_text(str(os.waitstatus_to_exitcode(status)))


if __name__ == "__main__":
    ask()
