"""One decision in the making, and what goes on by itself once a step has ended."""

from __future__ import annotations

from attrs import frozen

from hpcore.model import events as ev
from hpcore.model.effects import Effect, MachineStep, Step
from hpcore.model.evolve import evolve
from hpcore.model.guards import Ask, Guard, first_refusal
from hpcore.model.machines import IllegalTransition, Phase, SlotState
from hpcore.model.rules import Habit, Rules
from hpcore.model.states import Owed, Shared, Slot, State

LONGEST_TEXT = 2000
"""Characters of anybody's words that go into one event."""


def plain(text: str) -> str:
    """`text` as a log can hold it: whole characters, and not too many of them."""
    clipped = text if len(text) <= LONGEST_TEXT else text[:LONGEST_TEXT] + " ..."
    return clipped.encode("utf-8", "backslashreplace").decode()


@frozen
class Decision:
    """Events to log, in order; the state after them; then effects to execute, in order."""

    events: tuple[ev.Event, ...]
    effects: tuple[Effect, ...]
    state: State


class Draft:
    """One decision in the making: events emitted so far, and the state that they led to."""

    def __init__(self, state: State, rules: Rules) -> None:
        self.state, self.rules = state, rules
        self.events: list[ev.Event] = []

    def emit(self, event: ev.Event) -> None:
        self.events.append(event)
        try:
            self.state = evolve(self.state, event, self.rules)
        except IllegalTransition as error:
            error.events = tuple(self.events)
            raise

    def refuse(
        self, stimulus: object, guard: str, message: str, slot: int | None = None
    ) -> None:
        self.emit(ev.Refused(type(stimulus).__name__, guard, plain(message), slot))

    def refused(
        self, table: tuple[Guard, ...], index: int, stimulus: object, *, answer: bool = True
    ) -> Guard | None:
        """The first guard of `table` that says no, logged as a refusal if `answer`."""
        guard = first_refusal(table, self.ask(index), self.rules)
        if guard is not None and answer:
            self.refuse(stimulus, guard.name, guard.refusal(self.ask(index)), index)
        return guard

    def ask(self, index: int) -> Ask:
        return Ask(self.state.config, self.state.shared, index, self.state.slots[index])

    def slot(self, index: int) -> Slot:
        return self.state.slots[index]

    @property
    def shared(self) -> Shared:
        return self.state.shared

    def guarded(self, name: str) -> bool:
        return name not in self.rules.guards_off

    def keeps(self, habit: Habit) -> bool:
        return habit in self.rules.habits

    def decision(self) -> Decision:
        effects = tuple(e for event in self.events for e in ev.effects_of(event))
        return Decision(tuple(self.events), effects, self.state)


def advance(draft: Draft, index: int, done: Step | None = None) -> None:
    """Begin the slot's next step, or end its command, if nothing is under way for it."""
    slot = draft.slot(index)
    if slot.step is not None or draft.shared.ended:
        return
    if slot.command in (Owed.PLUG, Owed.COLD_BOOT):
        _advance_build(draft, index, slot, done)
    elif slot.lifecycle is SlotState.EJECTING:
        if not slot.stalled:
            draft.emit(ev.StepBegun(index, draft.rules.teardown_step(slot)))
    elif slot.command is Owed.REVOKE:
        draft.emit(ev.TakenByForce(index))
        advance(draft, index)
    elif slot.command is Owed.UNPLUG and not slot.requested:
        waits = draft.keeps(Habit.REMOVE_WAITS_FOR_INSERT) and slot.insert
        if not waits:
            draft.emit(ev.StepBegun(index, Step.NOTIFY_REMOVE))


def _advance_build(draft: Draft, index: int, slot: Slot, done: Step | None) -> None:
    step = draft.rules.build_step_after(done)
    cold = slot.command is Owed.COLD_BOOT
    if step is None or (cold and step is Step.NOTIFY_INSERT):
        draft.emit(ev.ColdBootDone(index) if cold else ev.PlugCompleted(index, slot.id or ""))
        _start_when_ready(draft)
    else:
        draft.emit(ev.StepBegun(index, step))


def _start_when_ready(draft: Draft) -> None:
    """vCPU 0 enters the kernel once every cold-booted vCPU is enabled."""
    if draft.shared.phase is not Phase.READY or draft.shared.step is not None:
        return
    if all(s.enabled and s.command is Owed.NONE for s in draft.state.slots if s.cold):
        draft.emit(ev.MachineStepBegun(MachineStep.START, draft.state.enabled))


def restart_when_idle(draft: Draft) -> None:
    if draft.shared.phase is Phase.RESETTING and draft.shared.step is None:
        draft.emit(ev.MachineStepBegun(MachineStep.RESTART, draft.state.enabled))


def end_commands(draft: Draft, why: str, *, waiting_for_guest_only: bool = False) -> None:
    """End what was accepted and can't be carried on, with an error each."""
    for index, slot in enumerate(draft.state.slots):
        id_ = slot.id or ""
        if slot.command is Owed.PLUG and not waiting_for_guest_only:
            draft.emit(ev.PlugFailed(index, id_, why))
        if slot.command in (Owed.UNPLUG, Owed.REVOKE) and (
            not waiting_for_guest_only or slot.lifecycle is not SlotState.EJECTING
        ):
            draft.emit(ev.UnplugFailed(index, id_, why))


def lose(draft: Draft, error: str) -> None:
    end_commands(draft, error)
    draft.emit(ev.MachineLost(error))
