"""What this process has: what an accelerator must not leave behind."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path

PROC = Path("/proc")
PAUSES = (0.0, 0.1, 0.5, 2.0)
"""The seconds before each try, longer every time: what else starts just now will have started."""


def belongings() -> set[str]:
    """Child processes, threads and open files, in words. Files and processes on Linux alone.

    Without the threads that asyncio keeps for `to_thread`, which end with its loop.
    """
    threads = {
        f"thread {thread.name} ({thread.ident})"
        for thread in threading.enumerate()
        if not thread.name.startswith("asyncio_")
    }
    return threads | children() | open_files()


async def left_behind(act: Callable[[], Awaitable[None]]) -> set[str]:
    """What `act` leaves behind whenever it is done, in words.

    The process may do other things as well, and start some just now: a test's fixture in a
    thread, say. So `act` has several tries, and one after which nothing more is left clears it.
    """
    left: set[str] = set()
    for pause in PAUSES:
        await asyncio.sleep(pause)
        before = belongings()
        await act()
        left = belongings() - before
        if not left:
            break
    return left


def children() -> set[str]:
    """The child processes that have not been waited for, in words."""
    found = set()
    for entry in PROC.iterdir() if PROC.exists() else ():
        if not entry.name.isdigit():
            continue
        try:
            name, _, rest = (entry / "stat").read_text().rpartition(")")
        except OSError:  # it has ended meanwhile
            continue
        if int(rest.split()[1]) == os.getpid():
            found.add(f"process {entry.name} {name.partition('(')[2]}")
    return found


def open_files() -> set[str]:
    """The files that are open, in words; each with its number, so that two are told apart."""
    found = set()
    for entry in (PROC / "self/fd").iterdir() if PROC.exists() else ():
        try:
            target = str(entry.readlink())
        except OSError:  # it was the one that lists them
            continue
        if target != f"{PROC}/{os.getpid()}/fd":
            found.add(f"file {entry.name} ({target})")
    return found
