"""A way with nothing in it that could be left out.

A search that takes one of several orders that commute takes some moves earlier than need be:
so its way may have outcomes in it that the finding does not depend on.
"""

from __future__ import annotations

import attrs

from hpcore.check.tabulated.start import take
from hpcore.model import stimuli as st
from hpcore.model.properties import Invariants
from hpcore.model.states import State, initial
from hpcore.scenario.values import Line
from hpcore.sequence.going import go
from hpcore.sequence.values import Finding, FindingKind, Happening, Question
from hpcore.sequence.world import Spot, World, first_spot

MOST_TRIED = 400
"""Happenings of a way that is made shorter; beyond, it is shown as it was found."""


def shortened(finding: Finding, question: Question, lines: tuple[Line, ...]) -> Finding:
    """The same finding, without the outcomes that it does not take."""
    if finding.kind not in (FindingKind.FAILS, FindingKind.BROKEN):
        return finding
    if not question.reduce or len(finding.way) > MOST_TRIED:
        return finding
    world = World(attrs.evolve(question, reduce=False), lines)
    way, at = list(finding.way), len(finding.way) - 2
    while at >= 0:
        shorter = way[:at] + way[at + 1 :]
        if isinstance(way[at].stimulus, st.Done) and _leads(shorter, finding, question, world):
            way = shorter
        at -= 1
    return attrs.evolve(finding, way=tuple(way))


def _leads(
    way: list[Happening], finding: Finding, question: Question, world: World
) -> bool:
    """Whether `way` can be gone, and what it ends with is `finding`."""
    state: State = initial(question.scenario.machine)
    spot: Spot = first_spot(question)
    invariants = Invariants(question.properties)
    for n, happening in enumerate(way):
        for move in world.moves(state, spot):
            if move.happening == happening:
                break
        else:
            return False
        stimulus = move.stimulus
        taken = None if stimulus is None else take(state, stimulus, question.rules, invariants)
        at = spot.at
        went = go(question.guest, world.lines, state, spot, move, taken)
        state, spot = went.state, went.spot
        if went.failure is not None or went.broken is not None:
            same_line = at < len(world.lines) and world.lines[at] is finding.line
            why = went.failure or (went.broken.says if went.broken is not None else "")
            return n == len(way) - 1 and same_line and why == finding.why
    return False
