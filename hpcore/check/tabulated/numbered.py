"""Numbers for things that are met again and again, so that they can be told apart quickly."""

from __future__ import annotations

from typing import Generic, TypeVar

T = TypeVar("T")


class Numbered(Generic[T]):
    """Things in the order in which they were first met; equal ones have one number."""

    def __init__(self, *values: T) -> None:
        self.values: list[T] = []
        self._numbers: dict[T, int] = {}
        for value in values:
            self.number(value)

    def number(self, value: T) -> int:
        """The number of `value`: its place in `values`, where it is put if it is new."""
        found = self._numbers.setdefault(value, len(self.values))
        if found == len(self.values):
            self.values.append(value)
        return found
