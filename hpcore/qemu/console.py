"""A serial port of a guest, over a socket of QEMU's."""

from __future__ import annotations

import asyncio

KEPT = 1 << 20  # bytes of output that nobody has read yet; older ones go


class SocketConsole:
    """Reads all the time: QEMU stands still, QMP included, when its output is not taken."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._output = bytearray()
        self._news = asyncio.Event()
        self._ended = False
        self._task = asyncio.create_task(self._read())

    def write(self, data: bytes) -> None:
        """Send `data` to the guest; never blocks. After the machine's end it does nothing."""
        if not self._ended and not self._writer.is_closing():
            self._writer.write(data)

    async def read(self) -> bytes:
        """What the guest has printed since the last call; b"" once the machine is gone."""
        await self._news.wait()
        data = bytes(self._output)
        self._output.clear()
        if not self._ended:
            self._news.clear()
        return data

    async def close(self) -> None:
        """Stop reading. What was read can still be had, then b""."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        self._writer.close()

    async def _read(self) -> None:
        try:
            while data := await self._reader.read(64 * 1024):
                self._output += data
                del self._output[:-KEPT]
                self._news.set()
        except OSError:
            pass
        finally:
            self._ended = True
            self._news.set()
