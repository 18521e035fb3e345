"""What waits to be sent to one client: answers and events in their order, within bounds."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from contextlib import suppress

import structlog

from hpcore.door.qmp.wire import Wire, close_all

ROOM = 256 << 10
"""Bytes that may wait before more is taken from the real QEMU, which then keeps the rest."""
MAX_TOLD = 4096
"""Events of hpcore's that may wait. A client that has not read so many misses the next ones:
it was long gone, and neither its monitor nor the machine shall suffer for it."""

_log = structlog.get_logger(__name__)


class Outbox:
    """Sends in the order in which it is given, in a task of its own."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._waiting: deque[tuple[bytes, Sequence[int], bool]] = deque()
        self._bytes = self._told = 0
        self._moved = asyncio.Event()
        self.broken = asyncio.Event()
        """Set once the client cannot be sent anything more."""
        self._task = asyncio.create_task(self._send(), name="qmp outbox")

    def put(self, data: bytes, descriptors: Sequence[int] = ()) -> None:
        """Have `data` sent; the descriptors are closed afterwards."""
        self._put(data, descriptors, told=False)

    def tell(self, data: bytes) -> None:
        """Have an event sent, unless too many wait."""
        if self._told >= MAX_TOLD:
            _log.warning("a QMP client does not read: an event was dropped", qmp_event=data)
        else:
            self._told += 1
            self._put(data, (), told=True)

    async def room(self) -> None:
        """Wait until more may be put."""
        await self._until(ROOM)

    async def empty(self, seconds: float) -> None:
        """Wait until all has been sent, but not longer than so many seconds."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):  # wait_for may swallow a cancellation
                await self._until(0)

    async def close(self) -> None:
        """Send no more."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        for _, descriptors, _ in self._waiting:
            close_all(descriptors)
        self._waiting.clear()

    def _put(self, data: bytes, descriptors: Sequence[int], *, told: bool) -> None:
        if self.broken.is_set():
            close_all(descriptors)
            return
        self._waiting.append((data, descriptors, told))
        self._bytes += len(data)
        self._moved.set()

    async def _until(self, most: int) -> None:
        while self._bytes > most and not self.broken.is_set():
            self._moved.clear()
            await self._moved.wait()

    async def _send(self) -> None:
        try:
            while True:
                while not self._waiting:
                    self._moved.clear()
                    await self._moved.wait()
                data, descriptors, told = self._waiting[0]
                await self._wire.send(data, descriptors)
                self._waiting.popleft()
                close_all(descriptors)
                self._bytes -= len(data)
                self._told -= told
                self._moved.set()
        except OSError:
            self.broken.set()
            self._moved.set()
