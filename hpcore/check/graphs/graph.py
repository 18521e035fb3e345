"""The reachable states of a small configuration one by one, with the moves between them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator

from attrs import frozen

from hpcore.check.result import CheckError
from hpcore.check.sightings import Numbers
from hpcore.check.tabulated.schema import MachineMove, Role, SlotMove, Tables
from hpcore.model.stimuli import Stimulus


@frozen
class Arrow:
    """One move: the class of the stimulus, the slot that it is about or None, where it leads."""

    by: type[Stimulus]
    slot: int | None
    to: Numbers


Graph = dict[Numbers, tuple[Arrow, ...]]


def explore(tables: Tables, most: int) -> Graph:
    """Every reachable state and its moves. Raises CheckError beyond `most` states."""
    successors = _successors(tables)
    graph: Graph = {}
    todo = list(tables.firsts)
    seen = set(todo)
    while todo:
        state = todo.pop()
        arrows = graph[state] = tuple(successors(state))
        for arrow in arrows:
            if arrow.to not in seen:
                seen.add(arrow.to)
                todo.append(arrow.to)
        if len(seen) > most:
            raise CheckError(
                f"more than {most} states; take fewer: --slots, --faults, --commands, --no-reset, "
                "--no-migration, --no-power-off"
            )
    return graph


def _successors(tables: Tables) -> Callable[[Numbers], Iterator[Arrow]]:
    of_slot: dict[tuple[Role, int, int], list[SlotMove]] = defaultdict(list)
    for m in tables.slot_moves:
        of_slot[m.role, m.a, m.c].append(m)
    of_common: dict[int, list[MachineMove]] = defaultdict(list)
    for machine_move in tables.machine_moves:
        of_common[machine_move.c].append(machine_move)

    def successors(state: Numbers) -> Iterator[Arrow]:
        *slots, c = state
        for i, role in enumerate(tables.roles):
            for m in of_slot[role, slots[i], c]:
                if holds(tables, state, m.need, but=i):
                    yield Arrow(m.by, i, (*slots[:i], m.b, *slots[i + 1 :], m.d))
        for move in of_common[c]:
            if holds(tables, state, move.need):
                after = slots
                if move.map >= 0:
                    table = tables.maps[move.map]
                    after = [table[role][slots[i]] for i, role in enumerate(tables.roles)]
                if min(after) >= 0 and (*after, move.d) != state:
                    yield Arrow(move.by, None, (*after, move.d))

    return successors


def holds(tables: Tables, state: Numbers, need: int, but: int | None = None) -> bool:
    """Whether the needs of that number hold of a state's slots, of all or of all but one."""
    return all(
        n.met(sum(
            n.condition.holds(tables.locals[role][state[i]])
            for i, role in enumerate(tables.roles) if i != but
        ))
        for n in tables.needs[need]
    )  # fmt: skip
