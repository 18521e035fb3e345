"""Functions on sets of words: what a move does to the word, for all words at once."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

Parts = tuple[tuple[int, int], ...]
"""(mask, distance): the words in `mask` move up by `distance` in the order of words."""


class Transforms:
    """Numbers transforms, so that a memo can speak of them."""

    def __init__(self) -> None:
        self.parts: list[Parts] = []
        self._number: dict[Parts, int] = {}

    def number(self, pairs: Iterable[tuple[int, int]]) -> int:
        """The transform that takes word w to v for each (w, v) of `pairs`."""
        masks: dict[int, int] = defaultdict(int)
        for w, v in pairs:
            masks[v - w] |= 1 << w
        parts = tuple((mask, distance) for distance, mask in sorted(masks.items()))
        found = self._number.get(parts)
        if found is None:
            found = self._number[parts] = len(self.parts)
            self.parts.append(parts)
        return found

    def apply(self, number: int, words: int) -> int:
        """The words that the transform makes of `words`."""
        return apply(self.parts[number], words)


def apply(parts: Parts, words: int) -> int:
    """The words that `parts` make of `words`."""
    out = 0
    for mask, distance in parts:
        hits = words & mask
        if hits:
            out |= hits << distance if distance >= 0 else hits >> -distance
    return out
