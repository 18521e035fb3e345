"""Which slots and states a property is asked of, and when: each of some made-up ones."""

from __future__ import annotations

from enum import EnumMeta
from random import Random
from typing import Any, get_args, get_origin, get_type_hints

import attrs
import pytest

from hpcore.model import events as ev
from hpcore.model import stimuli as st
from hpcore.model.config import MachineConfig
from hpcore.model.invariants import INVARIANTS
from hpcore.model.machines import Phase
from hpcore.model.other_invariants import OTHER_INVARIANTS
from hpcore.model.properties import (
    Change,
    Invariants,
    Kind,
    Property,
    Turn,
    Violation,
    always,
    eventually,
    sometimes,
)
from hpcore.model.states import Shared, Slot, State, initial
from tests.model.drawn import drawn

NEW = initial(MachineConfig.of(cpus=1, maxcpus=3))
ASKED: list[int] = []


def not_granted(change: Change) -> bool:
    """Broken by a CPU_ON, and by whatever has no slot; remembers of which slots it was asked."""
    ASKED.append(change.index)
    assert (change.before, change.shared_before) == (NEW.slots[change.index], NEW.shared)
    return not isinstance(change.event, ev.CpuOnGranted | ev.MachineLost)


MADE_UP = Invariants([
    always("no_thread", "No slot has a thread.", lambda _i, slot, _m: not slot.thread),
    always("no_space", "No slot has space.", lambda _i, slot, _m: not slot.space, at_rest=True),
    always("not_granted", "Nothing is granted.", on_event=not_granted),
    always("no_migration", "Slot 1 sees none.", lambda i, _s, m: i != 1 or not m.migrating),
    sometimes("goes_on", "Something goes on.", lambda _event: True),
    eventually("ends", "Something ends.", lambda _i, _s, _m: True),
])  # fmt: skip
THREAD = Violation("no_thread", 1, "No slot has a thread.")
SPACE = Violation("no_space", 1, "No slot has space.")
NOTED, OWN, OTHERS = ev.Noted("x"), ev.Registered(1), ev.Registered(0)


def slot_1(**fields: Any) -> State:
    return NEW.with_slot(1, attrs.evolve(NEW.slots[1], **fields))


def broken(
    event: ev.Event, after: State, *, rest: bool = False, only: int | None = None
) -> Violation | None:
    ASKED.clear()
    return MADE_UP.first_broken(NEW, event, after, rest=rest, only=only)


def test_only_what_must_always_hold_is_held() -> None:
    assert [rule.name for rule in MADE_UP.rules] == [
        "no_thread", "no_space", "not_granted", "no_migration",
    ]  # fmt: skip


def test_a_slot_at_rest_is_held_to_more_than_one_between_two_events() -> None:
    slot = Slot(cold=False, thread=True, space=True)
    assert list(MADE_UP.of_slot(1, slot, NEW.shared, rest=True)) == [THREAD, SPACE]
    assert list(MADE_UP.of_slot(1, slot, NEW.shared, rest=False)) == [THREAD]
    assert list(MADE_UP.of_state(slot_1(thread=True, space=True))) == [THREAD, SPACE]
    assert list(MADE_UP.of_state(NEW)) == []


@pytest.mark.parametrize("event", [OWN, NOTED], ids=["of the slot", "of no slot"])
def test_a_state_after_an_event_is_held_to_more_where_it_is_the_last(event: ev.Event) -> None:
    assert broken(event, slot_1(space=True), rest=True) == SPACE
    assert broken(event, slot_1(space=True), rest=False) is None
    assert broken(event, slot_1(thread=True, space=True), rest=True) == THREAD
    assert broken(event, slot_1(thread=True), rest=False) == THREAD


def test_an_event_of_one_slot_is_no_reason_to_look_at_the_others() -> None:
    assert broken(OTHERS, slot_1(thread=True)) is None
    assert ASKED == [0]
    assert broken(OWN, NEW) is None
    assert ASKED == [1]


def test_what_the_slots_share_is_a_reason_to_look_at_all_once_it_has_changed() -> None:
    migrates = attrs.evolve(NEW, shared=attrs.evolve(NEW.shared, migrating=True))
    assert broken(OTHERS, migrates) == Violation("no_migration", 1, "Slot 1 sees none.")
    assert ASKED == [0], "and yet the event is the other slot's alone"
    alike = attrs.evolve(slot_1(thread=True), shared=attrs.evolve(NEW.shared))
    assert broken(OTHERS, alike) is None


def test_the_event_itself_is_looked_at_before_the_state_after_it() -> None:
    granted = ev.CpuOnGranted(1, 0)
    assert broken(granted, slot_1(thread=True)) == Violation(
        "not_granted", 1, "Nothing is granted."
    )
    assert broken(ev.MachineLost("x"), slot_1(thread=True)) == Violation(
        "not_granted", 0, "Nothing is granted."
    )


