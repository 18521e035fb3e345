"""Calls that block, made in threads of the event loop's, and never given up halfway."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class BlockingCalls:
    """What is under way. A caller may be cancelled; the call goes on to its end."""

    def __init__(self) -> None:
        self._under_way: set[asyncio.Future[Any]] = set()

    async def do(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Make a call that blocks, and return what it returns."""
        future = asyncio.ensure_future(asyncio.to_thread(call, *args, **kwargs))
        self._under_way.add(future)
        future.add_done_callback(self._ended)
        return await asyncio.shield(future)

    async def done(self) -> None:
        """Wait until nothing is under way. Whoever frees what calls work on waits first."""
        while self._under_way:
            await asyncio.wait(set(self._under_way))

    def _ended(self, future: asyncio.Future[Any]) -> None:
        self._under_way.discard(future)
        if not future.cancelled():
            future.exception()  # its caller may be gone, and that is no reason to complain
