"""What a turn of the loop decides: all that is at hand, one by one, and the noise it counts."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import cast

from attrs import frozen

from hpcore.log import Entry
from hpcore.model.decide import decide
from hpcore.model.effects import Effect
from hpcore.model.events import Event
from hpcore.model.fold import Folded, steps
from hpcore.model.plain import plain_stimulus
from hpcore.model.revision import Revision
from hpcore.model.states import State
from hpcore.model.stimuli import Stimulus
from hpcore.run.noise import Noise, changes_nothing


@frozen
class Posted:
    """A stimulus that has reached the machine. `answer` is called with what it led to; `heard` is
    how far the accelerator had been heard by then, where it says so."""

    stimulus: Stimulus
    answer: Callable[[tuple[Event, ...]], None] | None = None
    heard: int | None = None


@frozen
class Turn:
    """One decision, or a line that stands for several that were counted.

    `entry` is what is logged of it, or None for one that is only counted. `posted` is what it
    answers, or None for the line.
    """

    entry: Entry | None
    posted: Posted | None
    folded: tuple[Folded, ...]
    effects: tuple[Effect, ...] = ()


class Turns:
    """Decides by one protocol. Knows the time as it is told, and logs nothing itself."""

    def __init__(self, protocol: Revision) -> None:
        self._protocol, self._noise = protocol, Noise()

    def due(self, now: float) -> bool:
        """Whether what is counted is to be logged by now."""
        return self._noise.due(now)

    def decided(
        self, state: State, at_hand: Iterable[Posted], clock: Callable[[], float]
    ) -> list[Turn]:
        """What `at_hand` leads to, one after the other, from `state` on."""
        now = clock()
        turns = self.counted(state, now) if self.due(now) else []
        for posted in at_hand:
            now = clock()
            stimulus = plain_stimulus(posted.stimulus)
            decision = decide(state, stimulus, self._protocol.rules)
            folded = self._folded(state, decision.events)
            entry = Entry(decision.events, now, stimulus, posted.heard)
            if changes_nothing(state, stimulus, decision):
                counted = self._noise.takes(entry, len(state.slots))
                turns.append(Turn(None if counted else entry, posted, folded, decision.effects))
                continue
            if decision.state != state:
                turns += self.counted(state, now)
            turns.append(Turn(entry, posted, folded, decision.effects))
            state = decision.state
            if state.shared.ended or (folded and folded[-1].violation is not None):
                break  # nothing comes after it
        return turns

    def counted(self, state: State, now: float) -> list[Turn]:
        """A line for each kind of call that was counted in `state`, now counted no longer."""
        return [
            Turn(entry, None, self._folded(state, cast("tuple[Event, ...]", entry.events)))
            for entry in self._noise.taken(now)
        ]

    def _folded(self, state: State, events: tuple[Event, ...]) -> tuple[Folded, ...]:
        """`events` of one decision applied to `state`, with every promise held against each."""
        by = self._protocol
        return tuple(steps(state, events, by.rules, invariants=by.invariants))
