"""A socket whose bytes may bring file descriptors with them (SCM_RIGHTS), in asyncio.

A monitor's `getfd` and `add-fd` take a descriptor that comes with the command. A stream
reader of asyncio would lose it.
"""

from __future__ import annotations

import array
import asyncio
import os
import socket
from collections.abc import Callable, Iterable

CHUNK = 16 << 10
"""The most that is read at once."""
MAX_DESCRIPTORS = 16
"""The most that come with one message; QEMU takes no more (chardev/char-socket.c)."""
_INT = array.array("i").itemsize


def close_all(descriptors: Iterable[int]) -> None:
    """Close descriptors that nobody takes."""
    for descriptor in descriptors:
        os.close(descriptor)


class Wire:
    """One end of a connection. One task at a time may receive, and one may send."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self._socket = sock
        self._takes_descriptors = sock.family == socket.AF_UNIX

    async def receive(self) -> tuple[bytes, list[int]]:
        """What has come, with the descriptors that came with it; no bytes at the end.

        A connection that breaks has ended.
        """
        room = socket.CMSG_SPACE(MAX_DESCRIPTORS * _INT) if self._takes_descriptors else 0
        loop = asyncio.get_running_loop()
        while True:
            try:
                data, ancillary, _, _ = self._socket.recvmsg(CHUNK, room, socket.MSG_CMSG_CLOEXEC)
            except BlockingIOError:
                await self._ready(loop.add_reader, loop.remove_reader)
                continue
            except OSError:
                return b"", []
            found = array.array("i")
            for level, kind, payload in ancillary:
                if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                    found.frombytes(payload[: len(payload) // _INT * _INT])
            return data, found.tolist()

    async def send(self, data: bytes, descriptors: Iterable[int] = ()) -> None:
        """Send all of `data`, and the descriptors with its first byte.

        Raises OSError where the other end is gone. The descriptors stay open here.
        """
        loop = asyncio.get_running_loop()
        view = memoryview(data)
        rights = array.array("i", descriptors)
        while view:
            ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)] if rights else []
            try:
                sent = self._socket.sendmsg([view[: 1 << 20]], ancillary, socket.MSG_NOSIGNAL)
            except BlockingIOError:
                await self._ready(loop.add_writer, loop.remove_writer)
                continue
            view, rights = view[sent:], array.array("i")

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()

    async def _ready(self, watch: Callable[..., object], unwatch: Callable[[int], object]) -> None:
        ready = asyncio.Event()
        number = self._socket.fileno()
        watch(number, ready.set)
        try:
            await ready.wait()
        finally:
            unwatch(number)
