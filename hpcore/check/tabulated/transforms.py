"""Functions on sets of common parts: what a move does to all that are there, at once."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

Parts = tuple[tuple[int, int], ...]
"""(mask, distance): the common parts in `mask` move up by `distance` in their order."""


class Transforms:
    """Numbers transforms, so that a memo can speak of them."""

    def __init__(self) -> None:
        self.parts: list[Parts] = []
        self._number: dict[Parts, int] = {}

    def number(self, pairs: Iterable[tuple[int, int]]) -> int:
        """The transform that takes common part c to d for each (c, d) of `pairs`."""
        masks: dict[int, int] = defaultdict(int)
        for c, d in pairs:
            masks[d - c] |= 1 << c
        parts = tuple((mask, distance) for distance, mask in sorted(masks.items()))
        found = self._number.get(parts)
        if found is None:
            found = self._number[parts] = len(self.parts)
            self.parts.append(parts)
        return found

    def apply(self, number: int, commons: int) -> int:
        """The common parts that the transform makes of `commons`."""
        return apply(self.parts[number], commons)


def apply(parts: Parts, commons: int) -> int:
    """The common parts that `parts` make of `commons`."""
    out = 0
    for mask, distance in parts:
        hits = commons & mask
        if hits:
            out |= hits << distance if distance >= 0 else hits >> -distance
    return out
