"""Waiting for what may never come once the machine has ended."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

from hpcore.guest.shell import GuestGoneError
from hpcore.run.controller import Controller
from hpcore.run.errors import RunError

REASON_SECONDS = 5.0
"""For the accelerator to say why the machine is gone, once the guest's console is."""

LAST_WORDS_SECONDS = 1.0
"""For what waits on the machine to come to its own end once the machine has."""

T = TypeVar("T")


async def unless_ended(controller: Controller, work: Awaitable[T]) -> T:
    """Do `work`, and return what it gives, but wait no longer than the machine goes on.

    Raises RunError, with why the machine has ended, where `work` does not end by itself.
    """
    taken = asyncio.ensure_future(work)
    end = asyncio.ensure_future(controller.ended())
    try:
        await asyncio.wait({taken, end}, return_when=asyncio.FIRST_COMPLETED)
        await asyncio.wait({taken}, timeout=LAST_WORDS_SECONDS)  # poweroff waits for the end
        if taken.done() and isinstance(taken.exception(), GuestGoneError):
            # the console ends before the accelerator knows why; its reason is the better
            await asyncio.wait({end}, timeout=REASON_SECONDS)
    finally:  # also when this is cancelled itself
        for task in (taken, end):
            task.cancel()
        await asyncio.gather(taken, end, return_exceptions=True)
    if taken.cancelled():
        raise RunError(controller.why_ended())
    return taken.result()
