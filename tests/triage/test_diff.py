"""Diff: two runs of the same agree whatever their timing, and every other difference is found."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from random import Random

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from hpcore.log import Header, LogDamaged, LogUnreadable, Record
from hpcore.model import events as ev
from hpcore.model import stimuli as st
from hpcore.model.decide import decide
from hpcore.model.effects import Step
from hpcore.model.states import initial
from hpcore.triage.diff import (
    COUNTED,
    NOT_COMPARED,
    Diff,
    Track,
    compare,
    diff,
    unknown_names,
)
from tests.support.world import World
from tests.triage.test_replay import PLUG, batches, write

HEADER = Header(World().config, "tcg")
UNPLUG = (
    st.DeviceDel("core2"), st.ScanStarted(), st.RemoveAcked(2), st.ScanEnded(),
    st.OstReported(2, 3, 0x84), st.EjectCalled(2), st.OstReported(2, 3, 0),
)  # fmt: skip
Events = Sequence[ev.Event]
seeds = some.integers(0, 400)


def plug_and_unplug() -> list[ev.Event]:
    return [event for batch in batches(*PLUG, *UNPLUG)[0] for event in batch]


def walk(seed: int) -> list[ev.Event]:
    """What happened to a machine under random commands, faults and a hostile guest."""
    world, random = World().boot(), Random(seed)
    for _ in range(60):
        world.random_move(random)
    state = initial(world.config)
    out: list[ev.Event] = []
    for stimulus in world.log:
        decision = decide(state, stimulus)  # type: ignore[arg-type]
        state = decision.state
        out += decision.events
    return out


def records(events: Events, tempo: float = 0.001) -> list[Record]:
    return [Record(n, n * tempo, event) for n, event in enumerate(events, 1)]


def compared(a: Events, b: Events, one: Header = HEADER, other: Header = HEADER) -> Diff:
    return compare((one, records(a)), (other, records(b, tempo=0.7)))


def track(event: ev.Event) -> object:
    """The test's own idea of which events have an order."""
    slot = ev.slot_of(event)
    calls = ("Started", "Ended", "Acked", "Reported", "Called", "Seen")
    refused = isinstance(event, ev.Refused) and event.stimulus.endswith(calls)
    return slot, slot is not None and (refused or type(event) in {type(e) for e in GUESTS})


GUESTS = (
    ev.InsertCleared(0), ev.RemoveCleared(0), ev.OstReceived(0, 0, 0), ev.Registered(0),
    ev.EjectAccepted(0), ev.EjectRefused(0, "", ""), ev.CpuOnGranted(0, 0), ev.CpuWentOff(0),
    ev.CpuOnDenied(0, 0, 0),
)  # fmt: skip


def interleaved(events: Events, random: Random) -> list[ev.Event]:
    """The same events in another order, each sequence in its own."""
    queues: dict[object, list[ev.Event]] = {}
    for event in events:
        queues.setdefault(track(event), []).append(event)
    out = []
    while queues:
        name = random.choice(list(queues))
        out.append(queues[name].pop(0))
        if not queues[name]:
            del queues[name]
    return out


def concurrent(events: Events, first: int, second: int) -> bool:
    """The test's own idea of what has no order: an eject's end, and the bits of the next life."""
    one = events[first]
    mine = [e for e in events[:first] if track(e) == track(one)]
    between = [e for e in events[first + 1 : second] if track(e) == track(one)]
    ejects = [n for n, e in enumerate(mine) if isinstance(e, ev.EjectAccepted)]
    since = mine[ejects[-1] :] if ejects else []
    ended = any(isinstance(e, ev.OstReceived) and (e.source, e.status) in ENDS for e in since)
    pair = one, events[second]
    ost, bits = pair if isinstance(pair[0], ev.OstReceived) else pair[::-1]
    return (
        bool(since) and not ended
        and isinstance(ost, ev.OstReceived) and (ost.source, ost.status) in ENDS
        and all(isinstance(e, ev.InsertCleared) for e in (bits, *between))
    )


ENDS = [(source, status) for source in (3, 0x103) for status in (0, 1, *range(0x80, 0x84), 0x7FFF)]


def weighed(events: Events) -> list[int]:
    """The places of events that are compared at all."""
    return [n for n, event in enumerate(events) if ev.event_name(event) not in NOT_COMPARED]


# ------------------------------------------------------------------------ the same


@settings(max_examples=60)
@given(seeds, some.randoms(use_true_random=False))
def test_a_log_agrees_with_itself_at_another_pace_and_otherwise_interleaved(
    seed: int, random: Random
) -> None:
    events = walk(seed)
    found = compared(events, interleaved(events, random))
    assert found.same, found.differences
    assert found.compared == len(weighed(events))


