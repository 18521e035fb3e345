"""A serial port of a guest, over a socket of QEMU's."""

from __future__ import annotations

import asyncio
import fcntl
import struct
import termios
from collections import deque

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

    @property
    def untaken(self) -> int:
        """Bytes that were written, and that QEMU has not taken: it takes no more than the
        guest's port has room for."""
        if self._ended or self._writer.is_closing():
            return 0
        sock = self._writer.get_extra_info("socket")
        (queued,) = struct.unpack("i", fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, bytes(4)))
        return int(queued) + self._writer.transport.get_write_buffer_size()

    @property
    def silent(self) -> bool:
        """Whether nothing has come that was not read yet."""
        return not self._output

    @property
    def at_end(self) -> bool:
        """Whether QEMU has closed it, and all that came before that is here."""
        return self._ended

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


TAKEN_SECONDS = 2.0
"""For the guest to take what it was sent. One that reads nothing never does."""


class FollowedConsole:
    """The console of a machine that may be carried from one QEMU to another.

    What the guest has printed there is read to its end before what it prints here. What is
    sent while the machine is carried waits, and reaches it here.
    """

    def __init__(self, first: SocketConsole) -> None:
        self._writes_to = first
        self._reads = deque([first])
        self._held: bytearray | None = None

    def write(self, data: bytes) -> None:
        """Send `data` to the guest; never blocks. After the machine's end it does nothing."""
        if self._held is None:
            self._writes_to.write(data)
        else:
            self._held += data

    async def read(self) -> bytes:
        """What the guest has printed since the last call; b"" once the machine is gone."""
        while True:
            data = await self._reads[0].read()
            if data or len(self._reads) == 1:
                return data
            self._reads.popleft()

    async def hold(self) -> None:
        """Keep what is sent from now on; return once the guest has what was sent before."""
        self._held = self._held or bytearray()
        deadline = asyncio.get_running_loop().time() + TAKEN_SECONDS
        while asyncio.get_running_loop().time() < deadline:
            if not self._writes_to.untaken:
                return
            await asyncio.sleep(0.005)  # the kernel tells nobody

    def release(self) -> None:
        """Send what was kept, and what comes from now on, at once."""
        held, self._held = self._held, None
        if held:
            self._writes_to.write(bytes(held))

    def follow(self, to: SocketConsole) -> None:
        """The machine is there from now on."""
        self._writes_to = to
        self._reads.append(to)
