"""The monitors that a caller asked for: each has one client at a time, as QEMU's have.

A client that comes while another one is there waits in the socket's queue. Every client gets
a connection of its own to the real QEMU, on a socket that nobody else uses, and with it a
greeting and a negotiation of its own.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

import structlog
from attrs import define, field

from hpcore.door.qmp.answers import Answers
from hpcore.door.qmp.conversation import Conversation
from hpcore.door.qmp.wire import Wire

LOOK_SECONDS = 0.01
"""Between two tries to connect to a QEMU that does not listen yet."""
AGAIN_SECONDS = 0.1
"""After a failure that is the host's, such as no free descriptor."""

_log = structlog.get_logger(__name__)


class Front(Protocol):
    """Where the clients of a monitor come from."""

    async def next(self) -> socket.socket | None:
        """The next client's connection; None where no more will come."""

    def close(self) -> None:
        """Take no more clients."""


class Listening:
    """Clients that connect to a socket which listens."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self._socket = sock

    async def next(self) -> socket.socket | None:
        """The client that has waited longest."""
        while True:
            try:
                client, _ = await asyncio.get_running_loop().sock_accept(self._socket)
            except OSError as error:  # it was gone again, or no descriptor is free
                _log.warning("a QMP client could not be taken", error=str(error))
                await asyncio.sleep(AGAIN_SECONDS)
            else:
                return client

    def close(self) -> None:
        """Refuse those that wait. The path of a unix socket stays: its maker removes it."""
        self._socket.close()


class Dialled:
    """One client, to whom the door connects: `server=off`.

    `dial` connects, or gives a connection that was inherited. With `reconnect` it is called
    again so many seconds after the client has gone or did not answer.
    """

    def __init__(self, dial: Callable[[], socket.socket], reconnect: float | None = None) -> None:
        self._dial, self._reconnect = dial, reconnect
        self._dialled = False

    async def next(self) -> socket.socket | None:
        """The client, once it answers. Raises OSError where it does not and need not later."""
        while True:
            if self._dialled:
                if self._reconnect is None:
                    return None
                await asyncio.sleep(self._reconnect)
            self._dialled = True
            try:
                return await asyncio.to_thread(self._dial)
            except OSError:
                if self._reconnect is None:
                    raise

    def close(self) -> None:
        """Nothing is kept between two clients."""


class QemuGone(Exception):
    """The real QEMU has ended, or will never listen."""


async def connect(path: Path, gone: Callable[[], bool]) -> socket.socket:
    """A connection to the real QEMU's socket `path`, once it listens.

    Raises QemuGone once `gone` says so.
    """
    while True:
        sock = socket.socket(socket.AF_UNIX)
        try:
            sock.setblocking(False)
            await asyncio.get_running_loop().sock_connect(sock, str(path))
            return sock
        except (FileNotFoundError, ConnectionRefusedError, BlockingIOError):
            sock.close()
        except BaseException:
            sock.close()
            raise
        if gone():
            raise QemuGone
        await asyncio.sleep(LOOK_SECONDS)


@define(eq=False)
class Monitor:
    """One monitor of the caller's.

    `path` is a socket of the real QEMU on which a monitor of its own listens, for this one
    alone (`-qmp unix:PATH,server=on,wait=off`, with `pretty=on` where `pretty`).
    """

    front: Front
    path: Path
    pretty: bool = False
    conversation: Conversation | None = field(default=None, init=False)
    _left: asyncio.Event = field(factory=asyncio.Event, init=False)

    async def serve(self, answers: Answers, gone: Callable[[], bool]) -> None:
        """Serve one client after the other, until no more come or QEMU is `gone`."""
        try:
            while (client := await self.front.next()) is not None:
                await self._talk(client, answers, gone)
                if gone():
                    return
        except QemuGone:
            return
        finally:
            self.front.close()

    async def _talk(
        self, client: socket.socket, answers: Answers, gone: Callable[[], bool]
    ) -> None:
        front = Wire(client)
        try:
            back = Wire(await connect(self.path, gone))
        except OSError as error:
            front.close()
            _log.error("the real QEMU could not be reached", path=self.path, error=str(error))
            await asyncio.sleep(AGAIN_SECONDS)
            return
        except BaseException:
            front.close()
            raise
        self.conversation = Conversation(front, back, answers, pretty=self.pretty)
        try:
            await self.conversation.run()
        finally:
            self.conversation = None
            self._left.set()

    async def left(self) -> None:
        """Wait until no client is served."""
        while self.conversation is not None:
            self._left.clear()
            await self._left.wait()


class Monitors:
    """All monitors of the caller's, and what is told to every client of theirs."""

    def __init__(self, monitors: tuple[Monitor, ...]) -> None:
        self._monitors = monitors

    async def serve(self, answers: Answers, gone: Callable[[], bool]) -> None:
        """Serve them all. `gone` says whether the real QEMU has ended.

        Clients that are there then see the end, as they would of QEMU. Cancel this to have
        those that wait see it, too.
        """
        await asyncio.gather(*(monitor.serve(answers, gone) for monitor in self._monitors))

    async def left(self) -> None:
        """Wait until no client is served: once QEMU has ended, until all have read their last."""
        for monitor in self._monitors:
            await monitor.left()

    def close(self) -> None:
        """Take no more clients. Idempotent."""
        for monitor in self._monitors:
            monitor.front.close()

    def tell(self, event: str, data: Mapping[str, object]) -> None:
        """Tell an event of hpcore's to every client that has negotiated."""
        for monitor in self._monitors:
            if monitor.conversation is not None:
                monitor.conversation.tell(event, data)
