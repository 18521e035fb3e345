"""Waiting for something to come true: in the event loop with `until`, in a thread with `poll`."""

from __future__ import annotations

import selectors
import time
from collections.abc import Callable
from typing import TypeVar

from hpcore.promises.waits import PAUSE, SECONDS, until

__all__ = ["SECONDS", "poll", "readable", "until"]

T = TypeVar("T")


def poll(
    look: Callable[[], T | None], what: str = "what is waited for", seconds: float = SECONDS
) -> T:
    """What `look` finds, as soon as it is not None or False; fail, naming `what`, if never."""
    deadline = time.monotonic() + seconds
    while (found := look()) is None or found is False:
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {what}"
        time.sleep(PAUSE)
    return found


def readable(fd: int, seconds: float) -> bool:
    """Whether `fd` has something to read, or its end, within that time."""
    with selectors.DefaultSelector() as selector:
        selector.register(fd, selectors.EVENT_READ)
        return bool(selector.select(seconds))
