"""The machine that an import follows: stimuli in, events into the log, and what they break.

The state goes on by QEMU's ways (`ways.followed`), because what QEMU did is a fact. Each decision
is held against the rules that are to judge, and each state against the promises that these make.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import cast

import attrs

from hpcore.foreign.marks import Kind, Mark
from hpcore.foreign.ways import LACKING, followed
from hpcore.log import LogWriter
from hpcore.model import events as ev
from hpcore.model.config import MachineConfig
from hpcore.model.decide import Decision, decide
from hpcore.model.effects import Step
from hpcore.model.evolve import evolve
from hpcore.model.guards import REASONS, SWITCHES
from hpcore.model.machines import IllegalTransition
from hpcore.model.plain import plain, plain_stimulus
from hpcore.model.properties import Change, Property, Violation
from hpcore.model.revision import Revision
from hpcore.model.rules import Habit, Rules
from hpcore.model.states import Slot, State, initial
from hpcore.model.stimuli import CpuOnCalled, Done, Note, Stimulus
from hpcore.model.topology import mp_affinity

MOST_OF_A_KIND = 200
"""Marks of one kind and name that are written out; the others are counted."""


class Machine:
    """Follows what QEMU did, and writes it down."""

    def __init__(self, config: MachineConfig, judge: Revision, log: LogWriter) -> None:
        self.state: State = initial(config)
        self.rules, self._log = judge.rules, log
        self._ways = followed(judge).rules
        self._invariants, self._promises = judge.invariants, judge.promises
        self.t = 0.0
        self.at: str | None = None
        """The line that is being taken, for the marks."""
        self.events = 0
        self.marks: dict[tuple[Kind, str], int] = {}
        self._standing: set[tuple[str, int]] = set()
        self._habits = tuple(habit for habit in LACKING if habit in self.rules.habits)

    def slot(self, index: int) -> Slot:
        """The slot as it is now."""
        return self.state.slots[index]

    def has(self, index: int) -> bool:
        """Whether the log's machine has such a slot."""
        return 0 <= index < len(self.state.slots)

    def give(
        self, stimulus: Stimulus, place: str | None = None, *, insists: bool = False
    ) -> tuple[ev.Event, ...]:
        """Decide on a stimulus, write down what comes of it, and mark what is wrong with it.

        `insists`: QEMU has done it, so that a guard which refuses it is marked, and left out
        for this once. Where the state has no way to it, nothing is written but a mark.
        """
        stimulus = plain_stimulus(stimulus)
        place = place or self.at
        before, ways = self.state, self._ways
        guards: list[Mark] = []
        while True:
            try:
                made = decide(before, stimulus, ways)
            except IllegalTransition as error:
                self.mark(Mark(Kind.STATE, "transition", f"{type(stimulus).__name__}: {error}",
                               _slot_of(stimulus), place))  # fmt: skip
                return ()
            refusal = _refusal(made.events) if insists else None
            if refusal is None or refusal[0] not in SWITCHES or refusal[0] in ways.guards_off:
                break
            guards.append(_of_guard(*refusal, stimulus, place))
            ways = ways.without(refusal[0])
        self._write(made.events, stimulus)
        broken = list(self._broken(before, made, ways))
        self.state = made.state
        for mark in guards:
            if mark.name not in self.rules.guards_off:
                self.mark(mark)
        if self._habits and not guards:
            self._hold_against_rules(before, stimulus, made, place)
        for violation in broken:
            self.mark(Mark(Kind.INVARIANT, violation.invariant, violation.says,
                           violation.slot, place))  # fmt: skip
        return made.events

    def finish(self, index: int, last: Step | None = None) -> None:
        """Answer the steps of a slot one by one as done, up to `last`; all that follow if None."""
        for _ in range(32):
            step = self.slot(index).step
            if step is None:
                return
            affinity = None
            if step is Step.BIND:
                known = self.slot(index).affinity
                affinity = mp_affinity(index) if known is None else known
            if not self.give(Done(step, index, affinity)) or step is last:
                return

    def mark(self, mark: Mark) -> None:
        """Write a mark into the log. Of one that comes again and again, only the first ones."""
        key = (mark.kind, mark.name)
        self.marks[key] = self.marks.get(key, 0) + 1
        if self.marks[key] <= MOST_OF_A_KIND or mark.kind is Kind.ASKED:
            self.note(mark.line())

    def note(self, text: str) -> None:
        """Write words into the log."""
        stimulus = Note(plain(text))
        self._write((ev.Noted(stimulus.text),), stimulus)

    def _write(self, events: Iterable[ev.Event], stimulus: Stimulus) -> None:
        events = tuple(events)
        if events:
            self.events += len(events)
            self.t = max(self.t, self._log.last_t)
            self._log.append(events, self.t, stimulus)

    def _broken(self, state: State, made: Decision, ways: Rules) -> Iterator[Violation]:
        """Everything that a decision breaks and that was not broken before."""
        last = len(made.events) - 1
        for n, event in enumerate(made.events):
            after = made.states[n] if made.states else evolve(state, event, ways)
            if self._invariants.first_broken(state, event, after, rest=n == last) is not None:
                for violation in self._all_broken(state, event, after, rest=n == last):
                    yield from self._new(violation)
            state = after
        if self._standing:
            held = {(name, i) for name, i in self._standing if self._holds(name, i, state)}
            self._standing -= held

    def _new(self, violation: Violation) -> Iterator[Violation]:
        key = (violation.invariant, violation.slot)
        if key not in self._standing:
            self._standing.add(key)
            yield violation

    def _all_broken(
        self, before: State, event: ev.Event, after: State, *, rest: bool
    ) -> Iterator[Violation]:
        """Every promise that an event breaks; `Invariants.first_broken` has the first alone."""
        slot = ev.slot_of(event)
        same = before.shared == after.shared
        for i in range(len(after.slots)) if slot is None or not same else (slot,):
            here = after.slots[i]
            change = Change(i, before.slots[i], before.shared, event, here, after.shared)
            for rule in self._promises:
                if not _rule_holds(rule, change, slot in (None, i), rest):
                    yield Violation(rule.name, i, rule.says)

    def _holds(self, name: str, index: int, state: State) -> bool:
        rule = next(rule for rule in self._promises if rule.name == name)
        if rule.on_state is None:
            return True
        return rule.on_state(index, state.slots[index], state.shared)

    def _hold_against_rules(
        self, before: State, stimulus: Stimulus, made: Decision, place: str | None
    ) -> None:
        try:
            asked = decide(before, stimulus, self.rules)
        except IllegalTransition:
            return  # a state that these rules do not lead to; the invariants have told of it
        if asked.events == made.events and asked.state == made.state:
            return
        for habit in self._habits:
            with_it = attrs.evolve(self._ways, habits=self._ways.habits | {habit})
            try:
                other = decide(before, stimulus, with_it)
            except IllegalTransition:
                continue
            if other.events != made.events or other.state != made.state:
                self.mark(Mark(Kind.HABIT, str(habit), _HABITS.get(habit, "QEMU does not do so"),
                               _slot_of(stimulus), place))  # fmt: skip
                return


