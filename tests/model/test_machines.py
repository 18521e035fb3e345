"""The declared machines, and the documents that are made from them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from hpcore.model import machines
from hpcore.model.machines import (
    GICC,
    SLOT,
    TABLES,
    GiccState,
    IllegalTransition,
    Phase,
    SlotState,
    Table,
    Transition,
    Trigger,
    library_machine,
    next_gicc,
    next_phase,
    next_slot,
)
from hpcore.model.page import model_page

DOCS = Path(__file__).parents[2] / "docs"


def reachable(table: Table, start: str) -> set[str]:
    """The states that a table leads to from `start`, which is one of them."""
    seen, frontier = {str(start)}, [str(start)]
    while frontier:
        state = frontier.pop()
        for row in table.rows:
            if row.source == state and row.dest not in seen:
                seen.add(str(row.dest))
                frontier.append(str(row.dest))
    return seen


@pytest.mark.parametrize("table", TABLES, ids=lambda t: t.name)
def test_every_state_can_be_reached(table: Table) -> None:
    assert reachable(table, table.initial) == {str(s) for s in table.states}


@pytest.mark.parametrize("table", TABLES, ids=lambda t: t.name)
def test_a_trigger_leads_to_one_state_from_each(table: Table) -> None:
    pairs = [(r.source, r.trigger) for r in table.rows]
    assert len(pairs) == len(set(pairs))


@pytest.mark.parametrize("table", TABLES, ids=lambda t: t.name)
def test_every_row_says_who_asks_for_it(table: Table) -> None:
    assert all(row.why.endswith(".") for row in table.rows)


@pytest.mark.parametrize("table", TABLES, ids=lambda t: t.name)
def test_the_library_machine_has_exactly_the_rows(table: Table) -> None:
    machine = library_machine(table.name)
    assert {
        (t.source, str(name), t.dest)
        for name, event in machine.events.items()
        for transitions in event.transitions.values()
        for t in transitions
    } == {(str(r.source), str(r.trigger), str(r.dest)) for r in table.rows}


def test_a_slot_goes_round() -> None:
    state = SlotState.PARKED
    for trigger in (
        Trigger.REALIZE, Trigger.ENABLE, Trigger.CPU_ON,
        Trigger.CPU_OFF, Trigger.EJECT, Trigger.PARK,
    ):  # fmt: skip
        state = next_slot(state, trigger)
    assert state is SlotState.PARKED


def test_no_slot_is_ejected_from_online_by_its_guest() -> None:
    with pytest.raises(IllegalTransition, match="no 'eject' from 'online'"):
        next_slot(SlotState.ONLINE, Trigger.EJECT)


def test_a_gicc_is_wired_only_when_bound() -> None:
    assert next_gicc(GiccState.BOUND, Trigger.WIRE) is GiccState.WIRED
    with pytest.raises(IllegalTransition):
        next_gicc(GiccState.UNBOUND, Trigger.WIRE)


def test_nothing_leaves_an_ended_machine() -> None:
    for end in (Phase.ENDED, Phase.FAILED):
        for trigger in {r.trigger for t in TABLES for r in t.rows}:
            with pytest.raises(IllegalTransition):
                next_phase(end, trigger)


def test_slots_and_giccs_can_always_get_back_to_where_they_began() -> None:
    for table in (SLOT, GICC):
        for start in table.states:
            assert str(table.initial) in reachable(table, start)


def test_the_page_on_the_model_is_the_model() -> None:
    assert (DOCS / "model.md").read_text() == model_page(), "run `make docs`"


@pytest.mark.parametrize(
    ("after", "state", "trigger", "says"),
    [
        (next_slot, SlotState.ONLINE, Trigger.EJECT,
         "the slot machine has no 'eject' from 'online'"),
        (next_gicc, GiccState.UNBOUND, Trigger.WIRE,
         "the gicc machine has no 'wire' from 'unbound'"),
        (next_phase, Phase.OFF, Trigger.START, "the machine machine has no 'start' from 'off'"),
    ],
)  # fmt: skip
def test_what_is_in_no_row_is_refused_with_its_machine_state_and_trigger(
    after: Callable[[str, Trigger], str], state: str, trigger: Trigger, says: str
) -> None:
    with pytest.raises(IllegalTransition) as found:
        after(state, trigger)
    assert str(found.value) == says
    assert (found.value.state, found.value.trigger) == (state, trigger)
    assert f"the {found.value.machine} machine" in says
    assert found.value.events == ()


def test_a_row_of_a_state_that_there_is_not_is_found_by_the_library(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for source, dest in (("nowhere", SlotState.PARKED), (SlotState.PARKED, "nowhere")):
        wrong = Table("slot", SlotState.PARKED, (Transition(Trigger.PARK, source, dest, "."),))
        monkeypatch.setattr(machines, "TABLES", (wrong,))
        with pytest.raises(ValueError, match="'nowhere' is not a registered state"):
            library_machine.__wrapped__("slot")