def test_what_the_guest_and_the_accelerator_choose_is_not_compared() -> None:
    on = ev.CpuOnGranted(1, 0, 0x1000, 0x2000, delegated=True)
    a: Events = [on, ev.ScanBegun(), ev.ScanFinished()]
    b: Events = [ev.ScanBegun(), ev.CpuOnGranted(1, 3, 0x5000), ev.GedRaised(), ev.ScanBegun()]
    assert compared(a, b).same
    assert compared([ev.StepFailed(1, Step.BIND, "no")], [ev.StepFailed(1, Step.BIND, "nein")]).same
    failed = "step 3 failed: "
    assert compared([ev.Noted(f"{failed}a")], [ev.Noted(f"{failed}b")]).same
    assert not compared([ev.Noted("step 3: boot")], [ev.Noted("step 3: reset")]).same


def test_whatever_is_not_compared_names_an_event_or_a_field_and_has_a_reason() -> None:
    assert unknown_names(NOT_COMPARED) == []
    assert unknown_names(["step_done.affinity", "step_done.colour", "painted"]) == [
        "step_done.colour", "painted",
    ]  # fmt: skip
    assert all(NOT_COMPARED.values())


OLD_LIFE: Events = (
    ev.RemoveCleared(2), ev.OstReceived(2, 3, 0x84), ev.CpuWentOff(2), ev.EjectAccepted(2),
)  # fmt: skip
END, TAKEN = ev.OstReceived(2, 3, 0), ev.InsertCleared(2)
NEW_LIFE: Events = (ev.OstReceived(2, 1, 0), ev.Registered(2), ev.CpuOnGranted(2, 0))


def test_an_ejects_end_and_the_next_device_check_have_no_order() -> None:
    """As two runs of the scenario `cycles` had it."""
    late: Events = (*OLD_LIFE, TAKEN, END, *NEW_LIFE)
    assert compared((*OLD_LIFE, END, TAKEN, *NEW_LIFE), late).same
    by_itself = attrs.evolve(END, source=0x103)
    assert compared((*OLD_LIFE, by_itself, TAKEN), (*OLD_LIFE, TAKEN, by_itself)).same
    unconfirmed: Events = (ev.EjectUnconfirmed(2), *late)
    assert compared(late, unconfirmed).same
    assert not compared(late, [e for e in late if e != END]).same


@settings(max_examples=200)
@given(some.permutations((*OLD_LIFE, END, TAKEN, *NEW_LIFE)))
def test_no_other_order_of_two_lives_is_the_same(events: list[ev.Event]) -> None:
    right: list[Events] = [
        (*OLD_LIFE, END, TAKEN, *NEW_LIFE), (*OLD_LIFE, TAKEN, END, *NEW_LIFE)
    ]  # fmt: skip
    for one in right:
        assert compared(one, events).same == (tuple(events) in right)


@pytest.mark.parametrize("at", range(8))
def test_of_two_neighbours_in_two_lives_one_pair_may_change_places(at: int) -> None:
    events = [*OLD_LIFE, END, TAKEN, *NEW_LIFE]
    swapped = [*events[:at], events[at + 1], events[at], *events[at + 2 :]]
    assert compared(events, swapped).same == ({events[at], events[at + 1]} == {END, TAKEN})


@pytest.mark.parametrize(
    "word", [ev.OstReceived(2, 3, 0x84), ev.OstReceived(2, 1, 0), ev.OstReceived(3, 3, 0)]
)
def test_what_ends_no_eject_of_this_slot_keeps_its_place(word: ev.OstReceived) -> None:
    one: Events = (*OLD_LIFE, word, attrs.evolve(TAKEN, slot=word.slot))
    other: Events = (*OLD_LIFE, attrs.evolve(TAKEN, slot=word.slot), word)
    assert not compared(one, other).same


def test_an_end_of_no_eject_keeps_its_place() -> None:
    assert not compared((END, TAKEN), (TAKEN, END)).same
    ended: Events = (*OLD_LIFE, END)
    assert not compared((*ended, END, TAKEN), (*ended, TAKEN, END)).same


# -------------------------------------------------------------------- not the same


@settings(max_examples=60)
@given(seeds, some.data())
def test_a_missing_event_is_found_where_it_was(seed: int, data: some.DataObject) -> None:
    events = walk(seed)
    at = data.draw(some.sampled_from(weighed(events)))
    found = compared(events, [*events[:at], *events[at + 1 :]])
    assert not found.same
    (difference,) = found.differences
    one, _other = difference.first
    assert one is not None
    # among equal neighbours it can't be told which of them is missing
    assert one.seq >= at + 1
    assert track(one.event) == track(events[at])
    assert (difference.track.slot, difference.track.guest) == track(events[at])


