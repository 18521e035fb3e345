"""All successors of many packed states at once, and what is to be seen of them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

from hpcore.check.explicit.hashset import Keys
from hpcore.check.explicit.packing import Indices, Packing
from hpcore.check.tabulated.moves import WideMove, sort_moves
from hpcore.check.tabulated.schema import Role, Sight, Tables
from hpcore.check.world.conditions import Needs

Flags = NDArray[np.bool_]


@frozen
class _Rows:
    """Moves of one role by row: a row is a local state under a common part."""

    first: Indices
    count: Indices
    slot: Indices
    """The change of the local state, to xor."""
    common: Indices


class Expansion:
    """The moves of `tables` on packed states."""

    def __init__(self, tables: Tables, packing: Packing) -> None:
        self._tables, self._packing = tables, packing
        self._commons = len(tables.commons)
        rows: dict[tuple[Role, int], dict[int, set[tuple[int, int]]]] = defaultdict(
            lambda: defaultdict(set)
        )
        for m in tables.slot_moves:
            rows[m.role, m.need][m.a * self._commons + m.c].add((m.a ^ m.b, m.c ^ m.d))
        self._rows = {key: self._made(key[0], found) for key, found in rows.items()}
        moves = sort_moves(tables)
        plain = sorted({(m.c, m.d) for m in tables.machine_moves if m.need == 0 and m.map < 0})
        self._wide = [
            (move, *pairs)
            for move in (*moves.wide, WideMove((), None, moves.alone, tuple(plain)))
            for pairs in _columns(move.pairs, self._commons)
        ]
        self._patches: dict[tuple[Role, int, int], Keys] = {}

    def _made(self, role: Role, found: dict[int, set[tuple[int, int]]]) -> _Rows:
        count = np.zeros(len(self._tables.locals[role]) * self._commons, np.int64)
        slot: list[int] = []
        common: list[int] = []
        first = np.zeros_like(count)
        for row, moves in sorted(found.items()):
            first[row], count[row] = len(slot), len(moves)
            for a, c in sorted(moves):
                slot.append(a)
                common.append(c)
        return _Rows(first, count, np.array(slot, np.int64), np.array(common, np.int64))

    # ------------------------------------------------------------------ successors

    def successors(self, states: Keys) -> Iterator[Keys]:
        """What `states` go to: one array a kind of move, a state once for each move."""
        common = self._packing.common(states)
        local = [self._packing.slot(states, i) for i in range(self._packing.slots)]
        held = Held(self._tables, local)
        for i, role in enumerate(self._tables.roles):
            row = local[i] * self._commons + common
            for (of, need), moves in self._rows.items():
                if of is not role:
                    continue
                count = moves.count[row]
                if need:
                    count = np.where(held.met(self._tables.needs[need], but=i), count, 0)
                yield self._moved(states, i, role, need, moves.first[row], count)
        for move, targets in self._wide:
            to = targets[common]
            goes = (to >= 0) & held.met(move.needs)
            if move.map is not None:
                for i, role in enumerate(self._tables.roles):
                    goes &= np.array(move.map[role], np.int64)[local[i]] >= 0
            if goes.any():
                moved = self._everywhere(local, move, to, goes)
                yield moved[moved != states[goes]]

    def _moved(
        self, states: Keys, index: int, role: Role, need: int, first: Indices, count: Indices
    ) -> Keys:
        key = (role, need, index)
        patch = self._patches.get(key)
        if patch is None:
            moves = self._rows[role, need]
            patch = self._patches[key] = self._packing.patch(index, moves.slot, moves.common)
        ends = np.cumsum(count)
        total = int(ends[-1])
        which = np.arange(total) + np.repeat(first - (ends - count), count)
        moved: Keys = np.repeat(states, count) ^ patch[which]
        return moved

    def _everywhere(
        self, local: list[Indices], move: WideMove, to: Indices, goes: Flags
    ) -> Keys:
        out = to[goes].astype(np.uint64) << np.uint64(self._packing.common_at)
        for i, role in enumerate(self._tables.roles):
            here = local[i][goes]
            if move.map is not None:
                here = np.array(move.map[role], np.int64)[here]
            out |= here.astype(np.uint64) << np.uint64(i * self._packing.slot_bits)
        return out


def _columns(
    pairs: tuple[tuple[int, int], ...], commons: int
) -> Iterator[tuple[Indices]]:
    """`pairs` as arrays with a target for each common part, -1 for none.

    There are as many arrays as any common part has targets.
    """
    targets: dict[int, list[int]] = defaultdict(list)
    for c, d in sorted(set(pairs)):
        targets[c].append(d)
    for n in range(max(map(len, targets.values()), default=0)):
        column = np.full(commons, -1, np.int64)
        for c, found in targets.items():
            if n < len(found):
                column[c] = found[n]
        yield (column,)


class Held:
    """Counts of the slots that have the property of a condition, for many states."""

    def __init__(self, tables: Tables, local: list[Indices]) -> None:
        self._tables, self._local = tables, local
        self._all: dict[str, Indices] = {}

    def met(self, needs: Needs, but: int | None = None) -> Flags:
        """In which states `needs` hold, of all slots or of all but one."""
        out: Flags = np.ones(len(self._local[0]), np.bool_)
        for need in needs:
            name = need.condition.name
            if name not in self._all:
                self._all[name] = sum(
                    (self._one(need.condition.name, i) for i in range(len(self._local))),
                    start=np.zeros(len(self._local[0]), np.int64),
                )
            count = self._all[name] if but is None else self._all[name] - self._one(name, but)
            out &= count >= need.least
            if need.most is not None:
                out &= count <= need.most
        return out

    def _one(self, name: str, index: int) -> Indices:
        role = self._tables.roles[index]
        condition = next(c for c in self._tables.ceilings if c.name == name)
        table = np.array(self._tables.holding(condition, role), np.int64)
        found: Indices = table[self._local[index]]
        return found


class Lookout:
    """Finds sights in packed states."""

    def __init__(self, tables: Tables, packing: Packing, sights: tuple[Sight, ...]) -> None:
        self._tables, self._packing = tables, packing
        self.names = tuple(sorted({s.what for s in sights}))
        self._commons = len(tables.commons)
        self._tabled: dict[tuple[Role, int, bool], NDArray[np.int64]] = {}
        for s in sights:
            key = (s.role, s.need, s.whole)
            if key not in self._tabled:
                size = len(tables.locals[s.role]) * self._commons
                self._tabled[key] = np.zeros(size, np.int64)
            self._tabled[key][s.a * self._commons + s.c] |= 1 << self.names.index(s.what)

    def look(self, states: Keys) -> NDArray[np.int64]:
        """For each state a bit for every name of `names` that is seen there."""
        out = np.zeros(len(states), np.int64)
        if not self._tabled:
            return out
        common = self._packing.common(states)
        local = [self._packing.slot(states, i) for i in range(self._packing.slots)]
        held = Held(self._tables, local)
        for (of, need, whole), table in self._tabled.items():
            for i, role in enumerate(self._tables.roles):
                if of is role:
                    seen = table[local[i] * self._commons + common]
                    if need and seen.any():
                        but = None if whole else i
                        seen = np.where(held.met(self._tables.needs[need], but), seen, 0)
                    out |= seen
        return out
