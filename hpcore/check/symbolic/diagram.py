"""Decision diagrams over the slots of a machine: sets of states, shared as far as it goes.

A diagram has one level a slot. A node is a tuple with a child for each local state of the
level's slot; below the last level stands a *terminal*, a set of common parts as an integer
with a bit each. References are integers: 0 is the empty set on every level, a negative one a
terminal, a positive one a node. Equal sets are equal references.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

EMPTY = 0


class Diagrams:
    """A store of nodes, and what can be done with the sets that they stand for.

    `widths` is the number of local states of each level's slot.
    """

    def __init__(self, widths: Sequence[int]) -> None:
        self.widths = tuple(widths)
        self.depth = len(self.widths)
        self.children: list[tuple[int, ...]] = [()]
        self._number: dict[tuple[int, ...], int] = {}
        self._unions: dict[tuple[int, int], int] = {}

    @property
    def nodes(self) -> int:
        """How many nodes were ever made."""
        return len(self.children) - 1

    def node(self, children: tuple[int, ...]) -> int:
        """The node with these children, or EMPTY if they are all empty."""
        found = self._number.get(children)
        if found is None:
            if not any(children):
                return EMPTY
            found = self._number[children] = len(self.children)
            self.children.append(children)
        return found

    def single(self, state: Sequence[int]) -> int:
        """The set of one state: the slots' local states, then the common part."""
        ref = -(1 << state[-1])
        for level in range(self.depth - 1, -1, -1):
            children = [EMPTY] * self.widths[level]
            children[state[level]] = ref
            ref = self.node(tuple(children))
        return ref

    def of_all(self, states: Iterable[Sequence[int]]) -> int:
        """The set of these states."""
        out = EMPTY
        for state in states:
            out = self.union(out, self.single(state))
        return out

    def union(self, a: int, b: int) -> int:
        """Both sets. They must be of one level."""
        if a == b or not b:
            return a
        if not a:
            return b
        if a < 0:
            return -((-a) | (-b))
        key = (a, b) if a < b else (b, a)
        found = self._unions.get(key)
        if found is None:
            union = self.union
            found = self.node(tuple(
                x if x == y or not y else y if not x else union(x, y)
                for x, y in zip(self.children[a], self.children[b], strict=True)
            ))  # fmt: skip
            self._unions[key] = found
        return found

    def count(self, root: int) -> int:
        """How many states are in the set."""
        known: dict[int, int] = {}

        def count(ref: int) -> int:
            if ref <= 0:
                return (-ref).bit_count()
            found = known.get(ref)
            if found is None:
                found = known[ref] = sum(count(c) for c in self.children[ref] if c)
            return found

        return count(root)

    def has(self, root: int, state: Sequence[int]) -> bool:
        """Whether the state is in the set."""
        ref = root
        for here in state[:-1]:
            if not ref:
                return False
            ref = self.children[ref][here]
        return bool(-ref >> state[-1] & 1)

    def commons_of(self, root: int) -> list[list[int]]:
        """For each level and local state, the common parts under which it is in the set."""
        out = [[0] * width for width in self.widths]
        below: dict[int, int] = {}

        def commons(ref: int) -> int:
            if ref <= 0:
                return -ref
            found = below.get(ref)
            if found is None:
                found = 0
                for child in self.children[ref]:
                    found |= commons(child)
                below[ref] = found
            return found

        layer = {root} - {EMPTY}
        for level in range(self.depth):
            beneath: set[int] = set()
            row = out[level]
            for ref in layer:
                for here, child in enumerate(self.children[ref]):
                    if child:
                        row[here] |= commons(child)
                        beneath.add(child)
            layer = {ref for ref in beneath if ref > 0}
        return out

    def find(
        self,
        root: int,
        allows: Callable[[int, int], bool],
        commons: int,
        counts: Callable[[int, int], int] = lambda level, here: 0,
        least: int = 0,
        most: int | None = None,
    ) -> tuple[int, ...] | None:
        """A state of the set, every local state `allows`ed and its common part among `commons`.

        The `counts` of its local states must add up to `least` or more, and `most` or less.
        """
        dead: set[tuple[int, int]] = set()

        def find(ref: int, level: int, sum_: int) -> tuple[int, ...] | None:
            if most is not None and sum_ > most:
                return None
            if level == self.depth:
                hits = -ref & commons
                if sum_ < least or not hits:
                    return None
                return ((hits & -hits).bit_length() - 1,)
            sum_ = sum_ if most is not None else min(sum_, least)
            if (ref, sum_) in dead:
                return None
            for here, child in enumerate(self.children[ref]):
                if child and allows(level, here):
                    rest = find(child, level + 1, sum_ + counts(level, here))
                    if rest is not None:
                        return (here, *rest)
            dead.add((ref, sum_))
            return None

        return find(root, 0, 0) if root else None
