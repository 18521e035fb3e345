"""One QEMU with the monitor in it: the process, its sockets, and what became of it.

Knows nothing of slots. It hands every event of the link on, in order, and says once why
the machine is lost, if it is.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping

import structlog
from attrs import frozen

from hpcore.guest.boot import BootFiles
from hpcore.model.config import MachineConfig
from hpcore.qemu.console import SocketConsole
from hpcore.qemu.errors import QemuError
from hpcore.qemu.find import Qemu
from hpcore.qemu.process import QemuProcess
from hpcore.qemu.qmp import Qmp, QmpRefused
from hpcore.qemu.running import RunningQemu
from hpcore.qemu.runtime_directory import remove_runtime_directory, runtime_directory
from hpcore.run.accelerator import AcceleratorError, EffectError
from hpcore_tcg import launch
from hpcore_tcg.build import Monitor
from hpcore_tcg.link import Link, OnEvent

log = structlog.get_logger(__name__)

ANSWER_SECONDS = 120.0
"""How long the monitor may take to answer while QEMU runs. It takes about a millisecond
on an idle machine; this bound only finds a monitor that is stuck."""
LOOK_SECONDS = 5.0
LAST_WORDS_SECONDS = 2.0


@frozen
class Told:
    """Who is told what becomes of a machine.

    `event` gets what the link brings. `lost` gets the reason, once, when QEMU or the link is
    gone without being asked to. `shut_down` gets QEMU's reason when the machine has shut down,
    whoever asked for it, and `reset_still` is called when it was reset while it stands still.
    """

    event: OnEvent
    lost: Callable[[str], None]
    shut_down: Callable[[str], None]
    reset_still: Callable[[], None]


class TcgMachine:
    """Made by `start` or `attach`; all its sockets are drained until `close`."""

    def __init__(
        self,
        process: RunningQemu,
        told: Told,
    ) -> None:
        self.process = process
        self._qmp: Qmp | None = None
        self._link: Link | None = None
        self._console: SocketConsole | None = None
        self._told = told
        self._ending = False
        self._running_since: float | None = None
        self._tasks: list[asyncio.Task[None]] = []

    @classmethod
    async def start(
        cls,
        config: MachineConfig,
        boot: BootFiles | None,
        qemu: Qemu,
        monitor: Monitor,
        told: Told,
    ) -> TcgMachine:
        """Start QEMU, stopped before its first instruction, and connect to it.

        Raises QemuError and leaves nothing behind.
        """
        directory = runtime_directory()
        sockets = launch.Sockets.below(directory)
        try:
            argv = launch.command_line(config, boot, qemu, monitor, directory, sockets)
            process = await QemuProcess.start(argv, directory, sockets.all())
        except OSError as error:
            remove_runtime_directory(directory)
            raise QemuError(f"{directory} cannot be written: {error.strerror}") from error
        except BaseException:
            remove_runtime_directory(directory)
            raise
        machine = await cls.attach(process, sockets, told)
        process.remove_directory()
        return machine

    @classmethod
    async def attach(
        cls, process: RunningQemu, sockets: launch.Sockets, told: Told
    ) -> TcgMachine:
        """Connect to a QEMU that is stopped before its first instruction. As `start` otherwise.

        The machine has a console where `sockets` has one.
        """
        machine = cls(process, told)
        try:
            machine._qmp = await Qmp.connect(process, sockets.qmp, machine._qmp_event)
            if sockets.console is not None:
                machine._console = SocketConsole(*await process.connect(sockets.console))
            streams = await process.connect(sockets.link)
            machine._link = Link(*streams, told.event, machine._link_ended)
        except BaseException:
            machine._ending = True
            await machine.close()
            raise
        machine._tasks = [
            asyncio.create_task(machine._watch_process()),
            asyncio.create_task(machine._watch_answers()),
        ]
        return machine

    @property
    def qmp(self) -> Qmp:
        """QEMU's QMP, once `start` has connected to it."""
        assert self._qmp is not None, "start comes first"
        return self._qmp

    @property
    def link(self) -> Link:
        """The link to the monitor, once `start` has connected to it."""
        assert self._link is not None, "start comes first"
        return self._link

    @property
    def console(self) -> SocketConsole | None:
        """The guest's console; None where it is somebody else's."""
        return self._console

    async def command(self, name: str) -> None:
        """A QMP command. Raises EffectError where QEMU refuses it, AcceleratorError where it
        does not answer."""
        try:
            await self.qmp.execute(name)
        except QmpRefused as error:
            raise EffectError(str(error)) from error
        except QemuError as error:
            raise AcceleratorError(str(error)) from error

    async def quit(self) -> None:
        """Ask QEMU to end, and wait until it has."""
        self._ending = True
        with contextlib.suppress(QemuError):  # it may be gone before it has answered
            await self.qmp.execute("quit")
        await self.process.close()

    async def close(self) -> None:
        """End everything that `start` started. Idempotent; no loss is reported for it."""
        self._ending = True
        for task in self._tasks:
            task.cancel()
        for part in (self._link, self._qmp, self.process, self._console):
            if part is not None:
                await part.close()

    def lose(self, why: str) -> None:
        """The machine is of no use any more; say so once."""
        if not self._ending:
            self._ending = True
            log.error("the machine is lost", why=why)
            self._told.lost(why)

    def _qmp_event(self, name: str, data: Mapping[str, object]) -> None:
        if name == "RESUME":
            self._running_since = asyncio.get_running_loop().time()
        elif name == "STOP":
            self._running_since = None
        elif name == "SHUTDOWN":
            self._told.shut_down(str(data.get("reason")))
        elif name == "RESET" and self._running_since is None:
            self._told.reset_still()

    def _link_ended(self, why: str) -> None:
        if not self._ending:
            self._tasks.append(asyncio.create_task(self._explain(why)))

    async def _explain(self, why: str) -> None:
        """The link is closed: nearly always because QEMU ends, and then that is the reason."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.process.wait(), LAST_WORDS_SECONDS)
        if self.process.running:
            self.lose(f"the link to the EL3 monitor is closed ({why}), though QEMU runs")
        else:
            self.lose(f"QEMU is gone: {self.process.last_words}")

    async def _watch_process(self) -> None:
        await self.process.wait()
        self.lose(f"QEMU is gone: {self.process.last_words}")

    async def _watch_answers(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            oldest = self.link.oldest()
            if oldest is None or self._running_since is None:
                continue
            op, slot, sent = oldest
            if loop.time() - max(sent, self._running_since) > ANSWER_SECONDS:
                self.lose(
                    f"the EL3 monitor did not answer {op.name} of vCPU {slot} within "
                    f"{ANSWER_SECONDS:g} s"
                )
