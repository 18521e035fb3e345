"""Logs for a controller that write no file."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from hpcore.log import Entry
from hpcore.model.states import State


class ListLog:
    """A log in a list; with `room`, one that is full after so many events."""

    def __init__(self, room: int | None = None) -> None:
        self.entries: list[Entry] = []
        self.events: list[Any] = []
        self.times: list[float] = []
        self.room = room

    def append_all(self, entries: Iterable[Entry]) -> int:
        logged = list(entries)
        batch = [event for entry in logged for event in entry.events]
        if self.room is not None and len(self.events) + len(batch) > self.room:
            raise OSError(28, "No space left on device")
        self.entries += logged
        self.events += batch
        self.times += [entry.t for entry in logged]
        return len(self.events)

    def settled(self, state: State) -> None:
        """It has one segment."""


class NoLog:
    """A log that is not kept, for long runs."""

    def append_all(self, entries: Iterable[Entry]) -> int:
        return 0

    def settled(self, state: State) -> None:
        """It has no segments."""
