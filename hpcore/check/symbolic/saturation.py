"""All reachable states as a diagram: local fixpoints first, the bottom level first.

Saturated is a node whose set is closed under the moves of its own slot and of all slots
below it, and under the moves of the common part alone.

- `_saturate` is given children that are saturated. It takes the moves of the node's own
  slot until none adds anything. Such a move changes the common part, which stands below;
  so each set that it makes is saturated again by `_fire`, before it is joined to a child.
  The union of two saturated sets is saturated, because each move starts from one state.
  So the node that is returned is saturated.
- The root is therefore closed under every move that asks nothing of other slots. The
  other moves are taken by `run`, each on the whole set, and the root is saturated again,
  until neither adds anything: then the root is closed under all moves.
- Nothing but the start and what moves lead to is ever put in. A set that holds the start,
  is closed, and holds nothing else that cannot be reached is the set of reachable states.

How far away a state is, is not known here; see `layers` for that.
"""

from __future__ import annotations

from collections.abc import Callable

from hpcore.check.symbolic.diagram import EMPTY, Diagrams
from hpcore.check.symbolic.walk import Walk
from hpcore.check.tabulated.moves import Edge, sort_moves
from hpcore.check.tabulated.schema import Role, Tables
from hpcore.check.tabulated.transforms import apply

OnSweep = Callable[[int, int], None]
"""Called after each round over the whole diagram, with its number and the nodes made so far."""


class Reach:
    """The reachable states of `tables`, computed by `run`."""

    def __init__(self, tables: Tables) -> None:
        self.tables = tables
        self.moves = sort_moves(tables)
        # vCPU 0 on top, the hotpluggable slots, which are alike, below.
        self.roles: tuple[Role, ...] = tables.roles
        self.diagrams = Diagrams([len(tables.locals[role]) for role in self.roles])
        self.depth = len(self.roles)
        self._sources: list[list[tuple[int, tuple[Edge, ...]]]] = [
            _by_source(self.moves.local[role]) for role in self.roles
        ]
        self._closed: dict[int, int] = {}
        self._fired: dict[tuple[int, int], int] = {}
        self._saturated: dict[tuple[int, ...], int] = {}
        self._walk = Walk(tables, self.moves, self.diagrams, self._saturate, self._close)
        self.sweeps = 0

    def run(self, on_sweep: OnSweep = lambda sweep, nodes: None) -> int:
        """The diagram of everything reachable."""
        root = self._saturate_all(self.diagrams.of_all(self.tables.firsts), 0)
        while True:
            before = root
            for move in self.moves.wide:
                root = self.diagrams.union(root, self._walk.wide(root, move))
            for level, role in enumerate(self.roles):
                for needs, edges in self.moves.asking[role].items():
                    root = self.diagrams.union(root, self._walk.asking(root, level, needs, edges))
            root = self._saturate_all(root, 0)
            self.sweeps += 1
            on_sweep(self.sweeps, self.diagrams.nodes)
            if root == before:
                return root

    # ---------------------------------------------------------------- saturation

    def _close(self, commons: int) -> int:
        """The common parts that moves of the common part alone lead to."""
        found = self._closed.get(commons)
        if found is None:
            parts, found = self.moves.transforms.parts[self.moves.alone], commons
            while True:
                more = found | apply(parts, found)
                if more == found:
                    break
                found = more
            self._closed[commons] = found
        return found

    def _saturate_all(self, ref: int, level: int) -> int:
        if ref <= 0:
            return -self._close(-ref) if ref else EMPTY
        children = self.diagrams.children[ref]
        if self._saturated.get(children) == ref:
            return ref
        return self._saturate(
            tuple(self._saturate_all(c, level + 1) if c else EMPTY for c in children), level
        )

    def _saturate(self, children: tuple[int, ...], level: int) -> int:
        """The node of `children`, all saturated, closed under its own slot's moves."""
        found = self._saturated.get(children)
        if found is not None:
            return found
        out = list(children)
        sources = self._sources[level]
        union, fire = self.diagrams.union, self._fire
        stale = set(range(len(out)))
        while stale:
            redo: set[int] = set()
            for a, edges in sources:
                if a not in stale or not out[a]:
                    continue
                stale.discard(a)
                for edge in edges:
                    new = fire(out[a], edge.transform, level + 1)
                    if not new:
                        continue
                    merged = union(out[edge.b], new)
                    if merged != out[edge.b]:
                        out[edge.b] = merged
                        redo.add(edge.b)
            stale = redo
        found = self.diagrams.node(tuple(out))
        self._saturated[children] = found
        if found:
            self._saturated[self.diagrams.children[found]] = found
        return found

    def _fire(self, ref: int, transform: int, level: int) -> int:
        """What a slot above does to the common parts below it: they are changed, and saturated."""
        if ref < 0:
            commons = apply(self.moves.transforms.parts[transform], -ref)
            return -self._close(commons) if commons else EMPTY
        key = (ref, transform)
        found = self._fired.get(key)
        if found is None:
            fire = self._fire
            children = tuple(
                fire(c, transform, level + 1) if c else EMPTY for c in self.diagrams.children[ref]
            )
            found = self._saturate(children, level) if any(children) else EMPTY
            self._fired[key] = found
        return found


def _by_source(edges: tuple[Edge, ...]) -> list[tuple[int, tuple[Edge, ...]]]:
    out: dict[int, list[Edge]] = {}
    for edge in edges:
        out.setdefault(edge.a, []).append(edge)
    return [(a, tuple(e)) for a, e in out.items()]
