"""A QEMU with the monitor in it that outlives hpcore: started, left, and found again."""

from __future__ import annotations

import contextlib
import os
from asyncio import StreamReader, StreamWriter
from pathlib import Path
from typing import BinaryIO

from attrs import frozen

from hpcore.model.config import MachineConfig
from hpcore.qemu.errors import QemuError
from hpcore.qemu.kept import KeptQemu
from hpcore.qemu.kept_directory import QemuDirectory
from hpcore.qemu.kept_file import KeptFile, extents
from hpcore.qemu.kept_machine import KeptQemuMachine
from hpcore.qemu.kept_moves import who_has
from hpcore.qemu.machine import stands_still
from hpcore.qemu.migration import give_up
from hpcore_tcg import launch
from hpcore_tcg.kept_link import KeptLink, Missed, usual_tag
from hpcore_tcg.link import Link
from hpcore_tcg.machine import DEAF, TcgMachine, Told
from hpcore_tcg.made_of import MadeOf
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
        self._kept = KeptFile(process.place / launch.LINK_KEPT)
        self._directory = QemuDirectory(process.directory)

    @classmethod
    async def create(
        cls, config: MachineConfig, made_of: MadeOf, directory: Path, told: Told
    ) -> KeptMachine:
        """As `TcgMachine.start`, in a `directory` that is there already, and stays."""
        try:
            made_of.write(directory)
        except OSError as error:
            raise QemuError(f"{directory} cannot be written: {error.strerror}") from error
        own = QemuDirectory.made(directory, 0)
        own.expect()
        return await cls._begun(config, made_of, own, told)

    @classmethod
    async def to_come(
        cls, config: MachineConfig, made_of: MadeOf, directory: Path
    ) -> KeptMachine:
        """A QEMU that waits for the machine whose `directory` this is. Raises QemuError, and leaves
        nothing behind."""
        number = max((one.number for one in QemuDirectory.all_of(directory)), default=-1) + 1
        own = QemuDirectory.made(directory, number)
        try:
            return await cls._begun(config, made_of, own, DEAF, incoming=True)
        except BaseException:
            own.remove()
            raise

    @classmethod
    async def _begun(
        cls,
        config: MachineConfig,
        made_of: MadeOf,
        own: QemuDirectory,
        told: Told,
        *,
        incoming: bool = False,
    ) -> KeptMachine:
        place = own.path.parent
        sockets = launch.Sockets.below(own.path, incoming=incoming)
        try:
            argv = launch.command_line(
                config, made_of.boot, made_of.qemu, made_of.monitor, own.path, sockets, kept=place
            )
        except OSError as error:
            raise QemuError(f"{own.path} cannot be written: {error.strerror}") from error
        machine = cls(KeptQemu.start(argv, own.path, sockets.all(), place=place), told)
        try:
            await machine.connect(sockets.qmp, sockets.console)
            await machine._connect_link(sockets)
        except BaseException:
            await machine.close()
            raise
        if incoming:
            machine.incoming = sockets.incoming
            machine.link.wait_for_machine()
        return machine

    @classmethod
    async def find(cls, directory: Path, heard: int, told: Told) -> KeptMachine:
        """Connect to the machine whose `directory` this is, whose link was heard up to `heard`.

        It stands still then, so that what it has said is all in the files; where a move of it was
        interrupted, one QEMU has it, and no other is left. Raises QemuGone, QemuError; the machine
        goes on as it was.
        """
        process = await who_has(directory, lambda qemu: launch.Sockets.below(qemu).qmp)
        return await cls.found(process, launch.Sockets.below(process.directory), heard, told)

    @classmethod
    async def found(
        cls, process: KeptQemu, sockets: launch.Sockets, heard: int, told: Told
    ) -> KeptMachine:
        """As `find`, of the QEMU that was found. Its console is somebody else's where `sockets`
        has none."""
        machine = cls(process, told)
        try:
            await machine.connect(sockets.qmp, None)
            await give_up(machine.qmp)  # a save, or a move of which nothing is left but that
            await machine._stand_still()
            machine._read_link(heard)
            if sockets.console is not None:
                machine.read_printed(process.place)
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

    @property
    def number(self) -> int:
        """How many QEMUs had the machine before."""
        return self._directory.number

    def may_have_machine(self) -> None:
        """See QemuMachine."""
        self._directory.expect()

    def has_no_machine(self) -> None:
        """See QemuMachine."""
        self._directory.give_up()

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
        kept = self.process.place / launch.LINK_KEPT
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