@settings(max_examples=60)
@given(seeds, some.data())
def test_two_events_of_one_sequence_that_changed_places_are_found(
    seed: int, data: some.DataObject
) -> None:
    events = walk(seed)
    places = weighed(events)
    at = data.draw(some.sampled_from(places))
    later = [
        n for n in places if n > at
        and track(events[n]) == track(events[at])
        and ev.event_name(events[n]) != ev.event_name(events[at])
    ]  # fmt: skip
    if not later:
        return
    swapped = list(events)
    swapped[at], swapped[later[0]] = swapped[later[0]], swapped[at]
    found = compared(events, swapped)
    if concurrent(events, at, later[0]) or concurrent(swapped, at, later[0]):
        assert found.same
        return
    (difference,) = found.differences
    first = difference.first[0]
    assert first is not None
    assert at + 1 <= first.seq <= later[0] + 1


def test_a_changed_field_is_found_with_what_came_before_and_after() -> None:
    events = plug_and_unplug()
    at = events.index(ev.OstReceived(2, 3, 0x84))
    changed = [*events[:at], ev.OstReceived(2, 3, 0x83), *events[at + 1 :]]
    found = compared(events, changed)
    (difference,) = found.differences
    assert difference.track == Track(2, guest=True)
    assert [r and r.seq for r in difference.first] == [at + 1, at + 1]
    assert [type(r.event) for r in difference.a][difference.at - 1 : difference.at + 2] == [
        ev.RemoveCleared, ev.OstReceived, ev.EjectAccepted,
    ]  # fmt: skip


def test_the_first_difference_in_time_comes_first() -> None:
    events = plug_and_unplug()
    later, sooner = ev.StepDone(2, Step.PARK), ev.StepDone(1, Step.WIRE)
    found = compared(events, [e for e in events if e not in {later, sooner}])
    assert [d.track.slot for d in found.differences] == [1, 2]


def test_machines_that_are_not_the_same_are_named_by_what_differs() -> None:
    other = attrs.evolve(HEADER, machine=World(cpus=1).config)
    assert compared([], [], HEADER, other).machines == ("cpus is 2 and 1",)
    capped = attrs.evolve(HEADER, machine=HEADER.machine.capped("no filter"))
    found = compared([], [], HEADER, capped)
    assert "no_hotplug is False and True" in found.machines


# ------------------------------------------------------- what an accelerator names


def test_what_either_accelerator_says_it_does_otherwise_is_left_out_and_named() -> None:
    loong = attrs.evolve(
        HEADER, differs={"cpu_went_off": "no PSCI", "step_done.affinity": "no MPIDR", "noted": "-"}
    )
    a: Events = [ev.StepDone(1, Step.BIND, 1), ev.CpuWentOff(1), ev.StepDone(1, Step.WIRE)]
    b: Events = [ev.StepDone(1, Step.BIND, 7), ev.StepDone(1, Step.WIRE)]
    for one, other in ((HEADER, loong), (loong, HEADER)):
        found = compared(a, b, one, other)
        assert found.same
        assert found.apart == {"cpu_went_off": "no PSCI", "step_done.affinity": "no MPIDR"}
    assert not compared(a, b).same


def test_a_guests_last_words_may_be_lost_to_the_machines_end_and_nothing_else_may() -> None:
    end: list[ev.Event] = [ev.MachinePoweredOff("user")]
    words: list[ev.Event] = [ev.EjectAccepted(2), ev.OstReceived(2, 3, 0)]
    found = compared([*words, *end], [words[0], *end])
    assert found.same
    assert found.cut == (Track(2, guest=True),)
    assert not compared([*words, *end], end).same
    guests_end: list[ev.Event] = [ev.MachinePoweredOff("guest")]
    assert not compared([*words, *guests_end], [words[0], *guests_end]).same


# --------------------------------------------------------------------------- files


def test_files_are_compared_and_a_bad_one_is_an_error(tmp_path: Path) -> None:
    decisions = batches(*PLUG)[0]
    a, b = write(tmp_path / "a", decisions), write(tmp_path / "b", decisions[:-1])
    assert diff(a, a).same
    found = diff(a, b)
    assert found.events == (43, 41)
    assert not found.same
    with pytest.raises(LogUnreadable):
        diff(a, tmp_path / "none")
    torn = tmp_path / "torn"
    torn.write_bytes(a.read_bytes()[:-5])
    assert diff(a, torn).torn[0] is None
    assert str(diff(a, torn).torn[1]).startswith("line 44: it breaks off")
    b.write_bytes(b.read_bytes().replace(b'"slot":2', b'"slot":3', 1))
    with pytest.raises(LogDamaged):
        diff(a, b)


def test_calls_that_were_counted_are_not_compared_and_that_is_said() -> None:
    """How many lines there are of them is a matter of time."""
    denied = ev.CpuOnDenied(3, 0, -3)
    other = ev.CpuOnDenied(2, 0, -3)
    a = [Record(1, 0.0, denied), Record(2, 0.1, denied, counted=900), Record(3, 0.2, other)]
    b = [Record(1, 0.0, other)]
    found = compare((HEADER, a), (HEADER, b))
    assert found.same
    assert found.apart == {"cpu_on_denied": COUNTED}
    lacks = compare((HEADER, a), (HEADER, []))
    assert [str(d.track) for d in lacks.differences] == [str(Track(2, True))]
