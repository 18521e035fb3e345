"""A counterexample of the checker, asked of the real EL3 monitor."""

from __future__ import annotations

from pathlib import Path

from tests.support.command import hpcore


def counterexample(tmp_path: Path, mutant: str) -> Path:
    log = tmp_path / f"{mutant}.jsonl"
    ended = hpcore("check", "--slots", "2", "--mutant", mutant, "--log", log, "--json")
    assert ended.code == 1, ended
    return log


def test_what_a_broken_protocol_would_do_is_refused_by_the_monitor(tmp_path: Path) -> None:
    log = counterexample(tmp_path, "unbind_before_unwire")
    replayed = hpcore("replay", log, "--json")
    assert replayed.code == 1, replayed
    violation = replayed.last["violation"]
    ended = hpcore("run", log, "--accel", "tcg", "--json")
    assert ended.code == 1, ended
    assert ended.last["refused"]["seq"] == violation["seq"]
    assert "still wired" in ended.last["refused"]["error"]


def test_a_counterexample_of_guest_calls_alone_is_done_without_objection(tmp_path: Path) -> None:
    log = counterexample(tmp_path, "eject_was_requested")
    ended = hpcore("run", log, "--accel", "tcg", "--json")
    assert ended.code == 0, ended
    assert ended.last["refused"] is None
    assert ended.last["done"] > 5
