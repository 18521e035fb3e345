"""Processes made by fork, some at a time, each of which tries one mutant within its time.

A process says over a pipe what it is about to do, and how long that may take. It is killed, with
all that it started, once it has said what came of it, or said nothing in time.
"""

from __future__ import annotations

import json
import os
import resource
import selectors
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Iterable
from typing import Any, Generic, TypeVar

from attrs import frozen, mutable

T = TypeVar("T")

FIRST_SECONDS = 60.0
"""For a process to say its first word."""
MEMORY = 2 << 30
"""Bytes that a mutant may take beyond those that its process begins with."""


@frozen
class Outcome:
    """What came of a mutant. `how` is "failed", "too long" or "died", or None: it survived."""

    how: str | None
    by: str | None = None
    """The test that was running."""
    note: str | None = None

    @property
    def found(self) -> bool:
        """Whether the tests noticed."""
        return self.how is not None


class Voice:
    """How a process tells its parent what it does."""

    def __init__(self, pipe: int) -> None:
        self._pipe = pipe

    def begins(self, test: str, seconds: float) -> None:
        """The test is run now, and has failed if it takes longer than `seconds`."""
        self._say({"test": test, "seconds": seconds})

    def ends(self, outcome: Outcome) -> None:
        """That is all."""
        self._say({"end": [outcome.how, outcome.by, outcome.note]})

    def _say(self, words: dict[str, Any]) -> None:
        os.write(self._pipe, json.dumps(words).encode() + b"\n")


@mutable
class _Child(Generic[T]):
    task: T
    pid: int
    pipe: int
    directory: str
    until: float
    test: str | None = None
    heard: bytes = b""
    outcome: Outcome | None = None

    def listen(self) -> bool:
        """Take in what the process says; False once it is over."""
        data = os.read(self.pipe, 65536)
        if not data:
            self.outcome = Outcome("died", self.test)
            return False
        *lines, self.heard = (self.heard + data).split(b"\n")
        for line in lines:
            words = json.loads(line)
            if "end" in words:
                self.outcome = Outcome(*words["end"])
                return False
            self.test, self.until = words["test"], time.monotonic() + words["seconds"]
        return True

    def bury(self) -> None:
        """End the process and all that it started."""
        os.close(self.pipe)
        try:
            os.killpg(self.pid, signal.SIGKILL)
        except ProcessLookupError:  # it had not yet made a group of its own
            os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        shutil.rmtree(self.directory, ignore_errors=True)


def run(
    tasks: Iterable[T],
    jobs: int,
    do: Callable[[T, Voice], None],
    ended: Callable[[T, Outcome], None],
) -> None:
    """Do every task in a process of its own, `jobs` at a time, and tell `ended` what came of it."""
    waiting = iter(tasks)
    children: dict[int, _Child[T]] = {}
    with selectors.DefaultSelector() as selector:
        try:
            while True:
                while len(children) < jobs and (child := _begin(next(waiting, None), do)):
                    children[child.pipe] = child
                    selector.register(child.pipe, selectors.EVENT_READ)
                if not children:
                    return
                ready = {key.fd for key, _ in selector.select(0.2)}
                for pipe, child in list(children.items()):
                    goes_on = child.listen() if pipe in ready else True
                    if goes_on and time.monotonic() > child.until:
                        child.outcome, goes_on = Outcome("too long", child.test), False
                    if not goes_on:
                        selector.unregister(pipe)
                        del children[pipe]
                        child.bury()
                        assert child.outcome is not None
                        ended(child.task, child.outcome)
        finally:
            for child in children.values():
                child.bury()


def _begin(task: T | None, do: Callable[[T, Voice], None]) -> _Child[T] | None:
    if task is None:
        return None
    ours, theirs = os.pipe()
    directory = tempfile.mkdtemp(prefix="hpcore-mutant-")
    pid = os.fork()
    if pid == 0:
        try:
            os.close(ours)
            _settle_in(directory)
            do(task, Voice(theirs))
        finally:
            os._exit(1)  # what has not said its end has died
    os.close(theirs)
    return _Child(task, pid, ours, directory, time.monotonic() + FIRST_SECONDS)


def _settle_in(directory: str) -> None:
    """Be a group of one's own, silent, with a directory for what is temporary, and modest."""
    os.setpgid(0, 0)
    nothing = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nothing, stream)
    os.environ["TMPDIR"] = os.environ["PYTEST_DEBUG_TEMPROOT"] = tempfile.tempdir = directory
    with open("/proc/self/statm") as statm:  # noqa: PTH123
        now = int(statm.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (now + MEMORY, now + MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
