"""`hpcore check`, the command: what it prints, writes and refuses."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

HPCORE = Path(sys.executable).with_name("hpcore")
FEW = ("--slots", "2", "--faults", "0", "--no-migration", "--no-power-off")


def hpcore(*args: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [HPCORE, *map(str, args)], capture_output=True, text=True, timeout=120, check=False
    )


def as_json(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.mark.parametrize("engine", ["auto", "symbolic", "explicit"])
def test_the_protocol_is_proven(engine: str) -> None:
    done = hpcore("check", *FEW, "--engine", engine, "--json")
    found = as_json(done)
    assert (done.returncode, found["ok"], found["violations"]) == (0, True, [])
    assert found["states"] > 1000
    assert found["engine"] == ("explicit" if engine == "explicit" else "symbolic")
    assert found["seconds"] > 0
    assert "Proven" in done.stderr


def test_a_mutant_is_shown_step_by_step_and_kept_as_a_log(tmp_path: Path) -> None:
    log = tmp_path / "broken.jsonl"
    done = hpcore("check", *FEW, "--mutant", "eject_was_requested", "--log", log, "--json")
    found = as_json(done)
    assert (done.returncode, found["ok"]) == (1, False)
    assert found["violations"] == ["eject_requested_and_off"]
    assert found["counterexample"]["stimuli"][-1] == "the guest evaluates _EJ0 of vCPU 1"
    assert len(found["counterexample"]["stimuli"]) == found["counterexample"]["length"]
    replayed = hpcore("replay", log, "--json")
    assert replayed.returncode == 1
    assert as_json(replayed)["violation"]["invariant"] == "eject_requested_and_off"
    again = hpcore("check", *FEW, "--mutant", "eject_was_requested", "--log", log)
    assert again.returncode == 2
    assert "--force" in again.stderr or "exists" in again.stderr


def test_what_is_ignored_leads_on_to_who_would_notice() -> None:
    asked = ("check", *FEW, "--mutant", "enable_before_wire", "--json")
    assert as_json(hpcore(*asked))["violations"] == ["built_in_order"]
    done = hpcore(*asked, "--ignore", "built_in_order")
    assert as_json(done)["violations"] == ["enabled_is_wired"]
    assert "Who notices: the guest: _STA says enabled" in done.stderr


@pytest.mark.parametrize(
    ("name", "says"),
    [("built_in_ordr", "Did you mean 'built_in_order'"), ("transition", "cannot be left out")],
)
def test_what_cannot_be_ignored_is_refused(name: str, says: str) -> None:
    done = hpcore("check", "--ignore", name)
    assert (done.returncode, says in done.stderr) == (2, True)


def test_a_log_says_of_which_mutant_its_rules_are(tmp_path: Path) -> None:
    log = tmp_path / "broken.jsonl"
    hpcore("check", *FEW, "--mutant", "unbind_before_unwire", "--log", log)
    told = hpcore("replay", log).stdout
    assert "; rules of the mutant unbind_before_unwire, hpcore " in told
    assert "without unbind" not in told


def test_a_check_from_a_log(tmp_path: Path) -> None:
    log = tmp_path / "broken.jsonl"
    hpcore("check", *FEW, "--mutant", "eject_was_requested", "--log", log)
    done = hpcore("check", *FEW[2:], "--from", f"{log}@20", "--json")
    assert done.returncode == 0, done.stderr
    assert as_json(done)["environment"]["slots"] == 2
    broken = hpcore("check", "--from", log)
    assert broken.returncode == 2
    assert "eject_requested_and_off" in broken.stderr


@pytest.mark.parametrize(("name", "begins"), [("g.mmd", "stateDiagram-v2"), ("g.dot", "digraph")])
def test_a_small_configuration_is_drawn(tmp_path: Path, name: str, begins: str) -> None:
    path = tmp_path / name
    done = hpcore("check", "--slots", 1, "--graph", path)
    assert done.returncode == 0, done.stderr
    text = path.read_text()
    assert text.startswith(begins)
    assert text.count("resetting") > 1


def test_something_must_happen() -> None:
    done = hpcore("check", *FEW, "--commands", "0", "--json")
    found = as_json(done)
    assert (done.returncode, found["ok"], found["violations"]) == (1, False, [])
    assert "a_plug_completes" in found["missing"]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--slots", "0"], "1 to 512"),
        (["--slots", "1000"], "1 to 512"),
        (["--slots", "x"], "not a valid integer"),
        (["--boot", "5"], "5 of 4"),
        (["--faults", "-1"], "-1 faults"),
        (["--faults", "99999999"], "0 to 1000"),
        (["--log", "/no/where.jsonl"], "no directory /no"),
        (["--commands", "-2"], "-2 commands"),
        (["--guest", "plan9"], "plan9"),
        (["--engine", "quantum"], "quantum"),
        (["--mutant", "cpu_on_enable"], "Did you mean 'cpu_on_enabled'"),
        (["--mutant", "zzz"], "no mutant 'zzz'"),
        (["--mutant", "paused", "--mutants"], "contradict"),
        (["--mutants", "--from", "x"], "--mutants and --from contradict"),
        (["--from", "x.jsonl", "--slots", "3"], "contradict"),
        (["--from", "x.jsonl", "--before-boot"], "--from and --before-boot contradict"),
        (["--graph", "x.dot", "--before-boot"], "--graph and --before-boot contradict"),
        (["--plugged", "1", "--before-boot"], "give one of the two"),
        (["--from", "/nowhere.jsonl"], "/nowhere.jsonl"),
        (["--graph", "x.png"], "Mermaid"),
        (["--slots", "7", "--engine", "explicit"], "--engine symbolic"),
    ],
)
def test_wrong_input_is_explained(options: list[str], says: str) -> None:
    done = hpcore("check", *options)
    assert done.returncode == 2
    assert says in done.stderr
    assert "Traceback" not in done.stderr
