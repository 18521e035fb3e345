"""The tables' moves, sorted by how far they reach into a diagram."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

from attrs import field, frozen

from hpcore.check.tabulated.schema import Map, Role, Tables
from hpcore.check.tabulated.transforms import Transforms
from hpcore.check.world.conditions import Needs


@frozen
class Edge:
    """A slot goes from local state `a` to `b`, the common part by a transform."""

    a: int
    b: int
    transform: int


@frozen
class WideMove:
    """Every slot goes where `map` sends it (None: stays), the common part by a transform.

    The transform takes c to d for each (c, d) of `pairs`.
    """

    needs: Needs
    map: Map | None
    transform: int
    pairs: tuple[tuple[int, int], ...] = ()


@frozen
class Moves:
    """`local` edges ask nothing of other slots; `asking` ones do. `alone` is the transform of
    the moves that change the common part alone, whoever is there; `wide` are all the rest."""

    transforms: Transforms
    local: Mapping[Role, tuple[Edge, ...]]
    asking: Mapping[Role, Mapping[Needs, tuple[Edge, ...]]]
    alone: int
    wide: tuple[WideMove, ...] = field(factory=tuple)


def sort_moves(tables: Tables) -> Moves:
    """The moves of `tables`, those alike put together."""
    transforms = Transforms()
    edges: dict[tuple[Role, int, int, int], list[tuple[int, int]]] = defaultdict(list)
    for m in tables.slot_moves:
        edges[m.role, m.a, m.b, m.need].append((m.c, m.d))
    local: dict[Role, list[Edge]] = {role: [] for role in tables.locals}
    asking: dict[Role, dict[Needs, list[Edge]]] = {role: {} for role in tables.locals}
    for (role, a, b, need), pairs in edges.items():
        edge = Edge(a, b, transforms.number(pairs))
        if need == 0:
            local[role].append(edge)
        else:
            asking[role].setdefault(tables.needs[need], []).append(edge)
    plain: list[tuple[int, int]] = []
    asked: dict[int, list[tuple[int, int]]] = defaultdict(list)
    for move in tables.machine_moves:
        if move.map < 0:
            pairs = plain if move.need == 0 else asked[move.need]
            pairs.append((move.c, move.d))
    wide = [
        WideMove(tables.needs[need], None, transforms.number(pairs), tuple(pairs))
        for need, pairs in asked.items()
    ]
    wide += _mapped(tables, transforms)
    return Moves(
        transforms,
        {role: tuple(e) for role, e in local.items()},
        {role: {n: tuple(e) for n, e in found.items()} for role, found in asking.items()},
        transforms.number(plain),
        tuple(wide),
    )


def _mapped(tables: Tables, transforms: Transforms) -> list[WideMove]:
    """Moves that map every slot; maps that do not contradict each other are made one.

    A map has no target for a local state that never occurs under the common parts that the
    map is for. So where one of two maps has a target and the other has none, the merged map
    takes that target: it is never used under the common parts of the other.
    """
    groups: list[tuple[int, dict[Role, list[int]], list[tuple[int, int]]]] = []
    for m in tables.machine_moves:
        if m.map < 0:
            continue
        wanted = tables.maps[m.map]
        for need, merged, pairs in groups:
            if need == m.need and _agree(merged, wanted):
                _merge(merged, wanted)
                pairs.append((m.c, m.d))
                break
        else:
            groups.append((m.need, {r: list(row) for r, row in wanted.items()}, [(m.c, m.d)]))
    return [
        WideMove(tables.needs[need], {r: tuple(row) for r, row in merged.items()},
                 transforms.number(pairs), tuple(pairs))
        for need, merged, pairs in groups
    ]  # fmt: skip


def _agree(merged: Mapping[Role, list[int]], wanted: Map) -> bool:
    return all(
        a == b or a < 0 or b < 0
        for role, row in wanted.items()
        for a, b in zip(merged[role], row, strict=True)
    )


def _merge(merged: dict[Role, list[int]], wanted: Map) -> None:
    for role, row in wanted.items():
        merged[role] = [b if a < 0 else a for a, b in zip(merged[role], row, strict=True)]