_HABITS = {
    Habit.REMOVE_WAITS_FOR_INSERT:
        "the rules ask for the vCPU once the guest has read its insert bit; QEMU asks at once",
    Habit.DISABLE_CLEARS_EVENTS:
        "the rules clear an ejected slot's event bits; QEMU leaves them as they are",
    Habit.SCAN_END_REARMS_GED:
        "the rules raise the interrupt again where a scan leaves a bit set; QEMU does not",
    Habit.RESET_DROPS_PENDING:
        "the rules drop what is pending at a reset; QEMU keeps the event bits",
    Habit.RESET_ENDS_COMMANDS:
        "the rules end a device_del at a reset with an error; QEMU never tells of its end",
    Habit.GUEST_REFUSAL_ENDS_UNPLUG:
        "the rules end a device_del that the guest refuses with an error; QEMU tells of an _OST",
    Habit.PLUG_WAITS_FOR_CONFIRMATION:
        "the rules plug a slot anew once the guest is through with the last eject; QEMU at once",
    Habit.EJECT_WAITS_FOR_MIGRATION:
        "the rules take an ejected vCPU down once the migration has ended; QEMU at once",
}  # fmt: skip


def _refusal(events: tuple[ev.Event, ...]) -> tuple[str, str] | None:
    """The guard that has refused a stimulus, and its words."""
    for event in events:
        if isinstance(event, ev.Refused | ev.EjectRefused):
            return event.guard, event.message
    return None


def _of_guard(name: str, message: str, stimulus: Stimulus, place: str | None) -> Mark:
    keeps = getattr(REASONS[name], "keeps", None)
    kept = f"; the guard keeps {keeps}" if keeps else ""
    return Mark(Kind.GUARD, name, f"QEMU did so, but {message}{kept}", _slot_of(stimulus), place)


def _slot_of(stimulus: Stimulus) -> int | None:
    slot = getattr(stimulus, "slot", None)
    if slot is not None:
        return cast(int, slot)
    props = dict(getattr(stimulus, "props", ()))
    named = props.get("core-id")
    return named if isinstance(named, int) else None


def _rule_holds(rule: Property, change: Change, concerned: bool, rest: bool) -> bool:
    if concerned and rule.on_event is not None and not rule.on_event(change):
        return False
    if rule.on_state is None or (rule.at_rest and not rest):
        return True
    return rule.on_state(change.index, change.after, change.shared)


def cpu_on(slot: int) -> CpuOnCalled:
    """CPU_ON of `slot` as QEMU has granted it: who called, and where it begins, is not seen."""
    return CpuOnCalled(slot, verdict=True)
