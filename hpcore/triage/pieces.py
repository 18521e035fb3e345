"""Delta debugging: ever smaller pieces are left out, down to single things."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

Thing = TypeVar("Thing")


def least(
    things: tuple[Thing, ...],
    without: Callable[[tuple[Thing, ...]], tuple[Thing, ...] | None],
) -> tuple[Thing, ...]:
    """`things` of which none can be left out.

    `without` is given what would be left. It returns that, or less of it, where that does, and
    None where it does not.
    """
    size = max(1, len(things) // 2)
    while True:
        at, smaller = 0, False
        while at < len(things):
            rest = without((*things[:at], *things[at + size :]))
            if rest is None:
                at += size
            else:
                things, smaller = rest, True
        if size == 1 and not smaller:
            return things
        size = max(1, size // 2)
