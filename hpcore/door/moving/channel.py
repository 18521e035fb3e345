"""A connection, a pipe or a file through which a machine goes: read and written in threads."""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import socket
import stat
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def words_of(error: Exception) -> str:
    """What went wrong, for people."""
    if isinstance(error, OSError) and error.strerror:
        return f"the connection or the file takes no more: {error.strerror}"
    return str(error)


class Interrupted(OSError):
    """Whoever read or wrote was told to leave off."""


class Channel:
    """One descriptor, which is the channel's own from here on."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self.both_ways = stat.S_ISSOCK(os.fstat(descriptor).st_mode)
        """Whether what is written can be answered."""
        os.set_blocking(descriptor, False)
        self._woken, self._wakes = os.pipe()
        self._closed = False

    async def in_thread(self, work: Callable[[], T]) -> T:
        """Do `work`, which reads or writes, in a thread. Cancelled, it interrupts and ends that."""
        task = asyncio.ensure_future(asyncio.to_thread(work))
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            self.interrupt()
            await asyncio.gather(task, return_exceptions=True)
            raise

    def read(self, room: memoryview) -> int:
        """Fill `room`; returns less than its size at the end alone. Raises OSError."""
        got = 0
        while got < len(room):
            size = self.read_some(room[got:])
            if not size:
                break
            got += size
        return got

    def read_some(self, room: memoryview) -> int:
        """Put into `room` what there is; 0 at the end. Raises OSError."""
        while True:
            try:
                return os.readv(self._descriptor, [room])
            except BlockingIOError:
                self._wait(select.POLLIN)

    def write(self, data: bytes | memoryview) -> None:
        """Write all of `data`. Raises OSError."""
        rest = memoryview(data)
        while rest:
            try:
                rest = rest[os.write(self._descriptor, rest) :]
            except BlockingIOError:
                self._wait(select.POLLOUT)

    def end(self) -> None:
        """Nothing more is written: the other side reads the end."""
        if self.both_ways:
            with (
                contextlib.suppress(OSError),
                socket.socket(fileno=os.dup(self._descriptor)) as sock,
            ):
                sock.shutdown(socket.SHUT_WR)

    def interrupt(self) -> None:
        """Have whoever waits for the other side wait no longer. Any thread."""
        if not self._closed:
            os.write(self._wakes, b"\0")

    def close(self) -> None:
        """Let go of it; no thread uses it any more. Idempotent."""
        if not self._closed:
            self._closed = True
            for number in (self._descriptor, self._woken, self._wakes):
                os.close(number)

    def _wait(self, what: int) -> None:
        poll = select.poll()
        poll.register(self._descriptor, what)
        poll.register(self._woken, select.POLLIN)
        if any(number == self._woken for number, _ in poll.poll()):
            raise Interrupted
