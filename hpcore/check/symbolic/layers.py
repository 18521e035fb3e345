"""The shortest way to something bad: exact layers of a diagram, and the way back.

Slower than saturation, and only run once that has found that there is something to find.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence

from hpcore.check.sightings import Numbers, Sighting, Sightings
from hpcore.check.symbolic.diagram import EMPTY, Diagrams
from hpcore.check.symbolic.walk import Walk
from hpcore.check.tabulated.moves import Edge, WideMove, sort_moves
from hpcore.check.tabulated.schema import MachineMove, Tables
from hpcore.check.tabulated.transforms import apply


class Layers:
    """Breadth first by diagrams, over `tables`."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self._moves = sort_moves(tables)
        self._diagrams = Diagrams([len(tables.locals[role]) for role in tables.roles])
        self._walk = Walk(
            tables, self._moves, self._diagrams,
            lambda children, level: self._diagrams.node(children), lambda commons: commons,
        )  # fmt: skip
        self._fired: dict[tuple[int, int], int] = {}
        self._by_target: dict[tuple[str, int, int], list[tuple[int, int, int]]] = defaultdict(list)
        for m in tables.slot_moves:
            self._by_target[m.role, m.b, m.d].append((m.a, m.c, m.need))

    def way_to(
        self, sightings: Sightings, progress: Callable[[int, int], None] = lambda depth, nodes: None
    ) -> tuple[Sighting, tuple[Numbers, ...]] | None:
        """The nearest thing to be seen and the states on the way there, the start first."""
        root = self._diagrams.of_all(self._tables.firsts)
        history = [root]
        while True:
            found = next(sightings.all_in(self._diagrams, root), None)
            if found is not None:
                return found, tuple(self._back(found.state, history))
            root = self._diagrams.union(root, self._image(root))
            if root == history[-1]:
                return None
            history.append(root)
            progress(len(history), self._diagrams.nodes)

    # -------------------------------------------------------------------- one step

    def _image(self, root: int) -> int:
        """What one move makes of the states of `root`."""
        union = self._diagrams.union
        out = EMPTY
        for level, role in enumerate(self._tables.roles):
            out = union(out, self._slot(root, level))
            for needs, edges in self._moves.asking[role].items():
                out = union(out, self._walk.asking(root, level, needs, edges))
        for move in (*self._moves.wide, WideMove((), None, self._moves.alone)):
            out = union(out, self._walk.wide(root, move))
        return out

    def _slot(self, root: int, at: int) -> int:
        """What the moves of slot `at` that ask nothing make of `root`."""
        edges: dict[int, list[Edge]] = defaultdict(list)
        for edge in self._moves.local[self._tables.roles[at]]:
            edges[edge.a].append(edge)
        known: dict[int, int] = {}
        diagrams = self._diagrams

        def walk(ref: int, level: int) -> int:
            found = known.get(ref)
            if found is not None:
                return found
            children = diagrams.children[ref]
            if level < at:
                out = [walk(c, level + 1) if c else EMPTY for c in children]
            else:
                out = [EMPTY] * len(children)
                for a, child in enumerate(children):
                    for edge in edges[a] if child else ():
                        made = self._fire(child, edge.transform)
                        out[edge.b] = diagrams.union(out[edge.b], made)
            found = known[ref] = diagrams.node(tuple(out))
            return found

        return walk(root, 0)

    def _fire(self, ref: int, transform: int) -> int:
        if ref <= 0:
            return -apply(self._moves.transforms.parts[transform], -ref)
        key = (ref, transform)
        found = self._fired.get(key)
        if found is None:
            found = self._fired[key] = self._diagrams.node(
                tuple(self._fire(c, transform) for c in self._diagrams.children[ref])
            )
        return found

    # -------------------------------------------------------------------- the way back

    def _back(self, state: Numbers, history: list[int]) -> list[Numbers]:
        way = [state]
        for root in reversed(history[:-1]):
            way.append(next(self._before(way[-1], root)))
        return list(reversed(way))

    def _before(self, state: Numbers, root: int) -> Iterator[Numbers]:
        """The states of `root` that one move takes to `state`."""
        *slots, d = state
        for i, role in enumerate(self._tables.roles):
            for a, c, need in self._by_target[role, slots[i], d]:
                before = (*slots[:i], a, *slots[i + 1 :], c)
                if self._diagrams.has(root, before) and self._met(before, need, but=i):
                    yield before
        for move in self._tables.machine_moves:
            if move.d == d:
                found = self._before_all(slots, move, root)
                # A move with needs leaves every slot as it is; so there is no other state
                # that it leads from, whose slots might be as needed where these are not.
                if found is not None and self._met(found, move.need):
                    yield found

    def _before_all(self, slots: Sequence[int], move: MachineMove, root: int) -> Numbers | None:
        """A state of `root` that `move` takes to `slots`."""
        if move.map < 0:
            before = (*slots, move.c)
            return before if self._diagrams.has(root, before) else None
        rows = [self._tables.maps[move.map][role] for role in self._tables.roles]

        def allows(level: int, here: int) -> bool:
            return rows[level][here] == slots[level]

        return self._diagrams.find(root, allows, 1 << move.c)

    def _met(self, state: Numbers, need: int, but: int | None = None) -> bool:
        tables = self._tables
        return all(
            n.met(sum(
                tables.holding(n.condition, role)[state[i]]
                for i, role in enumerate(tables.roles) if i != but
            ))
            for n in tables.needs[need]
        )  # fmt: skip
