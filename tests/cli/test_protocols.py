"""`--rules` and `hpcore model protocols`: what they print and refuse."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from hpcore.cli.main import cli
from hpcore.protocols import bundled
from tests.qemu.support import needs_qemu

ONE = ("--slots", "1", "--faults", "0", "--no-migration", "--no-power-off")


def hpcore(*args: object) -> tuple[int, dict[str, Any], str]:
    done = CliRunner().invoke(cli, [*map(str, args), "--json"])
    assert done.stdout, done.stderr
    return done.exit_code, json.loads(done.stdout.splitlines()[-1]), done.stderr


def test_the_protocols_that_there_are_are_listed() -> None:
    _, found, _ = hpcore("model", "protocols")
    assert [one["name"] for one in found["protocols"]] == ["hpcore", *bundled()]
    v6 = next(one for one in found["protocols"] if one["name"] == "v6")
    assert v6["bugs"] == ["sve_finalized_twice", "lost_at_reset"]


def test_a_check_says_by_whose_rules_and_what_they_do_not_promise() -> None:
    code, found, said = hpcore("check", *ONE, "--rules", "v6")
    assert (code, found["ok"]) == (0, True)
    assert found["rules"]["name"] == "v6"
    assert "It gives up: " in said
    assert "lost_at_reset" in said


def test_hpcores_own_protocol_is_no_other() -> None:
    _, own, _ = hpcore("check", *ONE)
    _, named, _ = hpcore("check", *ONE, "--rules", "hpcore")
    assert named["states"] == own["states"]
    assert "rules" not in named


@pytest.mark.parametrize(
    ("args", "why"),
    [
        (("check", "--rules", "v66"), "did you mean v6?"),
        (("check", "--rules", "v6", "--mutant", "eject_powered_off"), "nobody reported the bug"),
        (("check", "--rules", "hpcore", "--mutants"), "has no bug and gives nothing up"),
        (("run", "cover-letter", "--accel", "qtest", "--rules", "v66"), "did you mean v6?"),
        (("run", "cover-letter", "--accel", "qtest", "--mutant", "x"), "name it by --rules"),
        (("run", "cover-letter", "--rules", "v6", "--mutant", "lost_reset"), "'lost_at_reset'"),
        (("check", "--rules", "v6", "--mutants", "--scenario", "a.yaml"), "give --mutant NAME"),
    ],
)
def test_what_cannot_be_is_refused(args: tuple[str, ...], why: str) -> None:
    done = CliRunner().invoke(cli, [*args])
    said = f"{done.output}{done.exception}"
    assert done.exit_code != 0
    assert why in said


def test_what_is_wrong_in_a_file_is_said_with_its_line(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("says: x\nplug: [realize, enabel]\n")
    done = CliRunner().invoke(cli, ["check", "--rules", str(file)])
    assert f"{file}:2: 'enabel' is no step of a plug; did you mean 'enable'?" in str(done.exception)


@needs_qemu
def test_a_bug_is_checked_scripted_and_seen_on_qtest(tmp_path: Path) -> None:
    again, log = tmp_path / "again.yaml", tmp_path / "run.jsonl"
    bug = ("--rules", "v6", "--mutant", "sve_finalized_twice")
    code, found, said = hpcore("check", *ONE[2:], "--slots", "2", *bug, "--scenario", again)
    assert (code, found["scenario"], found["not_scripted"]) == (1, str(again), [])
    assert f"`hpcore run {again} --accel qtest {' '.join(bug)}`" in said
    code, seen, said = hpcore("run", again, "--accel", "qtest", *bug, "--log", log)
    assert (code, seen["ok"], seen["rules"]) == (1, False, "v6.sve_finalized_twice")
    assert seen["broken"]["invariant"] == found["counterexample"]["invariant"]
    assert "Broken: sve_finalized_once, for vCPU 1" in said
    log = tmp_path / "whole.jsonl"
    code, whole, _ = hpcore("run", again, "--accel", "qtest", "--rules", "v6", "--log", log)
    assert (code, whole["ok"]) == (0, True), "by v6 without the bug nothing is wrong"