def test_where_one_slot_alone_is_of_interest_no_other_is_looked_at() -> None:
    both = slot_1(thread=True).with_slot(2, attrs.evolve(NEW.slots[2], thread=True))
    assert broken(NOTED, both, only=2) == attrs.evolve(THREAD, slot=2)
    assert ASKED == [2]
    assert broken(NOTED, both, only=0) is None
    assert ASKED == [0]
    assert broken(OWN, both, only=0) is None
    assert ASKED == []


@pytest.mark.parametrize("slot", [-1, 3])
def test_an_event_of_a_slot_that_there_is_not_breaks_nothing(slot: int) -> None:
    assert broken(ev.Registered(slot), slot_1(thread=True)) is None
    ended = attrs.evolve(slot_1(thread=True), shared=attrs.evolve(NEW.shared, phase=Phase.OFF))
    assert broken(ev.Registered(slot), ended) == THREAD, "but what is shared has changed"


def test_the_whole_machine_is_looked_at_between_decisions() -> None:
    @always(whole=True)
    def one_thread(state: State) -> bool:
        """One thread at most."""
        return sum(slot.thread for slot in state.slots) < 2

    assert one_thread.on_machine is not None and one_thread.on_event is None
    both = slot_1(thread=True).with_slot(2, attrs.evolve(NEW.slots[2], thread=True))
    held = Invariants([one_thread])
    says = "One thread at most."
    assert held.of_machine(slot_1(thread=True)) is None
    assert list(held.of_state(both)) == [Violation("one_thread", 0, says)]
    assert held.first_broken(NEW, OWN, both, rest=True) == Violation("one_thread", 1, says)
    assert held.first_broken(NEW, NOTED, both, rest=True) == Violation("one_thread", 0, says)
    assert held.first_broken(NEW, OWN, both) is None, "between two events of one decision"


def test_a_property_knows_its_kind_and_asks_something() -> None:
    def holds(_index: int, _slot: Slot, _shared: object) -> bool:
        return True

    made = always("a", "A.", holds, at_rest=True, number=3, since=(0, 2))
    assert made == Property(
        "a", "A.", Kind.ALWAYS, 3, on_state=holds, at_rest=True, since=(0, 2)
    )
    assert not always("a", "A.", holds).at_rest
    with pytest.raises(ValueError, match="the property a asks nothing: give it on_state, on_event"):
        always("a", "A.")
    assert sometimes("s", "S.", lambda _e: True).kind is Kind.SOMETIMES
    assert eventually("e", "E.", holds).kind is Kind.EVENTUALLY
    for possible in (sometimes("s", "S.", lambda _e: True), eventually("e", "E.", holds)):
        assert possible.possible(object())


NAMED = [p for p in (*INVARIANTS, *OTHER_INVARIANTS) if p.of]
"""hpcore's own that name what they are asked of."""


def made(random: Random, kind: type) -> Any:
    """One of an event's or stimulus' class, each field one of what it can be."""
    hints = get_type_hints(kind)
    return kind(**{name: random.choice(of_any(hints[name])) for name in attrs.fields_dict(kind)})


def of_any(hint: Any) -> list[Any]:
    """Some values of a field, by its type."""
    for kind in (hint, *get_args(hint)):
        if isinstance(kind, EnumMeta):
            return list(kind)
    if hint is bool:
        return [False, True]
    if get_origin(hint) is tuple:
        return [()]
    return [0, 1] if int in (hint, *get_args(hint)) else ["core0", "x"]


@pytest.mark.parametrize("rule", [p for p in NAMED if p.on_event], ids=lambda p: p.name)
def test_a_property_says_nothing_of_an_event_that_it_does_not_name(rule: Property) -> None:
    random, asked = Random(14), rule.on_event
    assert asked is not None
    for kind in (kind for kind in ev.EVENTS.values() if kind not in rule.of):
        for _ in range(20):
            before, after = drawn(random, Slot), drawn(random, Slot)
            was, now = drawn(random, Shared), drawn(random, Shared)
            change = Change(1, before, was, made(random, kind), after, now)
            assert asked(change), change


@pytest.mark.parametrize("rule", [p for p in NAMED if p.on_decision], ids=lambda p: p.name)
def test_a_property_says_nothing_of_a_stimulus_that_it_does_not_name(rule: Property) -> None:
    random, asked = Random(14), rule.on_decision
    assert asked is not None
    for kind in (kind for kind in st.STIMULI.values() if kind not in rule.of):
        for _ in range(20):
            before, after = drawn(random, Slot), drawn(random, Slot)
            was, now = drawn(random, Shared), drawn(random, Shared)
            events = tuple(made(random, random.choice(list(ev.EVENTS.values()))) for _ in "ab")
            turn = Turn(1, before, was, made(random, kind), events, (), after, now)
            assert asked(turn), turn


def test_a_property_is_asked_of_the_events_that_it_names_and_of_no_other() -> None:
    seen: list[type] = []

    def noted(change: Change) -> bool:
        seen.append(type(change.event))
        return True

    rules = Invariants([always("a", "A.", on_event=noted, of=(ev.Registered,))])
    assert rules.first_broken(NEW, OWN, NEW) is None
    assert rules.first_broken(NEW, ev.InsertCleared(1), NEW) is None
    assert seen == [ev.Registered]
