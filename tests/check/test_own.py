"""Properties, guests and rules of one's own: found, proven, missed, or refused with a reason."""

from __future__ import annotations

import doctest
from collections.abc import Iterator
from pathlib import Path

import pytest
from attrs import evolve, frozen

import hpcore.check
from hpcore.check import HOSTILE, LINUX, PROPERTIES, CheckError, Environment, NotTabulable, prove
from hpcore.check.evidence import write_log
from hpcore.check.sweep import SweepJob, run_one, run_sweep
from hpcore.check.tabulated.start import Start, booted, config_of
from hpcore.check.world.environment import EnvironmentRefused
from hpcore.log import read
from hpcore.model import events as ev
from hpcore.model.events import Event
from hpcore.model.properties import (
    Change,
    Invariants,
    Property,
    always,
    eventually,
    sometimes,
)
from hpcore.model.rules import RULES
from hpcore.model.states import Shared, Slot
from hpcore.model.stimuli import (
    CpuOffSeen,
    EjectCalled,
    InsertAcked,
    Migrate,
    ScanEnded,
    ScanStarted,
    Stimulus,
)
from tests.check.reference import search

ALONE = Environment(slots=2, faults=0, reset=False, migration=False, power_off=False)
ENGINES = ("symbolic", "explicit")


def never_enabled(_index: int, slot: Slot, _shared: Shared) -> bool:
    return slot.cold or not slot.enabled


def never_refused(change: Change) -> bool:
    return not isinstance(change.event, ev.Refused)


AS_BOOTED = always("as_booted", "What was not there at boot is never enabled.", never_enabled)


def test_the_example_that_the_room_opens_with_runs() -> None:
    done = doctest.testmod(hpcore.check)
    assert (done.failed, done.attempted > 5) == (0, True)


def test_the_examples_of_the_page_run() -> None:
    page = Path(__file__).parents[2] / "docs" / "check.md"
    done = doctest.testfile(str(page), module_relative=False)
    assert (done.failed, done.attempted > 10) == (0, True)


# ---------------------------------------------------------------------- properties


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    "own",
    [
        AS_BOOTED,
        always("not_twice", "Nothing is refused.", on_event=never_refused),
        always("off", "No event ever sets an insert bit.",
               on_event=lambda c: not c.after.insert or c.before.insert),
        always("raised", "The GED's line is never raised for a vCPU that is off.",
               lambda i, s, m: not (m.ged and s.insert and not s.powered)),
    ],
    ids=lambda p: p.name,
)  # fmt: skip
def test_what_is_broken_is_shown_in_the_fewest_steps(own: Property, engine: str) -> None:
    result = prove(ALONE, engine=engine, properties=(own,))
    plain = search(ALONE, invariants=Invariants((own,)))
    assert plain.broken == own.name
    assert result.violations == (own.name,)
    assert result.counterexample is not None
    assert result.counterexample.says == own.says
    assert result.depth == result.counterexample.length == len(plain.path)


@pytest.mark.parametrize("engine", ENGINES)
def test_what_holds_is_proven_beside_hpcores_own(engine: str) -> None:
    own = always(
        "wired_first", "An event bit is set for a vCPU whose GICC is wired.",
        lambda i, s, m: not (s.insert or s.remove) or s.gicc == "wired",
    )  # fmt: skip
    result = prove(ALONE, engine=engine, properties=(*PROPERTIES, own))
    assert result.proven
    assert result.missing == ()


@pytest.mark.parametrize("engine", ENGINES)
def test_a_bit_that_no_guest_reads_is_told_apart_for_a_property(engine: str) -> None:
    assert not HOSTILE.reads_registered
    own = always(
        "known_is_enabled", "Only an enabled vCPU is registered.",
        lambda i, s, m: s.enabled or not s.registered,
    )  # fmt: skip
    found = prove(ALONE, engine=engine, properties=(own,)).counterexample
    assert found is not None
    assert "force=True" in str(found.stimuli), "a removal by force asks nobody"


@pytest.mark.parametrize("engine", ENGINES)
def test_what_never_happens_is_missed(engine: str) -> None:
    ends = sometimes("it_ends", "The machine ends.", lambda e: isinstance(e, ev.MachinePoweredOff))
    assert prove(ALONE, engine=engine, properties=(ends,)).missing == ("it_ends",)
    assert prove(evolve(ALONE, power_off=True), engine=engine, properties=(ends,)).missing == ()
    asked = evolve(ends, possible=lambda environment: environment.power_off)
    assert prove(ALONE, engine=engine, properties=(asked,)).missing == ()


def test_what_must_come_is_looked_for_in_loops() -> None:
    taken = eventually("insert_taken", "The guest looks.", lambda i, s, m: s.insert)
    ends = eventually("step_ends", "An effect ends.", lambda i, s, m: s.step == "realize")
    result = prove(ALONE, properties=(*PROPERTIES, taken, ends))
    assert result.engine == "explicit", "the one that can hold it"
    assert result.endless == ("insert_taken of vCPU 1",)
    assert not result.proven


