"""A QEMU with the monitor in it that outlives hpcore: started, left, and found again."""

from __future__ import annotations

import contextlib
import os
from asyncio import StreamReader, StreamWriter
from pathlib import Path
from typing import BinaryIO

from attrs import frozen

from hpcore.guest.boot import BootFiles
from hpcore.model.config import MachineConfig
from hpcore.qemu.errors import QemuError
from hpcore.qemu.find import Qemu
from hpcore.qemu.kept import KeptQemu
from hpcore.qemu.kept_file import KeptFile, extents
from hpcore.qemu.kept_machine import KeptQemuMachine
from hpcore.qemu.machine import stands_still
from hpcore_tcg import launch
from hpcore_tcg.build import Monitor
from hpcore_tcg.kept_link import KeptLink, Missed, usual_tag
from hpcore_tcg.link import Link
from hpcore_tcg.machine import TcgMachine, Told
from hpcore_tcg.protocol import FIELDS, HEAD_BIT, REPLY, Decoder, Event, Op, frame_length

_HELLO = bytes([HEAD_BIT | Event.HELLO])
_HELLO_LENGTH = frame_length(FIELDS[Event.HELLO])
_AT_ONCE = 1 << 20


@frozen
class Hello:
    """What the last HELLO said that has been heard, and where it ends in the file."""

    epoch: int
    end: int


class KeptMachine(KeptQemuMachine, TcgMachine):
    """Made by `create` or `find`."""

    def __init__(self, process: KeptQemu, told: Told) -> None:
        super().__init__(process, told)
        self.hello: Hello | None = None
        """As it was when the machine was found."""
        self._missed: Missed | None = None
        self._kept = KeptFile(process.directory / launch.LINK_KEPT)

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
        return await cls.found(await KeptQemu.attach(directory, sockets.qmp), sockets, heard, told)

    @classmethod
    async def found(
        cls, qemu: KeptQemu, sockets: launch.Sockets, heard: int, told: Told
    ) -> KeptMachine:
        """As `find`, of the QEMU that was found. Its console is somebody else's where `sockets`
        has none."""
        machine = cls(qemu, told)
        try:
            await machine.connect(sockets.qmp, None)
            await machine._stand_still()
            machine._read_link(heard)
            if sockets.console is not None:
                machine.read_printed(qemu.directory)
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

    def logged(self, heard: int) -> None:
        """All that was said before `heard` is in the log: what nobody needs any more goes.

        The last HELLO stays: who attaches needs its epoch.
        """
        hellos = self.link.hellos
        while len(hellos) > 1 and hellos[1] <= heard:
            del hellos[0]
        stays = range(hellos[0] - _HELLO_LENGTH, hellos[0]) if hellos else range(0)
        self._kept.give_back(heard, stays)

    def started_anew(self) -> bool:
        """Of who attached: whether the monitor has answered, since its last HELLO, an INIT that
        nobody has heard of. That is the first request of a RESTART."""
        begun = False
        if self._missed is not None:
            for frame in Decoder().frames(self._missed.data):
                if frame.kind == Event.HELLO:
                    begun = False
                elif frame.kind == REPLY and frame["tag"] == usual_tag(Op.INIT, 0):
                    begun = True
        return begun

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

    def _read_link(self, heard: int) -> None:
        kept = self.process.directory / launch.LINK_KEPT
        with kept.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            if size < heard:
                raise QemuError(
                    f"{kept} has {size} bytes, and the log has heard {heard}: it is not that "
                    "machine's, or was cut"
                )
            self.hello = last_hello(file, heard)
            file.seek(heard)
            self._missed = Missed(heard, file.read())

    def _linked(self, reader: StreamReader, writer: StreamWriter) -> Link:
        link = KeptLink(reader, writer, self._hear, self._link_ended, self._missed)
        if self.hello is not None:
            link.hellos.append(self.hello.end)
        return link


def last_hello(file: BinaryIO, below: int) -> Hello | None:
    """The last HELLO before byte `below`. A head byte is in no other place. Raises OSError."""
    for there in reversed(list(extents(file.fileno(), below))):
        end = there.stop
        while end > there.start:
            start = max(there.start, end - _AT_ONCE)
            file.seek(start)
            # with the beginning of what was looked at before: one may lie across
            said = file.read(min(end + _HELLO_LENGTH - 1, there.stop) - start)
            at = said.rfind(_HELLO)
            while at >= 0:
                frames = Decoder().feed(said[at : at + _HELLO_LENGTH])
                if frames:
                    return Hello(frames[0]["epoch"], start + at + _HELLO_LENGTH)
                at = said.rfind(_HELLO, 0, at)
            end = start
    return None
