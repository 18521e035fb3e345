"""Counterexamples as logs, and logs as a place to start from."""

from __future__ import annotations

from pathlib import Path

import pytest

from hpcore.check.evidence import start_from, write_log
from hpcore.check.proof import prove
from hpcore.check.result import CheckError
from hpcore.check.tabulated.start import booted, config_of, take
from hpcore.check.variants.known_bugs import ALL
from hpcore.check.world.environment import Environment
from hpcore.log import Header, LogExists, LogWriter, read
from hpcore.log.fold import decisions
from hpcore.model import events as ev
from hpcore.model.effects import Step
from hpcore.model.rules import RULES
from hpcore.model.states import Owed
from hpcore.triage.replay import replay

FOLDED_OTHERWISE = {
    "disable_clears_events", "stale_removal", "reset_drops_pending",
    "migration_keeps_hotpluggable", "migration_makes_cold",
}  # fmt: skip
"""Mutants of `evolve`: a replay by the real rules does what they leave out."""


@pytest.mark.parametrize(
    "name",
    ["eject_was_requested", "eject_powered_off", "removal_lost", "migration_quiet",
     "space_freed_under_thread", "enable_before_wire", "bind_matches_affinity", "machine_new",
     "reset_ends_commands", "reset_keeps_plugged", "failed_plug_is_undone",
     "notified_before_gic", *sorted(FOLDED_OTHERWISE)],
)  # fmt: skip
def test_replay_explains_a_counterexample(name: str, tmp_path: Path) -> None:
    mutant = ALL[name]
    found = prove(mutant.smallest(), mutant.rules).counterexample
    assert found is not None
    log = tmp_path / "broken.jsonl"
    written = write_log(log, found, mutant.rules, name)
    replayed = replay(log)
    assert replayed.header.accelerator == "check"
    assert replayed.header.versions["rules"] == name
    assert replayed.damage is None
    if name in FOLDED_OTHERWISE:
        assert replayed.events == written
        return
    assert replayed.wrong is not None
    assert replayed.wrong.violation.invariant == found.invariant
    assert replayed.wrong.violation.slot == found.slot


def test_the_stimuli_of_a_counterexample_do_what_it_says() -> None:
    mutant = ALL["ejected_before_offline"]
    found = prove(mutant.smallest(), mutant.rules).counterexample
    assert found is not None
    state = found.start.state
    for n, stimulus in enumerate(found.stimuli, 1):
        taken = take(state, stimulus, mutant.rules)
        assert (taken.broken is not None) == (n == found.length)
        state = taken.after


def test_a_log_is_not_overwritten_unasked(tmp_path: Path) -> None:
    mutant = ALL["not_cold_booted"]
    found = prove(mutant.smallest(), mutant.rules).counterexample
    assert found is not None
    log = tmp_path / "broken.jsonl"
    write_log(log, found, mutant.rules, "x")
    with pytest.raises(LogExists):
        write_log(log, found, mutant.rules, "x")
    assert write_log(log, found, mutant.rules, "x", overwrite=True)


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """A log of a machine of 2 whose vCPU 1 was plugged, and is asked for again."""
    mutant = ALL["eject_was_requested"]
    found = prove(mutant.smallest(), mutant.rules).counterexample
    assert found is not None
    write_log(tmp_path / "run.jsonl", found, mutant.rules, "x")
    return tmp_path / "run.jsonl"


def last_good(log: Path) -> int:
    wrong = replay(log).wrong
    assert wrong is not None
    return wrong.record.seq - 1


def test_a_check_goes_on_from_a_logs_state(log: Path, tmp_path: Path) -> None:
    start = start_from(str(log), last_good(log))
    environment = Environment(slots=2, faults=0, migration=False)
    assert prove(environment, RULES, "explicit", start).proven
    mutant = ALL["eject_was_requested"]
    found = prove(environment, mutant.rules, start=start).counterexample
    assert found is not None
    whole = prove(mutant.smallest(), mutant.rules).counterexample
    assert whole is not None
    assert found.length < whole.length, "the way is shorter from there"
    again = tmp_path / "again.jsonl"
    write_log(again, found, mutant.rules, "x")
    wrong = replay(again).wrong
    assert wrong is not None
    assert wrong.violation.invariant == "eject_requested_and_off"


def test_a_check_from_the_middle_of_a_plug_knows_that_it_is_owed(log: Path) -> None:
    _, records = read(log)
    seq = next(r.seq for r in records if type(r.event).__name__ == "PlugAccepted") + 1
    start = start_from(str(log), seq)
    assert start.state.slots[1].command is Owed.PLUG
    assert prove(Environment(slots=2), start=start).proven


def test_a_check_goes_on_from_the_end_of_a_decision(log: Path, tmp_path: Path) -> None:
    """Between the events of one, the next step is owed and not yet begun."""
    wired = ev.StepDone(1, Step.WIRE)
    _, records = read(log)
    with records:
        decision = next(d for d in decisions(records) if d.records[0].event == wired)
    first, last = decision.records[0].seq, decision.records[-1].seq
    assert first < last
    assert start_from(str(log), first).state == start_from(str(log), last).state
    cut = tmp_path / "cut"
    cut.write_bytes(b"".join(log.read_bytes().splitlines(keepends=True)[: first + 1]))
    with pytest.raises(CheckError, match=f"middle of a decision; give @{first - 1}"):
        start_from(str(cut), None)


@pytest.mark.parametrize(
    ("seq", "says"), [(2, "the machine is"), (None, "see `hpcore replay`")]
)
def test_a_log_that_no_check_can_start_from_is_refused(
    log: Path, seq: int | None, says: str
) -> None:
    with pytest.raises(CheckError, match=says):
        start_from(str(log), seq)


def test_an_event_that_a_log_does_not_have_is_refused(tmp_path: Path) -> None:
    config = config_of(Environment(slots=2))
    path = tmp_path / "good.jsonl"
    with LogWriter.create(path, Header(config, "tcg")) as log:
        for n, decided in enumerate(booted(config).decisions):
            log.append(decided.events, float(n))
    assert start_from(str(path), None).state == booted(config).state
    with pytest.raises(CheckError, match="there is no event 10000"):
        start_from(str(path), 10_000)
