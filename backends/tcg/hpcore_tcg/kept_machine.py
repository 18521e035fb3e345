"""A QEMU with the monitor in it that outlives hpcore: started, left, and found again."""

from __future__ import annotations

import contextlib
from asyncio import StreamReader, StreamWriter
from pathlib import Path

from hpcore.guest.boot import BootFiles
from hpcore.model.config import MachineConfig
from hpcore.qemu.errors import QemuError
from hpcore.qemu.find import Qemu
from hpcore.qemu.kept import KeptQemu
from hpcore.qemu.kept_machine import KeptQemuMachine
from hpcore.qemu.machine import stands_still
from hpcore_tcg import launch
from hpcore_tcg.build import Monitor
from hpcore_tcg.kept_link import KeptLink, Missed
from hpcore_tcg.link import Link
from hpcore_tcg.machine import TcgMachine, Told
from hpcore_tcg.protocol import FIELDS, HEAD_BIT, Decoder, Event, frame_length

_HELLO = bytes([HEAD_BIT | Event.HELLO])
_HELLO_LENGTH = frame_length(FIELDS[Event.HELLO])


class KeptMachine(KeptQemuMachine, TcgMachine):
    """Made by `create` or `find`."""

    def __init__(self, process: KeptQemu, told: Told) -> None:
        super().__init__(process, told)
        self.epoch: int | None = None
        """What the last HELLO said that has been heard."""
        self._missed: Missed | None = None

    @classmethod
    async def create(
        cls,
        config: MachineConfig,
        boot: BootFiles | None,
        qemu: Qemu,
        monitor: Monitor,
        directory: Path,
        told: Told,
    ) -> KeptMachine:
        """As `TcgMachine.start`, in a `directory` that is there already, and stays."""
        sockets = launch.Sockets.below(directory)
        try:
            argv = launch.command_line(
                config, boot, qemu, monitor, directory, sockets, kept=True
            )
        except OSError as error:
            raise QemuError(f"{directory} cannot be written: {error.strerror}") from error
        machine = cls(KeptQemu.start(argv, directory, sockets.all()), told)
        try:
            await machine.connect(sockets.qmp, sockets.console)
            await machine._connect_link(sockets)
        except BaseException:
            await machine.close()
            raise
        return machine

    @classmethod
    async def find(cls, directory: Path, heard: int, told: Told) -> KeptMachine:
        """Connect to the machine in `directory`, whose link was heard up to `heard`.

        It stands still then, so that what it has said is all in the files. Raises QemuGone,
        QemuError; the machine goes on as it was.
        """
        sockets = launch.Sockets.below(directory)
        assert sockets.console is not None, "of a machine of ours"
        machine = cls(await KeptQemu.attach(directory, sockets.qmp), told)
        try:
            await machine.connect(sockets.qmp, None)
            await machine._stand_still()
            machine._read_files(directory, heard)
            await machine.connect_console(sockets.console)
            await machine._connect_link(sockets)
        except BaseException as error:
            with contextlib.suppress(QemuError):
                if machine.status == "running":
                    await machine.qmp.execute("cont")
            await machine.leave()
            if isinstance(error, OSError):
                said = f"{error.filename} cannot be read: {error.strerror}"
                raise QemuError(said) from error
            raise
        return machine

    @property
    def link(self) -> KeptLink:
        """See TcgMachine."""
        link = super().link
        assert isinstance(link, KeptLink), "that is what it makes"
        return link

    async def leave(self) -> None:
        """See QemuMachine."""
        await super().leave()
        if self._link is not None:
            await self._link.close()

    async def _stand_still(self) -> None:
        self.status = await self.run_state()
        if not stands_still(self.status):
            await self.qmp.execute("stop")
            after = await self.run_state()
            if after != "paused":  # it has powered off meanwhile
                self.status = after

    def _read_files(self, directory: Path, heard: int) -> None:
        said = (directory / launch.LINK_KEPT).read_bytes()
        if len(said) < heard:
            raise QemuError(
                f"{directory / launch.LINK_KEPT} has {len(said)} bytes, and the log has heard "
                f"{heard}: it is not that machine's, or was cut"
            )
        self.epoch = _last_epoch(said[:heard])
        self._missed = Missed(heard, said[heard:])
        self.read_printed(directory)

    def _linked(self, reader: StreamReader, writer: StreamWriter) -> Link:
        return KeptLink(reader, writer, self._hear, self._link_ended, self._missed)


def _last_epoch(said: bytes) -> int | None:
    """What the last HELLO in `said` gave. A head byte is in no other place."""
    at = said.rfind(_HELLO)
    while at >= 0:
        frames = Decoder().feed(said[at : at + _HELLO_LENGTH])
        if frames:
            return frames[0]["epoch"]
        at = said.rfind(_HELLO, 0, at)
    return None
