"""Moves that ask something of several slots, or move them all, taken on a whole diagram."""

from __future__ import annotations

from collections.abc import Callable

from hpcore.check.conditions import Needs
from hpcore.check.diagram import EMPTY, Diagrams
from hpcore.check.moves import Edge, Moves, WideMove
from hpcore.check.tables import Role, Tables
from hpcore.check.transforms import apply


class Walk:
    """Takes moves on diagrams. `finish` makes a node of its children at a level, `close` a
    set of words of another: where a search does more than store them, it does it there."""

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
        return self._walk(root, move, None)

    def asking(self, root: int, at: int, needs: Needs, edge: Edge) -> int:
        """What slot `at` makes of the states of `root` whose other slots are as needed."""
        return self._walk(root, WideMove(needs, None, edge.transform), (at, edge))

    def _walk(self, root: int, move: WideMove, only: tuple[int, Edge] | None) -> int:
        """Down to the words, the needs' counts kept on the way, and up again."""
        diagrams = self._diagrams
        adds = [self._adds(move.needs, role) for role in self._roles]
        tops = tuple(need.ceiling for need in move.needs)
        known: dict[tuple[int, tuple[int, ...]], int] = {}
        parts = self._moves.transforms.parts[move.transform]

        def walk(ref: int, level: int, counts: tuple[int, ...]) -> int:
            if level == self._depth:
                if not all(n.met(c) for n, c in zip(move.needs, counts, strict=True)):
                    return EMPTY
                words = apply(parts, -ref)
                return -self._close(words) if words else EMPTY
            key = (ref, counts)
            found = known.get(key)
            if found is not None:
                return found
            out = [EMPTY] * diagrams.widths[level]
            here = only is not None and only[0] == level
            for a, child in enumerate(diagrams.children[ref]):
                if not child or (here and only is not None and a != only[1].a):
                    continue
                b, after = a, counts
                if here and only is not None:
                    b = only[1].b
                else:
                    if move.map is not None:
                        b = move.map[self._roles[level]][a]
                    if counts:
                        after = tuple(
                            min(c + add[a], top)
                            for c, add, top in zip(counts, adds[level], tops, strict=True)
                        )
                made = walk(child, level + 1, after) if b >= 0 else EMPTY
                if made:
                    out[b] = diagrams.union(out[b], made)
            found = self._finish(tuple(out), level) if any(out) else EMPTY
            known[key] = found
            return found

        return walk(root, 0, (0,) * len(move.needs)) if root else EMPTY

    def _adds(self, needs: Needs, role: Role) -> list[list[int]]:
        return [[int(h) for h in self._tables.holding(n.condition, role)] for n in needs]
