"""The page to walk in: the states of a small configuration, and what may come next in each."""

from __future__ import annotations

from collections.abc import Sequence

from hpcore.check.graphs.walkable import Place
from hpcore.check.world.environment import Environment
from hpcore.check.world.words import describe
from hpcore.check.world.words import say as say_stimulus
from hpcore.errors import printable
from hpcore.show.html import page
from hpcore.show.timeline import Texts
from hpcore.triage.state_words import COLUMNS, machine_words, slot_words
from hpcore.triage.words import say


def explorer_page(environment: Environment, places: Sequence[Place], rules: str) -> str:
    """The page of `places`, as HTML. `rules` says whose protocol it is."""
    texts, rows, machines = Texts(), Texts(), Texts()
    states = []
    for place in places:
        moves = None
        if place.moves is not None:
            moves = [
                [
                    texts.number(printable(say_stimulus(move.by))),
                    [texts.number(printable(say(event))) for event in move.events],
                    -1 if move.to is None else move.to,
                    None if move.broken is None
                    else [move.broken.invariant, move.broken.slot, move.broken.says],
                ]
                for move in place.moves
            ]  # fmt: skip
        words = machine_words(place.state.shared)
        if place.state.shared.step is not None:
            words += f", {place.state.shared.step} under way"
        left = f", {place.faults} faults left" if environment.faults else ""
        states.append([
            machines.number(words + left),
            [rows.number(slot_words(slot)) for slot in place.state.slots],
            place.depth, -1 if place.came is None else place.came[0],
            -1 if place.came is None else place.came[1], moves,
        ])  # fmt: skip
    data = {
        "about": [["rules", rules], ["environment", describe(environment)]],
        "columns": list(COLUMNS),
        "texts": texts.all,
        "rows": [list(map(printable, row)) for row in rows.all],
        "machines": machines.all,
        "states": states,
    }
    return page("explore.html.j2", ("explore.js",), data, title="hpcore explore")
