"""QEMU as anybody would start it, with the interposer preloaded; hpcore's side is the test's."""

from __future__ import annotations

import asyncio
import fcntl
import os
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

from attrs import mutable
from hpcore_kvm_qemu import build, wire

from hpcore.qemu.arguments import qmp_monitor, socket_chardev
from hpcore.qemu.console import SocketConsole
from hpcore.qemu.find import find_qemu
from hpcore.qemu.process import QemuProcess
from hpcore.qemu.qmp import Qmp
from hpcore.qemu.runtime_directory import remove_runtime_directory, runtime_directory
from tests.kvm_with_qemu import programs
from tests.kvm_with_qemu.strings import Strings
from tests.support.waits import SECONDS

POSSIBLE = 2
PAUSE = 0.01


@mutable
class ByHand:
    """A QEMU that stands still, or has ended: `connect` gives it a monitor and a console."""

    process: QemuProcess
    directory: Path
    _qmp: Qmp | None = None
    _console: SocketConsole | None = None

    async def ended(self) -> str:
        """Wait until QEMU has ended by itself; its last words."""
        await asyncio.wait_for(self.process.wait(), SECONDS)
        return self.process.last_words

    async def connect(self) -> Strings:
        """Connect to both, and give the strings of the puppet in it."""
        self._qmp = await Qmp.connect(self.process, self.directory / "qmp", lambda *_: None)
        streams = await self.process.connect(self.directory / "console")
        self._console = console = SocketConsole(*streams)
        return Strings(lambda: console)

    async def command(self, name: str, **arguments: object) -> Any:
        """A QMP command; what QEMU returns."""
        assert self._qmp is not None, "connect comes first"
        return await self._qmp.execute(name, arguments)

    async def status(self, command: str, *wanted: str) -> None:
        """Wait until `command` gives a status that is wanted."""
        deadline = time.monotonic() + SECONDS
        while (now := await self.command(command)).get("status") not in wanted:
            assert time.monotonic() < deadline, now
            await asyncio.sleep(PAUSE)

    async def close(self) -> None:
        for part in (self._qmp, self._console):
            if part is not None:
                await part.close()
        await self.process.close()


@asynccontextmanager
async def qemu(
    link: Path | None,
    *more: str,
    vcpus: int = POSSIBLE,
    cpu: str = "host",
    counted: bool = False,
) -> AsyncIterator[ByHand]:
    """A QEMU that boots the puppet, with -S, its interposer told of the socket `link`.

    Without a socket there is no interposer either: plain QEMU. See `programs.kernel` for `counted`.
    """
    directory = runtime_directory()
    kernel = directory / "puppet"
    kernel.write_bytes(programs.kernel(counted=counted))
    argv = [
        str(find_qemu().path), "-nodefaults", "-no-user-config", "-display", "none", "-S",
        "-machine", "virt,gic-version=3,acpi=off", "-accel", "kvm", "-cpu", cpu,
        "-smp", str(vcpus), "-m", "256M", "-kernel", str(kernel),
        *socket_chardev("console", directory / "console"), "-serial", "chardev:console",
        *qmp_monitor(directory / "qmp"), *more,
    ]  # fmt: skip
    environment = {}
    if link is not None:
        environment["LD_PRELOAD"] = str(build.ensure_interposer())
        environment["HPCORE_INTERPOSER"] = str(link)
    try:
        made = ByHand(await QemuProcess.start(argv, directory, (), environment), directory)
        try:
            yield made
        finally:
            await made.close()
    finally:
        remove_runtime_directory(directory)


class Hub:
    """hpcore's side, in a process of its own: see hub.py."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    async def tell(self, line: str) -> None:
        """Have it do so, and wait until it has."""
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()
        await self.said(line)

    async def said(self, word: str) -> None:
        assert self._process.stdout is not None
        read = asyncio.to_thread(self._process.stdout.readline)
        line = await asyncio.wait_for(read, SECONDS)
        assert line.strip() == word, line

    def kill(self) -> None:
        """With -9."""
        self._process.kill()
        self._process.wait()


@contextmanager
def hub(link: Path, possible: int = POSSIBLE) -> Iterator[Hub]:
    """A hub at the socket `link`; it says `listens` once it does."""
    with subprocess.Popen(
        [sys.executable, "-m", "tests.kvm_with_qemu.hub", str(link), str(possible)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        try:
            yield Hub(process)
        finally:
            process.kill()


@asynccontextmanager
async def begun(
    link: Path,
    *granted: int,
    vcpus: int = 3,
    more: Sequence[str] = (),
    cpu: str = "host",
    counted: bool = False,
) -> AsyncIterator[tuple[ByHand, Hub, Strings]]:
    """A QEMU, stopped before its first instruction, its hub, and the strings of its puppet.

    vCPU 0 and those of `granted` may run; `cont` and the hub's `run` start the machine.
    """
    with hub(link, vcpus) as side:
        await side.said("listens")
        async with qemu(link, *more, vcpus=vcpus, cpu=cpu, counted=counted) as made:
            await side.tell(f"expect {made.process.pid}")
            guest = await made.connect()
            for slot in granted:
                await side.tell(f"grant {slot}")
            yield made, side, guest


@contextmanager
def answers(link: Path, page: int | None, consent: int = 1) -> Iterator[None]:
    """Somebody at the socket `link` who answers anything: with `page`, and then with `consent`.

    Without a page, nothing is answered at all.
    """
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK) as listener:
        listener.bind(str(link))
        listener.listen(1)
        task = loop.create_task(_answer(listener, page, consent))
        try:
            yield
        finally:
            task.cancel()


async def _answer(listener: socket.socket, page: int | None, consent: int) -> None:
    loop = asyncio.get_running_loop()
    connection, _ = await loop.sock_accept(listener)
    with connection:
        while data := await loop.sock_recv(connection, wire.MESSAGE.size):
            kind = wire.Message(wire.MESSAGE.unpack(data)[0])
            if page is None:
                return
            if kind is wire.Message.HELLO:
                answer = wire.ANSWER.pack(kind, 0, wire.VERSION)
                socket.send_fds(connection, [answer], [page])
            elif kind in wire.ANSWERED:
                connection.send(wire.ANSWER.pack(kind, 0, consent))

@contextmanager
def page(magic: int, possible: int, seals: int) -> Iterator[int]:
    """A policy page with such words at its head, and such seals."""
    descriptor = os.memfd_create("page", os.MFD_ALLOW_SEALING)
    try:
        os.ftruncate(descriptor, wire.PAGE_SIZE)
        os.pwrite(descriptor, wire.HEAD.pack(magic, wire.VERSION, possible, 9, 0), wire.HEAD_AT)
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, seals)
        yield descriptor
    finally:
        os.close(descriptor)
