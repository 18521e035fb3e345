"""Shrinking: less of a log, that still breaks the same."""

from __future__ import annotations

from pathlib import Path

import pytest

from hpcore.check.tabulated.start import booted
from hpcore.check.variants.known_bugs import ALL
from hpcore.log import Header, LogWriter, Sync, read
from hpcore.model import events as ev
from hpcore.model import stimuli as st
from hpcore.model.config import MachineConfig
from hpcore.model.decide import decide
from hpcore.model.effects import Step
from hpcore.model.psci import PsciStatus
from hpcore.triage.case import NoCase, case_of, run
from hpcore.triage.replay import replay
from hpcore.triage.shrink import Shrunk, shrink, write_shrunk
from tests.support.churn import Churn, churned
from tests.support.command import hpcore, refused

FAILING = {
    "remove_waits_for_insert": 1, "eject_was_requested": 2, "eject_powered_off": 1,
    "migration_quiet": 1, "cpu_on_while_off": 2, "unbind_before_unwire": 1,
    "reset_drops_pending": 2,
}  # fmt: skip
"""Mutants, and seeds with which each breaks something within 2,000 events."""


def broken_log(path: Path, mutant: str, seed: int) -> Path:
    churn = Churn(seed, ALL[mutant].rules, faults=0.02, odd=0.1)
    churned(path, churn, 2000, mutant)
    assert churn.broken is not None
    return path


def breaks(path: Path) -> str | None:
    wrong = replay(path).wrong
    return None if wrong is None else wrong.violation.invariant


@pytest.fixture(scope="module")
def shrunk(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Shrunk]:
    path = tmp_path_factory.mktemp("logs") / "log"
    return {
        name: shrink(case_of(broken_log(path, name, seed))) for name, seed in FAILING.items()
    }


@pytest.mark.parametrize("name", FAILING)
def test_a_shrunk_log_breaks_the_same_and_is_small(
    shrunk: dict[str, Shrunk], name: str, tmp_path: Path
) -> None:
    found = shrunk[name]
    written = write_shrunk(tmp_path / "small", found)
    assert breaks(tmp_path / "small") == found.case.broken.invariant
    assert written == found.events + 1 <= 80
    assert read(tmp_path / "small")[0].machine.topology.maxcpus <= 6


@pytest.mark.parametrize("name", FAILING)
def test_no_single_stimulus_of_a_shrunk_case_can_be_left_out(
    shrunk: dict[str, Shrunk], name: str
) -> None:
    found = shrunk[name]
    entries = [taken.entry for taken in found.taken]
    for at in range(len(entries)):
        rest = run(found.case, entries[:at] + entries[at + 1 :])
        assert rest.broken is None or rest.broken.invariant != found.case.broken.invariant


def test_a_case_that_was_shrunk_is_as_small_as_it_gets(tmp_path: Path) -> None:
    path = broken_log(tmp_path / "log", "migration_quiet", 1)
    once = shrink(case_of(path))
    write_shrunk(tmp_path / "small", once)
    again = shrink(case_of(tmp_path / "small"))
    assert again.events == once.events
    assert again.fingerprint == once.fingerprint


def test_which_vcpu_it_happened_to_does_not_change_the_fingerprint(tmp_path: Path) -> None:
    prints = {
        shrink(case_of(grabbed(tmp_path / f"{slot}", slot, id_))).fingerprint
        for slot, id_ in ((1, "a"), (3, "another"))
    }
    assert len(prints) == 1


def grabbed(path: Path, slot: int, id_: str) -> Path:
    """A log in which the guest ejects a vCPU that was only just plugged."""
    churn = Churn(0, ALL["eject_was_requested"].rules, cpus=1, maxcpus=4, faults=0, odd=0)
    churn.random.random = lambda: 0.5  # type: ignore[method-assign]
    todo: list[st.Stimulus] = [st.DeviceAdd(id_, (("core-id", slot),)), st.EjectCalled(slot)]
    usual = churn._next

    def following() -> st.Stimulus:
        return usual() if churn.effects else todo.pop(0)

    churn._next = following  # type: ignore[method-assign]
    churned(path, churn, 1000)
    assert churn.broken is not None
    return path