# ------------------------------------------------------- what no engine can hold


def of_two_slots(one: Slot, other: Slot) -> bool:
    return one.enabled or other.enabled


@pytest.mark.parametrize(
    ("own", "says"),
    [
        (always("one_is_on", "", of_two_slots), "one_is_on cannot be held: its on_state must"),  # type: ignore[arg-type]
        (always("ours", "", on_event=of_two_slots), "never at two slots"),  # type: ignore[arg-type]
        (always("ours", "", on_machine=lambda state: True), "ours looks at the whole machine"),
        (always("ours", "", on_event=of_two_slots), "with whole=True, at the machine's state"),  # type: ignore[arg-type]
        (sometimes("ours", "", lambda: True), "its shows must take"),  # type: ignore[misc,arg-type]
        (eventually("ours", "", lambda slot: True), "its owes must take"),  # type: ignore[misc,arg-type]
        (always("madt_fixed", "", never_enabled), "two properties are called madt_fixed"),
        (always("transition", "", never_enabled), "two properties are called transition"),
    ],
)  # fmt: skip
def test_a_property_that_asks_for_something_else_is_refused(own: Property, says: str) -> None:
    with pytest.raises(CheckError, match=says):
        prove(ALONE, properties=(*PROPERTIES, own))


def about_vcpu_3(change: Change) -> bool:
    return not (isinstance(change.event, ev.PlugAccepted) and change.event.slot == 3)


def plugged_as_3(event: Event) -> bool:
    return isinstance(event, ev.PlugCompleted) and event.id == "cpu3"


@pytest.mark.parametrize(
    "own",
    [
        always("apart", "", lambda i, s, m: i != 3 or not s.enabled),
        always("apart", "", lambda i, s, m: s.id != "cpu3"),
        always("apart", "", on_event=about_vcpu_3),
        always("apart", "", on_event=lambda c: c.after.id != "cpu3"),
        sometimes("apart", "", plugged_as_3),
    ],
)
def test_a_property_that_tells_one_vcpu_from_its_like_is_refused(own: Property) -> None:
    four = evolve(ALONE, slots=4)
    with pytest.raises(NotTabulable, match="apart tells one hot vCPU from another"):
        prove(four, properties=(own,))


def bound_by_affinity(change: Change) -> bool:
    return change.after.gicc == "unbound" or change.after.affinity is not None


@pytest.mark.parametrize(
    "own",
    [
        always("own", "", lambda i, s, m: s.gicc == "unbound" or s.affinity is not None),
        always("own", "", on_event=bound_by_affinity),
    ],
)
def test_a_property_that_asks_for_what_is_left_out_is_refused(own: Property) -> None:
    with pytest.raises(NotTabulable, match="own asks whether a vCPU's affinity is known"):
        prove(ALONE, properties=(own,))


def test_vcpu_0_may_be_told_from_the_others() -> None:
    own = always(
        "boot_on", "vCPU 0 is on while the machine runs.",
        lambda i, s, m: i != 0 or s.powered or m.phase != "running",
    )  # fmt: skip
    result = prove(evolve(ALONE, slots=3), properties=(own,))
    assert result.counterexample is not None
    assert result.counterexample.stimuli[-1] == CpuOffSeen(0)


def test_what_the_chosen_engine_cannot_hold_is_not_passed_over() -> None:
    own = eventually("taken", "The guest looks.", lambda i, s, m: s.insert)
    with pytest.raises(CheckError, match="symbolic engine cannot hold taken"):
        prove(ALONE, engine="symbolic", properties=(own,))
    with pytest.raises(CheckError, match="looked into up to"):
        prove(Environment(slots=3, migration=False), properties=(own,))


def test_a_start_that_is_broken_already_is_said_so() -> None:
    start = booted(config_of(ALONE))
    assert start.broken is None
    own = always("asleep", "No vCPU is enabled.", lambda i, s, m: not s.enabled)
    result = prove(ALONE, start=Start(start.state), properties=(own,))
    assert (result.violations, result.depth) == (("asleep",), 0)
    at_boot = prove(ALONE, properties=(own,))
    assert at_boot.counterexample is not None
    assert at_boot.counterexample.length > 0


# -------------------------------------------------------------------------- guests


@frozen
class Asleep:
    """Never does anything."""

    name: str = "asleep"
    reads_registered: bool = False
    leaves_out: frozenset[str] = frozenset({"the_guest_ejects", "cpu_on_is_denied"})

    def calls(self, index: int, slot: Slot, shared: Shared) -> Iterator[Stimulus]:
        return iter(())

    def machine_calls(self, shared: Shared) -> Iterator[Stimulus]:
        return iter(())


