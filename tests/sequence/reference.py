"""The plain search of a sequence: whole machines, nothing numbered, remembered or left out.

What the search is held against. It shares with it what a step is, and what may come when.
"""

from __future__ import annotations

import attrs
from attrs import frozen

from hpcore.check.tabulated.start import take
from hpcore.model.properties import Invariants
from hpcore.model.states import State, initial
from hpcore.scenario.judged import judged
from hpcore.sequence.going import go
from hpcore.sequence.lines import lines_of
from hpcore.sequence.values import Question
from hpcore.sequence.world import Spot, World, first_spot

Found = tuple[str, int, str]
"""The kind of a finding, the number of its step, and why."""


@frozen
class Plain:
    """What a plain search found: the nodes, each finding and how far it is."""

    nodes: frozenset[tuple[State, Spot]]
    found: dict[Found, int]


def search(question: Question) -> Plain:
    """Breadth first over every run."""
    lines = lines_of(question.scenario)
    world = World(attrs.evolve(question, reduce=False), lines)
    invariants = Invariants(question.properties)
    first = (initial(question.scenario.machine), first_spot(question))
    depth = {first: 0}
    after: dict[tuple[State, Spot], set[tuple[State, Spot]]] = {}
    ends: set[tuple[State, Spot]] = set()
    found: dict[Found, int] = {}
    todo = [first]
    for node in todo:  # which grows
        state, spot = node
        after[node], fair = set(), False

        def note(kind: str, why: str, at: int, far: int) -> None:
            number = lines[at].number if at < len(lines) else 0
            found.setdefault((kind, number, why), far)

        for move in world.moves(state, spot):
            taken = None
            if move.stimulus is not None:
                taken = take(state, move.stimulus, question.rules, invariants)
            went = go(question.guest, lines, state, spot, move, taken)
            if went.failure is not None or went.broken is not None:
                kind = "fails" if went.broken is None else "broken"
                why = went.failure or (went.broken.says if went.broken is not None else "")
                tolerated = question.faults - spot.faults + move.fault
                if went.broken is not None or not tolerated:
                    note(kind, why, spot.at, depth[node] + 1)
                ends.add(node)
                fair = fair or move.fair
                continue
            other = (went.state, went.spot)
            if other != node:
                after[node].add(other)
                fair = fair or move.fair
        if not fair and spot.at < len(lines):
            ends.add(node)
            unmet = world.unmet(state, spot)
            wrong = None if unmet is None else judged(lines[spot.at], unmet)
            if unmet is None:
                note("never", "it need never end", spot.at, depth[node])
            elif wrong is None:
                after[node].add((state, Spot(spot.at + 1, None, spot.kernel, spot.faults)))
            elif spot.faults == question.faults:
                note("expect", wrong, spot.at, depth[node])
        for other in after[node]:
            if other not in depth:
                depth[other] = depth[node] + 1
                todo.append(other)
    return Plain(frozenset(depth), found)
