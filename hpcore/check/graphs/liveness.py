"""What must *eventually* happen: whatever a slot has come to owe has an end.

Fair means: an effect under way ends, for good or ill, a deadline runs out, and a user does
not give one `device_del` again for ever, as each time gives the guest its time anew. A run
that goes on for ever without one of the first two, although it could have happened all the
time, is no run of a real machine, nor is one of such a user. What is left over is a loop in
which a slot owes something all the time. So for each *eventually* property and slot, in each
strongly connected part of the states in which the slot owes, every fair thing must either
happen or be impossible somewhere: then a run can stay there for ever.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from hpcore.check.graphs.graph import Arrow, Graph
from hpcore.check.properties import asked_in
from hpcore.check.sightings import Numbers
from hpcore.check.tabulated.schema import Tables
from hpcore.model.effects import MachineStep
from hpcore.model.properties import Kind
from hpcore.model.stimuli import (
    DeviceDel,
    Done,
    Failed,
    GuestSilent,
    MachineDone,
    MachineFailed,
    Stimulus,
)

FAIR: Mapping[type[Stimulus], str] = {
    Done: "outcome", Failed: "outcome", GuestSilent: "deadline",
    MachineDone: "machine", MachineFailed: "machine",
}  # fmt: skip
"""The stimuli that come at last, and what they are the end of: of one kind, any will do."""
MOST = 20_000
"""States up to which this is looked into: a few seconds of plain Python."""

Fair = tuple[str, int | None]


def endless(tables: Tables, graph: Graph) -> tuple[str, ...]:
    """What may be owed for ever: "unplug of vCPU 1"; empty if nothing."""
    out = []
    asked = asked_in(tables.environment, tables.properties, Kind.EVENTUALLY)
    for i, role in enumerate(tables.roles):
        for p in asked:
            owes = p.owes
            assert owes is not None, f"{p.name} does not say what is owed"
            owing = set()
            for state in graph:
                shared = tables.commons[state[-1]].shared
                if shared.step is MachineStep.POWER_DOWN:
                    continue  # its outcome ends everything, and leads to no state of the graph
                if owes(i, tables.locals[role][state[i]], shared):
                    owing.add(state)
            patient = {
                state: tuple(a for a in graph[state] if not _asks(a, i)) for state in owing
            }
            if any(_fair_for_ever(patient, part) for part in _parts(patient, owing)):
                out.append(f"{p.name} of vCPU {i}")
    return tuple(out)


def _fair_for_ever(graph: Graph, part: set[Numbers]) -> bool:
    """Whether a fair run can stay in `part`: every fair thing happens there, or may not."""
    always: set[Fair] | None = None
    inside: set[Fair] = set()
    for state in part:
        possible = {f for arrow in graph[state] for f in _fair(arrow)}
        always = possible if always is None else always & possible
        inside |= {f for arrow in graph[state] if arrow.to in part for f in _fair(arrow)}
    return not (always or set()) - inside


def _asks(arrow: Arrow, slot: int) -> bool:
    return arrow.by is DeviceDel and arrow.slot == slot


def _fair(arrow: Arrow) -> Iterator[Fair]:
    kind = FAIR.get(arrow.by)
    if kind is not None:
        yield kind, arrow.slot


def _parts(graph: Graph, within: set[Numbers]) -> Iterator[set[Numbers]]:
    """The strongly connected parts of `graph` within a set of states (Tarjan's way)."""
    number: dict[Numbers, int] = {}
    low: dict[Numbers, int] = {}
    stack: list[Numbers] = []
    on_stack: set[Numbers] = set()
    for root in within:
        if root in number:
            continue
        todo: list[tuple[Numbers, Iterator[Numbers]]] = [(root, _next(graph, root, within))]
        number[root] = low[root] = len(number)
        stack.append(root)
        on_stack.add(root)
        while todo:
            state, rest = todo[-1]
            for after in rest:
                if after not in number:
                    number[after] = low[after] = len(number)
                    stack.append(after)
                    on_stack.add(after)
                    todo.append((after, _next(graph, after, within)))
                    break
                if after in on_stack:
                    low[state] = min(low[state], number[after])
            else:
                todo.pop()
                if todo:
                    low[todo[-1][0]] = min(low[todo[-1][0]], low[state])
                if low[state] == number[state]:
                    part = set(_popped(stack, state))
                    on_stack -= part
                    yield part


def _next(graph: Graph, state: Numbers, within: set[Numbers]) -> Iterator[Numbers]:
    return (arrow.to for arrow in graph[state] if arrow.to in within)


def _popped(stack: list[Numbers], until: Numbers) -> Iterable[Numbers]:
    while True:
        state = stack.pop()
        yield state
        if state == until:
            return
