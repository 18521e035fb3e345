"""A human monitor with a prompt: `-monitor`, or `-mon` with `mode=readline`, on a socket.

The real QEMU has no such monitor. A line is hpcore's to answer, or is put to the real QEMU by
QMP's `human-monitor-command`; so commands that ask for a password or take a descriptor do
not work here, as they do not in that.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from typing import Protocol

from attrs import define, field

from hpcore.door.qmp.line_editor import LineEditor
from hpcore.door.qmp.monitor import Front
from hpcore.door.qmp.outbox import Outbox
from hpcore.door.qmp.wire import Wire, close_all

PROMPT = b"(qemu) "
AT_ONCE = 64
"""Bytes that are echoed in one turn of the event loop; each shows the whole line again."""
_IAC = 255
TELNET_OFFERS = b"\xff\xfb\x01\xff\xfb\x03\xff\xfb\x00\xff\xfd\x00"
"""What QEMU opens a telnet connection with (chardev/char-socket.c, tcp_chr_telnet_init):
it echoes, sends no go-ahead, and both sides are binary."""


class Lines(Protocol):
    """What answers the lines: `VcpuCommands.human`."""

    async def greeting(self) -> str:
        """What a client is told first."""

    async def say(self, line: str, cpu: int | None) -> str:
        """The answer to a line; `cpu` is the vCPU that was chosen by `cpu N`."""


@define(eq=False)
class PromptMonitor:
    """One human monitor; a client after the other, as with QMP."""

    front: Front
    telnet: bool = False
    _editor: LineEditor = field(factory=LineEditor, init=False)
    _cpu: int | None = field(default=None, init=False)

    async def serve(self, lines: Lines) -> None:
        """Serve clients until no more come. Cancel it once the real QEMU has ended."""
        try:
            while (client := await self.front.next()) is not None:
                await self._talk(client, lines)
        finally:
            self.front.close()

    async def _talk(self, client: socket.socket, lines: Lines) -> None:
        wire = Wire(client)
        outbox = Outbox(wire)
        try:
            self._editor.begin()
            self._editor.echo.clear()
            greeting = (await lines.greeting()).encode() + PROMPT
            outbox.put((TELNET_OFFERS if self.telnet else b"") + greeting)
            telnet = Telnet()
            while not outbox.broken.is_set():
                data, descriptors = await wire.receive()
                close_all(descriptors)
                if not data:
                    return
                typed = bytes(telnet.typed(data)) if self.telnet else data
                for begin in range(0, len(typed), AT_ONCE):
                    await self._take(typed[begin : begin + AT_ONCE], lines, outbox)
                    await outbox.room()
                    await asyncio.sleep(0)
        finally:
            await outbox.close()
            wire.close()

    async def _take(self, typed: bytes, lines: Lines, outbox: Outbox) -> None:
        for byte in typed:
            line = self._editor.take(byte)
            if line is not None:
                self._flush(outbox)
                said = await self._answer(line.decode(errors="replace"), lines)
                outbox.put(said.encode() + PROMPT)
        self._flush(outbox)

    def _flush(self, outbox: Outbox) -> None:
        if self._editor.echo:
            outbox.put(bytes(self._editor.echo))
            self._editor.echo.clear()

    async def _answer(self, line: str, lines: Lines) -> str:
        said = await lines.say(line, self._cpu)
        match line.split():
            case ["cpu", number] if number.isdecimal() and not said:
                self._cpu = int(number)
        return said


class Telnet:
    """Tells what was typed from what a telnet program says of itself."""

    def __init__(self) -> None:
        self._command: list[int] = []

    def typed(self, data: bytes) -> Iterator[int]:
        """The bytes in `data` that were typed: all but three-byte commands, and NUL."""
        for byte in data:
            if not self._command and byte != _IAC:
                if byte:
                    yield byte
            elif self._command == [_IAC] and byte == _IAC:
                self._command.clear()
                yield byte
            else:
                self._command.append(byte)
                if len(self._command) == 3:
                    self._command.clear()