def test_a_fact_counts_only_where_hpcore_would_answer_as_in_the_log(tmp_path: Path) -> None:
    case = case_of(grabbed(tmp_path / "log", 2, "core2"))
    eject = case.entries[-1]
    assert eject.fact is not None
    assert isinstance(eject.fact.events[0], ev.EjectAccepted)
    whole = run(case, case.entries)
    assert whole.broken is not None
    alone = run(case, [case.entries[0], eject])  # of a vCPU that was never plugged
    assert alone.broken is None
    assert isinstance(alone.taken[-1].events[0], ev.EjectRefused | ev.Refused)


def test_a_log_without_stimuli_is_shrunk_from_what_it_says_alone(tmp_path: Path) -> None:
    path = tmp_path / "log"
    with LogWriter.create(path, Header(MachineConfig.of(1, 2), "paper"), sync=Sync.BUFFERED) as log:
        for n in range(20):
            log.append([ev.Noted("nothing")], n)
        log.append([ev.StepBegun(1, Step.ENABLE)], 30)
    found = shrink(case_of(path))
    assert [taken.events for taken in found.taken] == [(ev.StepBegun(1, Step.ENABLE),)]


def test_a_decision_that_is_no_answer_to_its_stimulus_is_a_case(tmp_path: Path) -> None:
    """CPU_ON of a vCPU that is on is answered with DENIED; what a user did before is left out."""
    config = MachineConfig.of(1, 4)
    add = st.DeviceAdd("a", (("core-id", 3),))
    start = booted(config)
    added = (add, decide(start.state, add).events)
    denied = (st.CpuOnCalled(0), (ev.CpuOnDenied(0, 0, int(PsciStatus.DENIED)),))
    with LogWriter.create(tmp_path / "log", Header(config, "paper"), sync=Sync.BUFFERED) as log:
        told = [(d.answers, d.events) for d in start.decisions]
        for stimulus, events in (*told, added, denied, (st.Note("on"), (ev.Noted("on"),))):
            log.append(events, 0.0, stimulus)
    case = case_of(tmp_path / "log")
    assert (case.broken.invariant, case.broken.slot) == ("cpu_on_answered", 0)
    found = shrink(case)
    assert not any(isinstance(t.entry.stimulus, st.DeviceAdd) for t in found.taken)
    write_shrunk(tmp_path / "small", found)
    assert breaks(tmp_path / "small") == "cpu_on_answered"


def test_a_log_that_is_right_is_no_case(tmp_path: Path) -> None:
    churned(tmp_path / "log", Churn(1), 200)
    with pytest.raises(NoCase, match="no event of the log breaks an invariant"):
        case_of(tmp_path / "log")
    assert "no event of the log" in refused("shrink", tmp_path / "log")


@pytest.mark.parametrize(
    ("name", "code", "left_out"),
    [("eject_was_requested", 0, []), ("unbind_before_unwire", 1, ["failed"])],
)
def test_a_shrunk_case_is_repeated_on_qtest(
    name: str, code: int, left_out: list[str], tmp_path: Path
) -> None:
    path = broken_log(tmp_path / "log", name, FAILING[name])
    small, scenario = tmp_path / "small.jsonl", tmp_path / "small.yaml"
    ended = hpcore("shrink", path, "--log", small, "--scenario", scenario, "--json")
    assert ended.code == 0
    assert [words.split()[0] for words in ended.last["left_out"]] == left_out
    assert ended.last["invariant"] == breaks(path) == breaks(small)
    # what the wrong order asks of the accelerator: its second lock may refuse it
    assert hpcore("run", small, "--accel", "qtest").code == code
    assert hpcore("run", scenario, "--accel", "qtest", "--log", tmp_path / "run").code == 0
    assert replay(tmp_path / "run").ok
