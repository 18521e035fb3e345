"""The verdicts on other protocols: what is proved of each, and what is found in each."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import attrs
import pytest

from hpcore.check import Environment, prove
from hpcore.check.evidence import start_from, write_log
from hpcore.check.result import CheckError
from hpcore.check.variants.revisions import Found, bug_of, hunt_wrong, properties_of
from hpcore.log import read
from hpcore.model.invariants import HELD
from hpcore.model.revision import Revision
from hpcore.model.rules import Trait
from hpcore.protocols import bundled, load
from hpcore.triage.replay import replay
from tests.check.reference import search
from tests.docs.pages import DOCS, table

NAMES = tuple(bundled())
SMALL = Environment(slots=2, faults=1)
COLD = Environment(slots=2, boot=2, faults=0, migration=False, power_off=False)

SHORTEST = {
    ("v5", "space_freed_under_thread"): 14,
    ("v5", "removal_lost"): 8,
    ("v5", "stale_removal"): 12,
    ("v5", "cold_booted_ejected"): 2,
    ("v5", "migration_makes_cold"): 9,
    ("v6", "sve_finalized_twice"): 2,
    ("v6", "lost_at_reset"): 7,
    ("v6", "objects_while_plugged"): 14,
    ("v6", "migration_carries_all"): 16,
    ("v6", "restored_as_saved"): 16,
    ("v7", "cold_booted_stays"): 2,
}
"""Steps from the booted machine to what was reported, or is given up."""


@cache
def hunted(name: str) -> dict[str, Found]:
    return {found.wrong.name: found for found in hunt_wrong(load(name))}


@pytest.mark.parametrize("name", NAMES)
def test_a_protocol_that_comes_with_hpcore_keeps_what_it_promises(name: str) -> None:
    one = load(name)
    result = prove(SMALL, one.rules, properties=properties_of(one))
    assert result.proven, (result.violations, result.missing)


@pytest.mark.parametrize("name", ["v7", "by-device", "no-objects"])
def test_with_cold_booted_vcpus_that_can_go_the_promises_hold_too(name: str) -> None:
    one = load(name)
    result = prove(COLD, one.rules, properties=properties_of(one))
    assert set(result.missing) <= {"a_plug_completes", "an_eject_completes", "cpu_on_is_denied"}
    assert not result.violations


@pytest.mark.parametrize("name", NAMES)
def test_every_bug_that_was_reported_and_every_promise_that_is_given_up_is_seen_broken(
    name: str,
) -> None:
    for found in hunted(name).values():
        assert found.as_expected, (found.wrong.name, found.broken)


@pytest.mark.parametrize(("name", "wrong"), SHORTEST)
def test_the_shortest_way_to_what_was_reported_is_known(name: str, wrong: str) -> None:
    assert hunted(name)[wrong].result.depth == SHORTEST[name, wrong]


@pytest.mark.parametrize(
    ("head", "names"),
    [("given up", ("v5", "v6", "v7")), ("given up here", ("by-device", "no-objects", "deferred"))],
)
def test_the_docs_say_what_each_gives_up_and_in_how_many_steps_it_shows(
    head: str, names: tuple[str, ...]
) -> None:
    rows = list(table(DOCS / "protocols.md", head))
    assert rows
    for at, name in enumerate(names, 1):
        told = {row[0].strip("`"): row[at] for row in rows if row[at]}
        found = {what: hunted(name)[what].result for what in load(name).gives_up}
        assert told == {what: "a loop" if result.counterexample is None else str(result.depth)
                        for what, result in found.items()}  # fmt: skip


def test_the_docs_say_what_was_reported_and_what_that_breaks() -> None:
    told = {
        (of, reported.split("`")[1]): (set(breaks.replace("`", "").split(", ")), int(steps))
        for of, reported, breaks, steps in table(DOCS / "protocols.md", "of")
        if reported.startswith("`")
    }
    bugs = {(name, bug.name): set(bug.breaks) for name in NAMES for bug in load(name).bugs}
    assert {of: steps for of, (_, steps) in told.items()} == {of: SHORTEST[of] for of in bugs}
    assert not [of for of, (breaks, _) in told.items() if not breaks <= bugs[of]]


def test_a_device_del_that_the_guest_refuses_need_never_end_in_the_series() -> None:
    assert hunted("v6")["unplug"].broken == ("unplug",)
    assert "unplug" not in load("deferred").gives_up


@pytest.mark.parametrize("name", NAMES)
def test_the_tables_of_another_protocol_reach_what_a_plain_search_reaches(name: str) -> None:
    one = load(name)
    boot = 2 if Trait.COLD_BOOTED_CAN_GO in one.rules.traits else 1
    small = Environment(slots=2, boot=boot, faults=0, reset=False, power_off=False)
    asked = properties_of(one)
    plain = search(small, one.rules, one.invariants)
    for engine in ("symbolic", "explicit"):
        assert prove(small, one.rules, engine, properties=asked).states == plain.states


@pytest.mark.parametrize("name", [name for name in NAMES if name != "deferred"])
def test_by_no_other_protocol_a_vcpu_has_no_thread_before_it_was_on(name: str) -> None:
    asked = tuple(p for p in load("deferred").promises if p.name == "no_thread_before_on")
    one = load(name)
    assert "no_thread_before_on" not in one.instead
    result = prove(COLD, one.rules, properties=asked)
    assert result.violations == ("no_thread_before_on",)


def test_that_deferred_starts_its_threads_late_is_what_every_search_holds_it_to() -> None:
    """With threads from the realization on it keeps every other promise of its own."""
    deferred = load("deferred")
    early = attrs.evolve(deferred.rules, traits=frozenset())
    least = attrs.evolve(SMALL, faults=0, reset=False, migration=False, power_off=False)
    asked = properties_of(deferred)
    for engine in ("symbolic", "explicit"):
        result = prove(least, early, engine, properties=asked)
        assert (result.violations, result.depth) == (("no_thread_before_on",), 4)
    plain = search(least, early, deferred.invariants)
    assert (plain.broken, len(plain.path)) == ("no_thread_before_on", 4)
    rest = tuple(p for p in asked if p.name != "no_thread_before_on")
    assert prove(SMALL, early, properties=rest).proven


def test_v6_listed_by_objects_tells_whether_a_vcpu_was_ever_enabled() -> None:
    """Neither is promised that none is listed while it is disabled, nor that all are."""
    v6 = load("v6")
    assert "objects_while_plugged" in v6.gives_up
    all_listed = [p for p in properties_of(load("by-device")) if p.name == "objects_for_all"]
    result = prove(Environment(slots=2, faults=0), v6.rules, properties=tuple(all_listed))
    assert result.violations == ("objects_for_all",)


def test_a_counterexample_is_replayed_by_the_rules_that_it_is_of(tmp_path: Path) -> None:
    v6 = load("v6")
    wrong = v6.with_bug(bug_of(v6, "lost_at_reset"))
    found = hunted("v6")["lost_at_reset"].result.counterexample
    assert found is not None
    log = tmp_path / "lost.jsonl"
    write_log(log, found, wrong.rules, "of v6", properties=properties_of(v6), protocol=wrong)
    header, records = read(log)
    with records:
        assert isinstance(header.rules, Revision)
        assert header.rules.rules == wrong.rules
    replayed = replay(log)
    assert replayed.wrong is not None
    assert replayed.wrong.violation.invariant == "reset_keeps_plugged"
    assert replayed.otherwise is None
    with pytest.raises(CheckError, match="breaks reset_keeps_plugged"):
        start_from(str(log), None)


def test_hpcores_own_protocol_is_written_down_by_no_log(tmp_path: Path) -> None:
    found = hunted("v6")["lost_at_reset"].result.counterexample
    assert found is not None
    log = tmp_path / "own.jsonl"
    write_log(log, found, load("v6").rules, "x")
    assert b'"rules":{' not in log.read_bytes().splitlines()[0]
    assert replay(log).header.protocol.invariants.rules == HELD.rules


def test_a_bug_that_nobody_reported_is_said() -> None:
    with pytest.raises(CheckError, match="did you mean 'lost_at_reset'"):
        bug_of(load("v6"), "lost_at_rest")
