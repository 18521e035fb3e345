"""The guest's console: the UART on the vCPUs' side, an event loop on ours."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

KEPT = 1 << 20
"""Bytes of output that nobody has read yet; older ones go."""

LINGER = 0.02
"""Seconds that an unfinished line waits for its rest. A guest sends byte by byte, and each
time the reader is woken, the guest's vCPU waits for Python's lock."""


class UartConsole:
    """`hpcore.run.accelerator.Console`. Create it in the event loop that reads it."""

    def __init__(self) -> None:
        self._send: Callable[[bytes], None] = lambda _data: None
        self._loop = asyncio.get_running_loop()
        self._lock = threading.Lock()
        self._output = bytearray()
        self._told = self._lingers = False  # the loop knows of what is in `_output`
        self._news = asyncio.Event()
        self._ended = False

    def connect(self, send: Callable[[bytes], None]) -> None:
        """From here on `send`, which does not block, takes what the guest shall receive."""
        self._send = send

    def write(self, data: bytes) -> None:
        """Send `data` to the guest; never blocks. After the machine's end it does nothing."""
        if not self._ended:
            self._send(data)

    async def read(self) -> bytes:
        """What the guest has printed since the last call; b"" once the machine is gone."""
        while True:
            await self._news.wait()
            with self._lock:
                data = bytes(self._output)
                self._output.clear()
                self._told = self._lingers = False
                if not self._ended:
                    self._news.clear()
            if data or self._ended:  # or else what lingered was read with a line before
                return data

    def print(self, data: bytes) -> None:
        """The guest has sent `data`. Called on any thread."""
        with self._lock:
            self._output += data
            del self._output[:-KEPT]
            whole = b"\n" in data
            tell = whole and not self._told
            self._told = self._told or whole
            linger = not (self._told or self._lingers)
            self._lingers = self._lingers or linger
        if tell:
            self._loop.call_soon_threadsafe(self._news.set)
        elif linger:
            self._loop.call_soon_threadsafe(self._loop.call_later, LINGER, self._news.set)

    def end(self) -> None:
        """No more will come. What was printed can still be read. Called in the loop."""
        self._ended = True
        self._news.set()
