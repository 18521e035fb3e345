"""One decision in the making: the events so far, and the state that they lead to."""

from __future__ import annotations

from attrs import frozen

from hpcore.model import events as ev
from hpcore.model.effects import Effect
from hpcore.model.evolve import evolve
from hpcore.model.guards import Ask, Guard, Reason, first_refusal
from hpcore.model.machines import IllegalTransition
from hpcore.model.plain import plain
from hpcore.model.rules import Habit, Rules, Trait
from hpcore.model.states import Shared, Slot, State


@frozen
class Decision:
    """Events to log, in order, the state after them, and the states after each."""

    events: tuple[ev.Event, ...]
    state: State
    states: tuple[State, ...]

    @property
    def effects(self) -> tuple[Effect, ...]:
        """What is to be executed because of the events, in order."""
        return tuple(e for event in self.events for e in ev.effects_of(event))


class Draft:
    """What the handlers of `decide` write their events into, and ask for the state so far."""

    def __init__(self, state: State, rules: Rules) -> None:
        self.state, self.rules = state, rules
        self.events: list[ev.Event] = []
        self.states: list[State] = []

    def emit(self, event: ev.Event) -> None:
        """Add `event`; the state is at once the one after it."""
        self.events.append(event)
        try:
            self.state = evolve(self.state, event, self.rules)
        except IllegalTransition as error:
            error.events = tuple(self.events)
            raise
        self.states.append(self.state)

    def refuse(
        self, stimulus: object, reason: Reason, slot: int | None = None, /, **found: object
    ) -> None:
        """Answer `stimulus` with a refusal, which says what was `found` in the reason's words."""
        message = plain(reason.refusal(**found))
        self.emit(ev.Refused(type(stimulus).__name__, reason.name, message, slot))

    def refused(
        self, table: tuple[Guard, ...], stimulus: object, slot: int | None = None
    ) -> bool:
        """Whether a guard of `table` says no, of the machine or of `slot`; it is answered so."""
        guard = self.first_refusal(table, slot)
        if guard is not None:
            self.refuse(stimulus, guard, slot, **self.ask(slot).words)
        return guard is not None

    def first_refusal(self, table: tuple[Guard, ...], slot: int | None = None) -> Guard | None:
        """The first guard of `table` that says no, without an answer to anybody."""
        return first_refusal(table, self.ask(slot), self.rules)

    def why(self, guard: Guard, slot: int) -> str:
        """What `guard` says of `slot` as it is now."""
        return guard.refusal(**self.ask(slot).words)

    def ask(self, slot: int | None = None) -> Ask:
        """What a guard is asked about."""
        if slot is None:
            return Ask(self.state.config, self.state.shared, self.rules)
        return Ask(self.state.config, self.state.shared, self.rules, slot, self.state.slots[slot])

    def slot(self, index: int) -> Slot:
        """The slot as it is so far."""
        return self.state.slots[index]

    @property
    def shared(self) -> Shared:
        """The shared part as it is so far."""
        return self.state.shared

    def guarded(self, reason: Reason) -> bool:
        """Whether the rules have this reason switched on."""
        return reason.name not in self.rules.guards_off

    def keeps(self, habit: Habit) -> bool:
        """Whether the rules have this habit."""
        return habit in self.rules.habits

    def has(self, trait: Trait) -> bool:
        """Whether the rules have this trait."""
        return trait in self.rules.traits

    def decision(self) -> Decision:
        """The draft as it is, done."""
        return Decision(tuple(self.events), self.state, tuple(self.states))
