"""Moves that ask something of several slots, or move them all, taken on a whole diagram."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from hpcore.check.symbolic.diagram import EMPTY, Diagrams
from hpcore.check.tabulated.moves import Edge, Moves, WideMove
from hpcore.check.tabulated.schema import Map, Role, Tables
from hpcore.check.tabulated.transforms import apply
from hpcore.check.world.conditions import Needs


class Walk:
    """Takes moves on diagrams.

    `finish` makes a node of its children at a level, and `close` a set of common parts of
    another such set. A search that does more with them than to store them does it there.
    """

    def __init__(
        self,
        tables: Tables,
        moves: Moves,
        diagrams: Diagrams,
        finish: Callable[[tuple[int, ...], int], int],
        close: Callable[[int], int],
    ) -> None:
        self._tables, self._moves, self._diagrams = tables, moves, diagrams
        self._finish, self._close = finish, close
        self._roles = tables.roles
        self._depth = len(tables.roles)

    def wide(self, root: int, move: WideMove) -> int:
        """What `move` makes of the states of `root` that are as it needs."""
        return self._walk(root, move.needs, move.transform, move.map, -1, {})

    def asking(self, root: int, at: int, needs: Needs, edges: Sequence[Edge]) -> int:
        """What slot `at` makes, by `edges`, of those states whose other slots are as needed."""
        by_source: dict[int, list[Edge]] = {}
        for edge in edges:
            by_source.setdefault(edge.a, []).append(edge)
        return self._walk(root, needs, -1, None, at, by_source)

    def _walk(
        self,
        root: int,
        needs: Needs,
        transform: int,
        map_: Map | None,
        at: int,
        edges: Mapping[int, Sequence[Edge]],
    ) -> int:
        """Down to the common parts, the needs' counts kept on the way, and up again.

        At level `at` the edges are taken, and what they do to the common part is known below.
        """
        diagrams = self._diagrams
        adds = [self._adds(needs, role) for role in self._roles]
        tops = tuple(need.ceiling for need in needs)
        known: dict[tuple[int, tuple[int, ...], int], int] = {}

        def walk(ref: int, level: int, counts: tuple[int, ...], by: int) -> int:
            if level == self._depth:
                if not all(n.met(c) for n, c in zip(needs, counts, strict=True)):
                    return EMPTY
                commons = apply(self._moves.transforms.parts[by], -ref)
                return -self._close(commons) if commons else EMPTY
            key = (ref, counts, by)
            found = known.get(key)
            if found is not None:
                return found
            out = [EMPTY] * diagrams.widths[level]
            for a, child in enumerate(diagrams.children[ref]):
                if not child:
                    continue
                if level == at:
                    for edge in edges.get(a, ()):
                        made = walk(child, level + 1, counts, edge.transform)
                        out[edge.b] = diagrams.union(out[edge.b], made)
                    continue
                after = counts
                if counts:
                    after = tuple(
                        min(c + add[a], top)
                        for c, add, top in zip(counts, adds[level], tops, strict=True)
                    )
                b = a if map_ is None else map_[self._roles[level]][a]
                if b >= 0:
                    out[b] = diagrams.union(out[b], walk(child, level + 1, after, by))
            found = self._finish(tuple(out), level) if any(out) else EMPTY
            known[key] = found
            return found

        return walk(root, 0, (0,) * len(needs), transform) if root else EMPTY

    def _adds(self, needs: Needs, role: Role) -> list[list[int]]:
        return [[int(h) for h in self._tables.holding(n.condition, role)] for n in needs]
