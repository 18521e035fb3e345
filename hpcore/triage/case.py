"""A case: the stimuli of a log up to what is wrong, and what comes of any part of them.

A part is decided again from the start, and so leads where the whole did not. What the log's
machine did that hpcore would not is a *fact*: these events are kept as they are. But a fact
counts only where hpcore would answer the stimulus as it would have in the log, event for event.
Elsewhere the stimulus meets another situation, nobody knows what that machine would have done,
and hpcore decides.
"""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from typing import IO

from attrs import field, frozen

from hpcore.errors import HpcoreError
from hpcore.log import Header
from hpcore.log.fold import LoggedDecision
from hpcore.model.decide import decide
from hpcore.model.events import Event, effects_of, slot_of
from hpcore.model.fold import steps
from hpcore.model.machines import IllegalTransition
from hpcore.model.properties import Violation
from hpcore.model.rules import Rules
from hpcore.model.states import State, initial
from hpcore.model.stimuli import Stimulus
from hpcore.triage.walk import walk


class NoCase(HpcoreError):
    """A log from which no case can be made; the text says why."""


@frozen(eq=False)
class Fact:
    """Events that hpcore would not have decided, and those that it would have, in their place.

    Where the log does not say the stimulus there is no such answer; then `before` is the state
    in which the events were seen, and has to be the same.
    """

    events: tuple[Event, ...]
    instead: tuple[Event, ...] | None
    before: State

    def fits(self, state: State, answer: tuple[Event, ...] | None) -> bool:
        """Whether it counts in `state`, where hpcore would decide `answer`."""
        if self.instead is None:
            return (state.shared, state.slots) == (self.before.shared, self.before.slots)
        return answer == self.instead and state.shared.phase is self.before.shared.phase


@frozen(eq=False)
class Entry:
    """One stimulus of a case. `about` are the slots that its events were about in the log.

    `stimulus` is None where the log does not say it; then all that is known is the fact.
    """

    stimulus: Stimulus | None
    about: frozenset[int]
    fact: Fact | None = None
    seq: int = 0
    """The number of its first event in the log."""
    logged: tuple[Event, ...] = ()
    """The events that it led to there."""


@frozen(eq=False)
class Case:
    """What is wrong with a log, and the entries up to there, the last of which breaks it."""

    header: Header
    entries: tuple[Entry, ...]
    broken: Violation


@frozen(eq=False)
class Taken:
    """An entry, what was decided on it, and the state after."""

    entry: Entry
    events: tuple[Event, ...]
    after: State

    @property
    def about(self) -> frozenset[int]:
        """The slots that the stimulus and the events are about."""
        return frozenset(_spoken_of(self.entry.stimulus, self.events))


@frozen(eq=False)
class Run:
    """What came of some entries: all that were taken, and what they broke at the end, if so."""

    taken: tuple[Taken, ...] = field(repr=False)
    broken: Violation | None


def case_of(source: str | PathLike[str] | IO[bytes]) -> Case:
    """The case that the log at `source` is. Raises LogError, and NoCase for a log that is right."""
    header, entries, broken = entries_of(source)
    if broken is None:
        raise NoCase("no event of the log breaks an invariant, so there is no case")
    case = Case(header, entries, broken)
    found = run(case, case.entries)
    if found.broken is None or found.broken.invariant != case.broken.invariant:
        raise NoCase(
            f"decided again, the log does not break {case.broken.invariant} any more; "
            "`hpcore replay` says where it was decided otherwise"
        )
    return case


def entries_of(
    source: str | PathLike[str] | IO[bytes],
) -> tuple[Header, tuple[Entry, ...], Violation | None]:
    """The header of a log, its entries up to what is wrong, and what that breaks.

    Raises LogError, and NoCase for a log whose beginning was removed.
    """
    walked = walk(source)
    if walked.header.first > 1:
        raise NoCase(
            f"the log begins with event {walked.header.first}: what was before was removed, and "
            "a case begins with the machine"
        )
    entries: list[Entry] = []
    for decision, took in walked.decisions():
        entries.append(_entry(took[0].before, decision, walked.header.protocol.rules))
        if walked.wrong is not None:
            break
    if walked.wrong is None and walked.damage is not None:
        raise walked.damage
    return walked.header, tuple(entries), None if walked.wrong is None else walked.wrong.violation


def _entry(before: State, decision: LoggedDecision, rules: Rules) -> Entry:
    records = decision.records
    stimulus = records[0].answers
    events = tuple(record.event for record in records)
    answer = None if stimulus is None else _decided(before, stimulus, rules)
    fact = None if answer == events else Fact(events, answer, before)
    about = frozenset(_spoken_of(stimulus, events))
    return Entry(stimulus, about, fact, records[0].seq, events)


def _spoken_of(stimulus: Stimulus | None, events: tuple[Event, ...]) -> set[int]:
    slots = (getattr(stimulus, "slot", None), *map(slot_of, events))
    return {slot for slot in slots if slot is not None}


def run(case: Case, entries: Sequence[Entry]) -> Run:
    """Take `entries` from the start, up to the first that breaks something.

    They are decided by the protocol of the log, and held against the invariants that the hpcore
    which wrote it has kept; so are whole decisions, as in a replay.
    """
    rules, invariants = case.header.protocol.rules, case.header.invariants
    state = initial(case.header.machine)
    taken: list[Taken] = []
    for entry in entries:
        before, events = state, _events(state, entry, rules)
        for folded in steps(state, events, rules, invariants=invariants):
            state = folded.after
            if folded.violation is not None:
                return Run((*taken, Taken(entry, events, state)), folded.violation)
        taken.append(Taken(entry, events, state))
        if entry.stimulus is not None and events:
            effects = tuple(effect for event in events for effect in effects_of(event))
            broken = invariants.of_decision(before, entry.stimulus, events, effects, state)
            if broken is not None:
                return Run(tuple(taken), broken)
    return Run(tuple(taken), None)


def _events(state: State, entry: Entry, rules: Rules) -> tuple[Event, ...]:
    answer = None if entry.stimulus is None else _decided(state, entry.stimulus, rules)
    if entry.fact is not None and entry.fact.fits(state, answer):
        return entry.fact.events
    return answer or ()


def _decided(state: State, stimulus: Stimulus, rules: Rules) -> tuple[Event, ...]:
    try:
        return decide(state, stimulus, rules).events
    except IllegalTransition:  # a state that no rules lead to, behind a fact
        return ()
