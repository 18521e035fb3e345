"""What was posted and is not decided yet, in order; from any thread."""

from __future__ import annotations

import asyncio

from hpcore.run.turns import Posted

AT_ONCE = 32
"""Of what was posted, how much is decided before others have their turn: some milliseconds."""


class Inbox:
    """The one queue that everything goes through. Of the event loop that `open` is called in."""

    def __init__(self) -> None:
        self._queue: asyncio.Queue[Posted | None] = asyncio.Queue()

    def open(self) -> None:
        """Take what other threads put, by the loop that runs now."""
        self._loop = asyncio.get_running_loop()

    @property
    def empty(self) -> bool:
        """Whether all of it has been taken."""
        return self._queue.empty()

    def put(self, posted: Posted) -> None:
        """Put it behind all that was put before. Any thread."""
        try:
            here = asyncio.get_running_loop() is self._loop
        except RuntimeError:
            here = False
        if here:
            self._queue.put_nowait(posted)
        else:
            self._loop.call_soon_threadsafe(self._queue.put_nowait, posted)

    def wake(self) -> None:
        """Have `at_hand` return, with nothing if there is nothing."""
        self._queue.put_nowait(None)

    async def at_hand(self) -> list[Posted]:
        """What was posted, and none of it taken yet: one thing at least, or nothing, if woken."""
        out = [await self._queue.get()]
        while len(out) < AT_ONCE and not self._queue.empty():
            out.append(self._queue.get_nowait())
        return [posted for posted in out if posted is not None]
