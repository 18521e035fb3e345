"""Deciding a log again: does `decide` give the very events that the log has?

A fold asks whether the events follow from each other. This asks more: whether each
stimulus in the log leads to just these events, by the rules of the hpcore that runs now; and
whether these events, with the effects that they ask for, are a right answer to it at all.
"""

from __future__ import annotations

from typing import cast

from attrs import frozen

from hpcore.log import Record
from hpcore.log.fold import LoggedDecision
from hpcore.model.decide import decide
from hpcore.model.events import Event, effects_of
from hpcore.model.machines import IllegalTransition
from hpcore.model.properties import Invariants, Violation
from hpcore.model.rules import RULES, Rules
from hpcore.model.states import State
from hpcore.model.stimuli import Stimulus


@frozen
class DecidedOtherwise:
    """A decision that would not be made so now, at its first event that differs.

    `record` is that event, or the last one of the log's decision where the log has too few.
    `logged` is None where the log has too few, and `now` where it has too many.
    """

    record: Record
    stimulus: Stimulus
    logged: Event | None
    now: Event | None


def decide_again(
    state: State, decision: LoggedDecision, rules: Rules = RULES
) -> DecidedOtherwise | None:
    """How a decision of a log, made in `state`, would be made otherwise by `rules`; or None.

    None, too, where the log does not say what the decision answers, as before format 1.2. Of
    a decision that may have been cut short, only what is there is compared.
    """
    records = decision.records
    stimulus = records[0].answers
    if stimulus is None:
        return None
    events = _decided(state, stimulus, rules)
    for n, record in enumerate(records):
        now = events[n] if n < len(events) else None
        if record.event != now:
            return DecidedOtherwise(record, stimulus, record.event, now)
    if decision.settled and len(events) > len(records):
        return DecidedOtherwise(records[-1], stimulus, None, events[len(records)])
    return None


def lacking(state: State, decision: LoggedDecision, rules: Rules = RULES) -> int:
    """How many events a decision has by `rules` beyond those that the log has of it.

    0 where it comes out otherwise: then nothing can be said.
    """
    stimulus = decision.records[0].answers
    if stimulus is None:
        return 0
    events = _decided(state, stimulus, rules)
    logged = tuple(record.event for record in decision.records)
    return len(events) - len(logged) if events[: len(logged)] == logged else 0


def wrongly_answered(
    before: State, decision: LoggedDecision, after: State, invariants: Invariants
) -> Violation | None:
    """What a decision of a log breaks as a whole: by what it answers, and by its effects.

    The effects are not in a log; they are what its events ask for. None where the log does not say
    what the decision answers, or may have been cut short.
    """
    stimulus = decision.records[0].answers
    if stimulus is None or not decision.settled:
        return None
    events = tuple(record.event for record in decision.records)
    effects = tuple(effect for event in events for effect in effects_of(event))
    return invariants.of_decision(before, stimulus, events, effects, after)


def _decided(state: State, stimulus: Stimulus, rules: Rules) -> tuple[Event, ...]:
    try:
        return decide(state, stimulus, rules).events
    except IllegalTransition as error:  # a state that no rules lead to, in a forged log
        return cast(tuple[Event, ...], error.events)