@frozen
class Grabs(Asleep):
    """Ejects whatever there is, and reads the event bits."""

    name: str = "grabs"
    leaves_out: frozenset[str] = frozenset({"cpu_on_is_denied"})

    def calls(self, index: int, slot: Slot, shared: Shared) -> Iterator[Stimulus]:
        yield InsertAcked(index)
        yield EjectCalled(index)

    def machine_calls(self, shared: Shared) -> Iterator[Stimulus]:
        yield ScanStarted()
        yield ScanEnded()


@frozen
class Spares(Grabs):
    """The same; but never vCPU 3."""

    def calls(self, index: int, slot: Slot, shared: Shared) -> Iterator[Stimulus]:
        if index != 3:
            yield EjectCalled(index)


@frozen
class Meddles(Asleep):
    """Calls for another vCPU than it is asked about."""

    def calls(self, index: int, slot: Slot, shared: Shared) -> Iterator[Stimulus]:
        yield EjectCalled(index + 1)


@frozen
class Muddles(Asleep):
    """Calls for one vCPU where it is asked about none."""

    def machine_calls(self, shared: Shared) -> Iterator[Stimulus]:
        yield EjectCalled(0)


def test_a_guest_restricts_what_happens() -> None:
    asleep = evolve(ALONE, guest=Asleep())
    packed, diagram = prove(asleep, engine="explicit"), prove(asleep, engine="symbolic")
    assert packed.proven and diagram.proven
    assert packed.states == diagram.states == search(asleep).states
    assert packed.states < prove(ALONE).states
    grabs = evolve(ALONE, guest=Grabs(), migration=True)
    assert prove(grabs).proven
    assert prove(grabs, engine="explicit").states == search(grabs).states


def test_what_a_guest_does_not_leave_out_is_missed() -> None:
    guest = evolve(Asleep(), leaves_out=frozenset())
    found = prove(evolve(ALONE, guest=guest)).missing
    assert set(found) == Asleep().leaves_out


def test_a_guest_catches_a_mutant_that_a_better_behaved_one_does_not() -> None:
    rules = RULES.without("eject_was_requested")
    assert prove(evolve(ALONE, guest=LINUX), rules).violations == ()
    assert prove(evolve(ALONE, guest=Grabs()), rules).violations == ("eject_requested_and_off",)


@pytest.mark.parametrize(
    ("guest", "says"),
    [(Meddles(), "is no call for vCPU 1"), (Muddles(), "belongs in `calls`")],
)
def test_a_guest_that_answers_something_else_is_refused(guest: Asleep, says: str) -> None:
    with pytest.raises(EnvironmentRefused, match=says):
        prove(evolve(ALONE, guest=guest))


def test_a_guest_that_tells_one_vcpu_from_its_like_is_refused() -> None:
    with pytest.raises(NotTabulable, match="grabs tells one hot vCPU from another"):
        prove(evolve(ALONE, slots=4, guest=Spares()))


# ------------------------------------------------------- to other processes, and to logs


def test_a_sweep_takes_guests_rules_and_properties_along() -> None:
    rules = RULES.without("eject_was_requested")
    jobs = [
        SweepJob(evolve(ALONE, guest=Grabs()), rules=rules),
        SweepJob(evolve(ALONE, guest=Asleep()), properties=(AS_BOOTED,)),
        SweepJob(evolve(ALONE, guest=Meddles())),
    ]
    rows = run_sweep(jobs)
    assert [row.violations for row in rows] == [("eject_requested_and_off",), ("as_booted",), ()]
    assert "is no call for vCPU 1" in (rows[2].error or "")
    assert rows == tuple(run_one(job) for job in jobs)


def test_a_sweep_is_told_one_thing_about_the_rules() -> None:
    with pytest.raises(CheckError, match="give one of them"):
        SweepJob(ALONE, mutant="machine_new", rules=RULES)


def test_a_counterexample_to_a_property_of_ones_own_is_a_log(tmp_path: Path) -> None:
    properties = (*PROPERTIES, AS_BOOTED)
    found = prove(ALONE, properties=properties).counterexample
    assert found is not None
    log = tmp_path / "broken.jsonl"
    written = write_log(log, found, RULES, "the protocol", properties=properties)
    _, records = read(log)
    events = [record.event for record in records]
    assert len(events) == written
    assert ev.Noted("as_booted is broken for vCPU 1: the search ends here") == events[-1]


def test_a_stimulus_that_looks_at_every_slot_is_tried_both_ways() -> None:
    """A guest names it; what it finds, the environment sees to."""
    (none, some) = (o for o in Environment(guest=Grabs()).about_machine(Shared(), 0)
                    if isinstance(o.stimulus, ScanEnded))  # fmt: skip
    assert none.needs[0].most == 0
    assert some.needs[0].least == 1
    assert len([o for o in Environment().about_machine(Shared(), 0)
                if isinstance(o.stimulus, Migrate)]) == 2  # fmt: skip
