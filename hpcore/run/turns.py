"""What a turn of the loop decides: all that is at hand, one by one, and the noise it counts."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import cast

import attrs
from attrs import frozen

from hpcore.log import Entry
from hpcore.model.decide import Decision, decide
from hpcore.model.effects import Effect
from hpcore.model.events import Event
from hpcore.model.fold import Folded, steps
from hpcore.model.plain import plain_stimulus
from hpcore.model.properties import Violation
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
    answers, or None for the line. `broken` is what the decision breaks as a whole.
    """

    entry: Entry | None
    posted: Posted | None
    folded: tuple[Folded, ...]
    effects: tuple[Effect, ...] = ()
    broken: Violation | None = None

    @property
    def is_wrong(self) -> bool:
        """Whether it breaks something, as a whole or by an event."""
        by_event = bool(self.folded) and self.folded[-1].violation is not None
        return self.broken is not None or by_event


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
            entry = Entry(decision.events, now, stimulus, posted.heard)
            folded, broken = self._held(state, stimulus, decision)
            turn = Turn(entry, posted, folded, decision.effects, broken)
            if not turn.is_wrong and changes_nothing(state, stimulus, decision):
                counted = self._noise.takes(entry, len(state.slots))
                turns.append(attrs.evolve(turn, entry=None) if counted else turn)
                continue
            if decision.state != state or turn.is_wrong:
                turns += self.counted(state, now)
            turns.append(turn)
            state = decision.state
            if state.shared.ended or turn.is_wrong:
                break  # nothing comes after it
        return turns

    def _held(
        self, state: State, stimulus: Stimulus, decision: Decision
    ) -> tuple[tuple[Folded, ...], Violation | None]:
        """A decision made in `state`, with every promise held against its events, and against it.

        Its states are those that it was made with: `decide` evolves by the same rules.
        """
        by, events = self._protocol, decision.events
        folded = tuple(
            steps(state, events, by.rules, invariants=by.invariants, states=decision.states)
        )
        if folded and folded[-1].violation is not None:
            return folded, None
        broken = by.invariants.of_decision(
            state, stimulus, events, decision.effects, decision.state
        )
        return folded, broken

    def counted(self, state: State, now: float) -> list[Turn]:
        """A line for each kind of call that was counted in `state`, now counted no longer."""
        by = self._protocol
        return [
            Turn(entry, None, tuple(steps(
                state, cast("tuple[Event, ...]", entry.events), by.rules, invariants=by.invariants,
            )))
            for entry in self._noise.taken(now)
        ]  # fmt: skip
