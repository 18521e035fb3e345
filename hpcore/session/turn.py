"""The turn of one caller: how an answer and what follows it are heard in their order."""

from __future__ import annotations

import asyncio


class CallerTurn:
    """One caller's turn: from its first request until it has told its own caller."""

    def __init__(self) -> None:
        self._over = asyncio.Event()

    @property
    def over(self) -> bool:
        """Whether the caller has returned: its own caller knows at once."""
        return self._over.is_set()

    def end(self) -> None:
        """The caller returns, or has failed."""
        self._over.set()

    async def wait(self) -> None:
        """Wait for the end, and for what the caller's own caller hangs on to it.

        `end` comes just before the coroutine returns. The task around it and the
        callbacks on that task follow in the loop's next passes.
        """
        await self._over.wait()
        for _ in range(2):
            await asyncio.sleep(0)
