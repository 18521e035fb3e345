"""Looking for something in a diagram: a violation, or what a *sometimes* property wants."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator

from attrs import frozen

from hpcore.check.symbolic.diagram import Diagrams
from hpcore.check.tabulated.schema import Role, Sight, Tables

Numbers = tuple[int, ...]
"""A state as the tables number it: the slots' local states, then the common part."""


@frozen
class Sighting:
    """`what` is in `state`, or, if `moving`, one stimulus on from there."""

    what: str
    state: Numbers
    moving: bool


@frozen
class _Kind:
    what: str
    need: int
    moving: bool
    whole: bool


class Sightings:
    """Sights, put together so that a diagram is looked through once for all of them."""

    def __init__(self, tables: Tables, sights: Iterable[Sight]) -> None:
        self._tables = tables
        kinds: dict[_Kind, dict[tuple[Role, int], int]] = defaultdict(lambda: defaultdict(int))
        for s in sights:
            kinds[_Kind(s.what, s.need, s.moving, s.whole)][s.role, s.a] |= 1 << s.c
        # A sight that a state itself shows is one stimulus nearer than one that the next
        # stimulus shows; so those are looked for first.
        self._kinds = sorted(kinds.items(), key=lambda item: (item[0].moving, item[0].what))

    def all_in(self, diagrams: Diagrams, root: int) -> Iterator[Sighting]:
        """One state for each different thing to be seen."""
        seen: set[str] = set()
        commons = diagrams.commons_of(root)
        for kind, where in self._kinds:
            if kind.what not in seen:
                found = self._find(diagrams, root, commons, kind, where)
                if found is not None:
                    seen.add(kind.what)
                    yield found

    def _find(
        self,
        diagrams: Diagrams,
        root: int,
        commons: list[list[int]],
        kind: _Kind,
        where: dict[tuple[Role, int], int],
    ) -> Sighting | None:
        for level, role in enumerate(self._tables.roles):
            for a, present in enumerate(commons[level]):
                mask = present & where.get((role, a), 0)
                if mask:
                    state = self._state(diagrams, root, kind, level, a, mask)
                    if state is not None:
                        return Sighting(kind.what, state, kind.moving)
        return None

    def _state(
        self, diagrams: Diagrams, root: int, kind: _Kind, at: int, a: int, mask: int
    ) -> Numbers | None:
        """A state with slot `at` in `a`, one of the common parts of `mask`, and the needs met."""

        def allows(level: int, here: int) -> bool:
            return level != at or here == a

        needs = self._tables.needs[kind.need]
        if not needs:
            return diagrams.find(root, allows, mask)
        (need,) = needs  # no stimulus asks two things
        holding = [self._tables.holding(need.condition, role) for role in self._tables.roles]

        def counts(level: int, here: int) -> int:
            return int(holding[level][here] and (kind.whole or level != at))

        return diagrams.find(root, allows, mask, counts, need.least, need.most)
