"""One QEMU that runs a machine: the process, its QMP, its console, and what became of it.

Knows nothing of slots. It says once why the machine is lost, if it is.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path
from typing import Protocol

from hpcore.qemu.console import SocketConsole
from hpcore.qemu.errors import QemuError
from hpcore.qemu.migration_words import MigrationWords
from hpcore.qemu.qmp import Qmp
from hpcore.qemu.running import RunningQemu

LAST_WORDS_SECONDS = 2.0


class Told(Protocol):
    """Who is told what becomes of a machine.

    `lost` gets the reason, once, when QEMU or what hpcore has in it is gone without being
    asked to. `shut_down` gets QEMU's reason when the machine has shut down, whoever asked for
    it, and `reset_still` is called when it was reset while it stands still.
    """

    @property
    def lost(self) -> Callable[[str], None]: ...
    @property
    def shut_down(self) -> Callable[[str], None]: ...
    @property
    def reset_still(self) -> Callable[[], None]: ...


def stands_still(status: str) -> bool:
    """Whether a machine whose `query-status` says `status` runs no vCPU."""
    return status != "running"


class QemuMachine:
    """A QEMU that was started with `-S`; all its sockets are drained from `connect` to `close`."""

    def __init__(self, process: RunningQemu, told: Told) -> None:
        self.process = process
        self.running_since: float | None = None
        """When the machine's time began to pass, in seconds of the loop; None in a stop."""
        self.has_run = False
        """Whether QEMU has ever said that the machine goes on. It says so just before it does."""
        self.migration = MigrationWords()
        self.incoming: Path | None = None
        """Where it is to listen for the machine that is carried to it."""
        self._told = told
        self._qmp: Qmp | None = None
        self._console: SocketConsole | None = None
        self._ending = False
        self._tasks: list[asyncio.Task[None]] = []

    async def connect(self, qmp: Path, console: Path | None) -> None:
        """Connect to QMP, and to the console where it is hpcore's; watch the process.

        Raises QemuError; the caller closes the machine then.
        """
        self._qmp = await Qmp.connect(self.process, qmp, self._qmp_event)
        if console is not None:
            await self.connect_console(console)
        self.begin(self._watch_process())

    async def connect_console(self, console: Path) -> None:
        """Connect to the console. Raises QemuError."""
        self._console = SocketConsole(*await self.process.connect(console))

    @property
    def qmp(self) -> Qmp:
        """QEMU's QMP, once `connect` has connected to it."""
        assert self._qmp is not None, "connect comes first"
        return self._qmp

    @property
    def console(self) -> SocketConsole | None:
        """The guest's console; None where it is somebody else's."""
        return self._console

    @property
    def silent(self) -> bool:
        """Whether nothing has come from its guest: it may not have run at all."""
        return self._console is None or self._console.silent

    def may_have_machine(self) -> None:
        """From here on the machine may be this QEMU's. Raises QemuError where that can't be noted:
        see hpcore.qemu.kept_directory."""

    def has_no_machine(self) -> None:
        """This QEMU has no machine, and never will: it goes on in another one. Idempotent."""

    def listen(self, told: Told) -> None:
        """Tell `told` from now on. Of a machine that was carried here, when it has come."""
        self._told = told

    async def quit(self) -> None:
        """Ask QEMU to end, and wait until it has."""
        self._ending = True
        with contextlib.suppress(QemuError):  # it may be gone before it has answered
            await self.qmp.execute("quit")
        await self.process.close()

    async def close(self) -> None:
        """End QEMU and leave its sockets. Idempotent; no loss is reported for it."""
        self._ending = True
        for task in self._tasks:
            task.cancel()
        for part in (self._qmp, self.process, self._console):
            if part is not None:
                await part.close()

    async def leave(self) -> None:
        """Leave its sockets, and QEMU as it is. For a QEMU that is kept."""
        self._ending = True
        for task in self._tasks:
            task.cancel()
        for part in (self._qmp, self._console):
            if part is not None:
                await part.close()

    def lose(self, why: str) -> None:
        """The machine is of no use any more; say so once."""
        if not self._ending:
            self._ending = True
            self._told.lost(why)

    def begin(self, work: Coroutine[None, None, None]) -> None:
        """Have `work` done until `close`."""
        self._tasks.append(asyncio.create_task(work))

    def ended(self, what: str, why: str) -> None:
        """`what` has ended. That is nearly always because QEMU ends, and then QEMU says why."""
        if not self._ending:
            self.begin(self._explain(what, why))

    def _qmp_event(self, name: str, data: Mapping[str, object]) -> None:
        if name == "RESUME":
            self.running_since = asyncio.get_running_loop().time()
            self.has_run = True
        elif name == "STOP":
            self.running_since = None
        elif name == "MIGRATION":
            self.migration.hear(str(data.get("status")))
        elif name == "SHUTDOWN" and not self._ending:  # of a `quit` QEMU tells so, too
            self._told.shut_down(str(data.get("reason")))
        elif name == "RESET" and self.running_since is None:
            self._told.reset_still()

    async def _explain(self, what: str, why: str) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.process.wait(), LAST_WORDS_SECONDS)
        if self.process.running:
            self.lose(f"{what} is closed ({why}), though QEMU runs")
        else:
            self.lose(f"QEMU is gone: {self.process.last_words}")

    async def _watch_process(self) -> None:
        await self.process.wait()
        self.migration.gone(f"QEMU is gone: {self.process.last_words}")
        self.lose(f"QEMU is gone: {self.process.last_words}")
