"""Consoles with a real local shell, or a script, behind them."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager

SHELL = ("sh", "-c", "while :; do echo; echo hpcore-guest-ready; PS1= PS2= sh; done")
"""A local shell that starts anew when it ends, as the guest's init has it."""


class ProcessConsole:
    """A console over two file descriptors; `piece` bounds how much one read returns."""

    def __init__(self, reader: asyncio.StreamReader, write_to: int, piece: int = 1 << 16) -> None:
        self._reader = reader
        self._write_to = write_to
        self._piece = piece

    def write(self, data: bytes) -> None:
        os.write(self._write_to, data)

    async def read(self) -> bytes:
        try:
            return await self._reader.read(self._piece)
        except OSError:  # a pty whose other end is gone
            return b""


async def _reader(descriptor: int) -> tuple[asyncio.StreamReader, asyncio.BaseTransport]:
    reader = asyncio.StreamReader()
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(descriptor, "rb", buffering=0)
    )
    return reader, transport


@asynccontextmanager
async def local_shell(
    *, pty: bool = False, piece: int = 1 << 16, command: Iterable[str] = SHELL
) -> AsyncIterator[ProcessConsole]:
    """A local sh behind pipes, or behind a pty that echoes what is typed."""
    if pty:
        ours, theirs = os.openpty()
        read_from, write_to, ends = ours, os.dup(ours), (theirs, theirs)
    else:
        (their_input, write_to), (read_from, their_output) = os.pipe(), os.pipe()
        ends = (their_input, their_output)
    process = await asyncio.create_subprocess_exec(
        *command, stdin=ends[0], stdout=ends[1], stderr=ends[1], start_new_session=True
    )
    for descriptor in set(ends):
        os.close(descriptor)
    reader, transport = await _reader(read_from)
    try:
        yield ProcessConsole(reader, write_to, piece)
    finally:
        if process.returncode is None:
            os.killpg(process.pid, 9)  # its own session: the shells that it started too
        await process.wait()
        transport.close()
        os.close(write_to)


class ScriptedConsole:
    """Answers each typed line with the chunks that `script` makes of its tag."""

    def __init__(self, script: Callable[[str], Iterable[bytes]], *, ends: bool = True) -> None:
        self._script = script
        self._ends = ends
        self._chunks: list[bytes] = []
        self.typed: list[bytes] = []

    def write(self, data: bytes) -> None:
        self.typed.append(data)
        tag = re.search(rb"<hp-begin''-([0-9a-f]+-\d+)>", data)
        if tag is not None:
            self._chunks.extend(self._script(tag[1].decode()))

    async def read(self) -> bytes:
        await asyncio.sleep(0)
        if self._chunks:
            return self._chunks.pop(0)
        if not self._ends:
            await asyncio.sleep(3600)
        return b""


class FedConsole:
    """A console that prints what a test gives it."""

    def __init__(self) -> None:
        self.typed: list[bytes] = []
        self._output: asyncio.Queue[bytes] = asyncio.Queue()

    def feed(self, data: bytes) -> None:
        """Print `data`."""
        self._output.put_nowait(data)

    def end(self) -> None:
        """The machine is gone."""
        self._output.put_nowait(b"")

    def write(self, data: bytes) -> None:
        self.typed.append(data)

    async def read(self) -> bytes:
        return await self._output.get()
