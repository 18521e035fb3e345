"""L1s that boot beside each other and beside other tests, each for one test that waits for it."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from attrs import frozen

from tests.nested.machine import Ended, NestedMachine, run


@frozen
class NestedBoot:
    """What a test wants run, and on what machine; the argument of its `boots` mark.

    `machine` is called when it is time to boot.
    """

    command: tuple[str, ...]
    machine: Callable[[], NestedMachine]
    seconds: float


class Booted:
    """A boot under way, or waiting for its turn. What it leaves in L1's /out is in `out`."""

    def __init__(self, boot: NestedBoot, turns: threading.Semaphore) -> None:
        self._directory = TemporaryDirectory(prefix="hpcore-l1-")
        self.out = Path(self._directory.name)
        self._boot, self._turns = boot, turns
        self._reports: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._ended: Ended | None = None
        self._error: Exception | None = None
        # A daemon: where the tests are broken off it ends with them, and QEMU with it.
        threading.Thread(target=self._run, daemon=True).start()

    def reports(self) -> Iterator[str]:
        """What `tests.nested.reporting` sends, as it comes, until L1 has ended."""
        while (report := self._reports.get()) is not None:
            yield report
        self._reports.put(None)

    def ended(self) -> Ended:
        """Wait for the end. Raises what `run` does."""
        for _ in self.reports():
            pass
        if self._error is not None:
            raise self._error
        assert self._ended is not None
        return self._ended

    def _run(self) -> None:
        try:
            with self._turns:
                self._ended = run(
                    self._boot.command, self.out, machine=self._boot.machine(),
                    seconds=self._boot.seconds, report=self._reports.put,
                )  # fmt: skip
        except Exception as error:
            self._error = error
        self._reports.put(None)
