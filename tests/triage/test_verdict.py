"""The verdict on a log of hpcore's own holds what a replay holds."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from hpcore.check.tabulated.start import booted
from hpcore.cli.main import cli
from hpcore.log import Header, LogWriter, Sync
from hpcore.model import events as ev
from hpcore.model import stimuli as st
from hpcore.model.psci import PsciStatus
from hpcore.triage.replay import replay
from hpcore.triage.verdict import judge
from tests.support.world import World

DENIED = ev.CpuOnDenied(1, 0, int(PsciStatus.DENIED))
START = booted(World().config)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A log whose last decision denies CPU_ON of an enabled vCPU that is off."""
    path = tmp_path / "run.jsonl"
    with LogWriter.create(path, Header(World().config, "paper"), sync=Sync.BUFFERED) as log:
        for decision in START.decisions:
            log.append(decision.events, 0.0, decision.answers)
        log.append((DENIED,), 1.0, st.CpuOnCalled(1))
    return path


def go_on(path: Path) -> None:
    with LogWriter.resume(path) as log:
        log.append((ev.Noted("on"),), 2.0, st.Note("on"))


def test_a_decision_that_is_no_answer_to_its_stimulus_is_a_wrong_step(path: Path) -> None:
    go_on(path)
    verdict, replayed = judge(path), replay(path)
    assert not verdict.ok
    assert verdict.wrong_in_all == 1
    (wrong,) = verdict.wrong
    assert [(mark.name, mark.slot) for mark in wrong.marks] == [("cpu_on_answered", 1)]
    assert replayed.wrong is not None
    assert (wrong.seq, wrong.before) == (replayed.wrong.record.seq, replayed.wrong.before)
    assert verdict.state == replayed.state == START.state


def test_a_decision_that_may_be_cut_short_is_no_wrong_step_yet(path: Path) -> None:
    assert judge(path).ok


def test_triage_says_which_answer_is_wrong_and_fails(path: Path) -> None:
    go_on(path)
    said = CliRunner().invoke(cli, ["triage", str(path)])
    assert said.exit_code == 1
    assert "cpu_on_answered" in said.output
    plain = CliRunner().invoke(cli, ["triage", str(path), "--json"])
    assert plain.exit_code == 1
    assert json.loads(plain.stdout)["ok"] is False
