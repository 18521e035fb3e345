"""A guest's console that is read all the time, whoever waits for a word on it.

So what the guest prints is kept from its first byte to its last, and a panic is seen where
nobody reads: before the guest has a shell, after it, and where it never has one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from hpcore.guest.errors import GuestError
from hpcore.guest.panics import Panics, advice
from hpcore.guest.shell import ByteConsole

KEPT = 1 << 20
"""Bytes that nobody has read yet; older ones go."""

SILENCE = 2.0
"""Seconds without a word after which a guest that said it stays panicked is believed."""


class GuestPanickedError(GuestError):
    """The guest, or its firmware, panicked and says nothing more. The text has its words."""


class WatchedConsole:
    """The console of a session, as `hpcore.guest.shell.ByteConsole`.

    `printed` is told everything that comes, as it comes. `panicked` is called once a boot,
    when the guest has printed the words of a panic, and `broken` if `printed` raises.
    """

    def __init__(
        self,
        console: ByteConsole,
        printed: Callable[[bytes], None],
        panicked: Callable[[str], None],
        broken: Callable[[Exception], None],
    ) -> None:
        self.panics = Panics()
        self._console, self._printed = console, printed
        self._panicked, self._broken = panicked, broken
        self._unread = bytearray()
        self._news = asyncio.Event()
        self._ended = False
        self._given_up: str | None = None
        self._task = asyncio.create_task(self._watch(), name="console")

    def write(self, data: bytes) -> None:
        """Send `data` to the guest; never blocks."""
        self._console.write(data)

    async def read(self) -> bytes:
        """What was printed since the last call; b"" once the machine is gone.

        Raises GuestPanickedError where nothing will be printed any more until a reset.
        """
        while not self._unread and not self._ended:
            if self._given_up is not None:
                raise GuestPanickedError(self._given_up)
            self._news.clear()
            stays = self.panics.stays
            try:
                async with asyncio.timeout(SILENCE if stays else None):
                    await self._news.wait()
            except TimeoutError:
                words = self.panics.words
                if self.panics.stays and words is not None:
                    raise GuestPanickedError(
                        "the guest panicked, and stays so until it is reset: "
                        f"{words}{advice(words)}"
                    ) from None
        if self._given_up is not None:
            raise GuestPanickedError(self._given_up)
        data = bytes(self._unread)
        self._unread.clear()
        return data

    def give_up(self, why: str) -> None:
        """Let whoever waits for a word of the guest, now or later, know that none will come."""
        self._given_up = why
        self._news.set()

    async def ended(self, within: float) -> None:
        """Wait until all is read that was printed. For when the machine has ended."""
        await asyncio.wait({self._task}, timeout=within)
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _watch(self) -> None:
        try:
            while data := await self._console.read():
                self._tell(data)
                self._unread += data
                del self._unread[:-KEPT]
                self._news.set()
                if self.panics.feed(data):
                    assert self.panics.words is not None, "it has just been read"
                    self._panicked(self.panics.words)
        finally:
            self._ended = True
            self._news.set()

    def _tell(self, data: bytes) -> None:
        try:
            self._printed(data)
        except Exception as error:
            self._printed = lambda _data: None
            self._broken(error)
