"""Waiting, in the event loop, for something to come true."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import TypeVar

SECONDS = 60.0
"""How long anything may take. Most takes milliseconds; the machine may be very busy."""

PAUSE = 0.002
T = TypeVar("T")


async def until(
    look: Callable[[], T | None], what: str = "what is waited for", seconds: float = SECONDS
) -> T:
    """What `look` finds, as soon as it is not None or False.

    Raises AssertionError, naming `what`, where it finds nothing within `seconds`.
    """
    deadline = time.monotonic() + seconds
    while (found := look()) is None or found is False:
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds:g} s: {what}")
        await asyncio.sleep(PAUSE)
    return found
