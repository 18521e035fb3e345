"""A stock QEMU with monitors, a door before it in the test's own process, and raw clients."""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import orjson
from attrs import define, field

from hpcore.door.qmp import Answers, Listening, Monitor, Monitors
from hpcore.qemu import find_qemu
from hpcore.qemu.process import QemuProcess
from hpcore.qemu.runtime_directory import runtime_directory

NO_MACHINE = ("-machine", "none")
SECONDS = 30.0
"""For an answer: long, because other tests run beside this one."""


@define
class Real:
    """A QEMU of the distribution's, with monitors that nobody uses yet."""

    process: QemuProcess
    paths: list[Path]

    def gone(self) -> bool:
        return not self.process.running


@asynccontextmanager
async def real(
    monitors: int, machine: Sequence[str] = NO_MACHINE, *, options: str = ""
) -> AsyncIterator[Real]:
    """QEMU, stopped, with so many monitors; `options` are added to each."""
    directory = runtime_directory()
    paths = [directory / f"real{n}" for n in range(monitors)]
    argv = [str(find_qemu().path), "-S", "-nodefaults", "-no-user-config", "-display", "none"]
    argv += machine
    for n, path in enumerate(paths):
        argv += ["-chardev", f"socket,id=c{n},path={path},server=on,wait=off"]
        argv += ["-mon", f"chardev=c{n},mode=control{options}"]
    process = await QemuProcess.start(argv, directory, paths)
    try:
        for path in paths:  # until all listen
            (await process.connect_socket(path)).close()
        yield Real(process, paths)
    finally:
        await process.close()


@define
class Door:
    """A door in this process, and the sockets on which its monitors listen."""

    monitors: Monitors
    fronts: list[Path]
    serving: asyncio.Task[None]


@asynccontextmanager
async def door(
    qemu: Real, behind: Sequence[Path], answers: Answers | None = None, *, pretty: bool = False
) -> AsyncIterator[Door]:
    """A door before the monitors of QEMU's at `behind`; it passes all on without `answers`."""
    fronts = [path.with_name(f"front-{path.name}") for path in behind]
    made = []
    for front, path in zip(fronts, behind, strict=True):
        sock = socket.socket(socket.AF_UNIX)
        sock.bind(str(front))
        sock.listen(1)
        made.append(Monitor(Listening(sock), path, pretty))
    monitors = Monitors(tuple(made))
    serving = asyncio.create_task(monitors.serve(answers or Answers(), qemu.gone))
    try:
        yield Door(monitors, fronts, serving)
    finally:
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)
        for front in fronts:
            front.unlink(missing_ok=True)


@define
class Client:
    """A client that reads and writes bytes, and knows no more of QMP than its lines."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    heard: list[bytes] = field(factory=list)
    events: list[dict[str, object]] = field(factory=list)
    """Those that came before an answer that was waited for."""

    @classmethod
    async def to(cls, path: Path) -> Client:
        """Connected, with the greeting still to be read."""
        return cls(*await asyncio.open_unix_connection(str(path), limit=1 << 24))

    @classmethod
    async def ready(cls, path: Path, enable: Sequence[str] = ()) -> Client:
        """Connected, greeted and negotiated."""
        client = await cls.to(path)
        await client.line()
        answer = await client.ask("qmp_capabilities", {"enable": list(enable)})
        assert answer == {"return": {}}, answer
        return client

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def line(self) -> bytes:
        """The next line; empty at the end."""
        line = await asyncio.wait_for(self.reader.readline(), SECONDS)
        self.heard.append(line)
        return line

    async def message(self) -> dict[str, object]:
        """The next message, of a monitor that writes each in one line."""
        line = await self.line()
        assert line, "the connection has ended"
        found: dict[str, object] = orjson.loads(line)
        return found

    async def ask(self, command: str, arguments: object = None, **more: object) -> object:
        """The answer to a command; events before it are kept for `event`."""
        given = {} if arguments is None else {"arguments": arguments}
        await self.send(orjson.dumps({"execute": command, **given, **more}))
        return await self.answer()

    async def answer(self) -> dict[str, object]:
        """The next message that is no event."""
        while "event" in (message := await self.message()):
            self.events.append(message)
        return message

    async def event(self, name: str) -> dict[str, object]:
        """The next event of that name; others before it are passed over."""
        while True:
            message = self.events.pop(0) if self.events else await self.message()
            if message.get("event") == name:
                return message

    async def close(self) -> None:
        self.writer.close()


_MOMENT = re.compile(rb'"(seconds|microseconds)": [0-9]+')


def timeless(said: bytes) -> bytes:
    """What was said, without when."""
    return _MOMENT.sub(rb'"\1": 0', said)
