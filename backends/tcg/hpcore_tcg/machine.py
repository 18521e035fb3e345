"""One QEMU with the monitor in it: what it is started with, and the link to the monitor.

Knows nothing of slots. It hands every event of the link on, in order.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog
from attrs import frozen

from hpcore.guest.boot import BootFiles
from hpcore.model.config import MachineConfig
from hpcore.qemu.find import Qemu
from hpcore.qemu.machine import QemuMachine
from hpcore.qemu.process import QemuProcess
from hpcore.qemu.running import RunningQemu
from hpcore.qemu.runtime_directory import directory_of_a_start
from hpcore_tcg import launch
from hpcore_tcg.build import Monitor
from hpcore_tcg.link import Link, OnEvent
from hpcore_tcg.protocol import Frame

log = structlog.get_logger(__name__)

ANSWER_SECONDS = 120.0
"""How long the monitor may take to answer while QEMU runs. It takes about a millisecond
on an idle machine; this bound only finds a monitor that is stuck."""
LOOK_SECONDS = 5.0


@frozen
class Told:
    """Who is told what becomes of a machine: see hpcore.qemu.machine.Told.

    `event` gets what the link brings.
    """

    event: OnEvent
    lost: Callable[[str], None]
    shut_down: Callable[[str], None]
    reset_still: Callable[[], None]


async def _drop(frame: Frame) -> None:
    log.warning("a QEMU that waits for its machine has sent a frame; dropped", kind=frame.kind)


def _ignore(_why: str = "") -> None:
    """Whoever carries a machine there looks for himself what becomes of that QEMU."""


DEAF = Told(_drop, _ignore, _ignore, _ignore)
"""Of a machine that is not the session's: not yet, or not any more."""


class TcgMachine(QemuMachine):
    """Made by `start` or `attach`; all its sockets are drained until `close`."""

    def __init__(self, process: RunningQemu, told: Told) -> None:
        super().__init__(process, told)
        self._on_event = told.event
        self._link: Link | None = None

    @classmethod
    async def start(
        cls,
        config: MachineConfig,
        boot: BootFiles | None,
        qemu: Qemu,
        monitor: Monitor,
        told: Told,
        *,
        incoming: bool = False,
    ) -> TcgMachine:
        """Start QEMU, stopped before its first instruction, and connect to it.

        With `incoming` it has no machine of its own: one is carried to it. Its directory stays
        until then. Raises QemuError and leaves nothing behind.
        """
        with directory_of_a_start() as directory:
            sockets = launch.Sockets.below(directory, incoming=incoming)
            argv = launch.command_line(config, boot, qemu, monitor, directory, sockets)
            process = await QemuProcess.start(argv, directory, sockets.all())
        machine = await cls.attach(process, sockets, told)
        if incoming:
            machine.incoming = sockets.incoming
            machine.link.wait_for_machine()
        else:
            process.all_connected()
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
            await machine.connect(sockets.qmp, sockets.console)
            await machine._connect_link(sockets)
        except BaseException:
            await machine.close()
            raise
        return machine

    @property
    def link(self) -> Link:
        """The link to the monitor, once `start` has connected to it."""
        assert self._link is not None, "start comes first"
        return self._link

    @property
    def silent(self) -> bool:
        """See QemuMachine: on either port."""
        return self.link.silent and super().silent

    async def spoke(self) -> bool:
        """Of a QEMU that has ended: whether anything has come from its guest, to the last byte."""
        while self.silent and not self._at_end:  # noqa: ASYNC110 - of two
            await asyncio.sleep(0.001)
        return not self.silent

    @property
    def _at_end(self) -> bool:
        return self.link.at_end and (self.console is None or self.console.at_end)

    def tell(self, told: Told) -> None:
        """Tell `told` from now on, also what the link brings."""
        self.listen(told)
        self._on_event = told.event

    async def close(self) -> None:
        """See QemuMachine."""
        await super().close()
        if self._link is not None:
            await self._link.close()

    async def _connect_link(self, sockets: launch.Sockets) -> None:
        self._link = self._linked(*await self.process.connect(sockets.link))
        self.begin(self._watch_answers())

    def _linked(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Link:
        return Link(reader, writer, self._hear, self._link_ended)

    async def _hear(self, frame: Frame) -> None:
        await self._on_event(frame)

    def _link_ended(self, why: str) -> None:
        self.ended("the link to the EL3 monitor", why)

    async def _watch_answers(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            oldest = self.link.oldest()
            if oldest is None or self.running_since is None:
                continue
            op, slot, sent = oldest
            if loop.time() - max(sent, self.running_since) > ANSWER_SECONDS:
                self.lose(
                    f"the EL3 monitor did not answer {op.name} of vCPU {slot} within "
                    f"{ANSWER_SECONDS:g} s"
                )
