"""The turn of one caller: how an answer and what follows it are heard in their order.

And what of a caller's turn must not be given up.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine
from typing import TypeVar

T = TypeVar("T")


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


async def without_cancelling(work: Coroutine[object, object, T]) -> T:
    """Do `work` to its end, although this is cancelled meanwhile: it can't be given up half way.

    Being cancelled is forgotten then, as what was to be given up has been done.
    """
    task = asyncio.ensure_future(work)
    while not task.done():
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.shield(task)
    return task.result()
