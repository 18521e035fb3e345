"""Logs for a controller that write no file."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any


class ListLog:
    """A log in a list; with `room`, one that is full after so many events."""

    def __init__(self, room: int | None = None) -> None:
        self.events: list[Any] = []
        self.times: list[float] = []
        self.room = room

    def append(
        self,
        events: Iterable[object],
        t: float,
        answers: object | None = None,
        heard: int | None = None,
    ) -> int:
        batch = list(events)
        if self.room is not None and len(self.events) + len(batch) > self.room:
            raise OSError(28, "No space left on device")
        self.events += batch
        self.times.append(t)
        return len(self.events)


class NoLog:
    """A log that is not kept, for long runs."""

    def append(
        self,
        events: Iterable[object],
        t: float,
        answers: object | None = None,
        heard: int | None = None,
    ) -> int:
        return 0
