"""`hpcore check SCENARIO`, the command: what it prints, writes and refuses."""

from __future__ import annotations

from pathlib import Path

import pytest

from hpcore.scenario import load
from tests.support.command import hpcore

STORM = """
machine: {cpus: 1, maxcpus: 2}
steps:
  - boot
  - plug: {id: a, core-id: 1}
  - unplug: a
    waits: false
  - plug: {id: b, core-id: 1}
"""


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    file = tmp_path / "mine.yaml"
    file.write_text(STORM)
    return file


def test_a_finding_is_shown_and_kept_as_a_log_and_as_a_scenario(mine: Path, tmp_path: Path) -> None:
    log, again = tmp_path / "found.jsonl", tmp_path / "again.yaml"
    done = hpcore("check", mine, "--log", log, "--scenario", again, "--json")
    assert (done.code, done.last["ok"], done.last["engine"]) == (1, False, "sequence")
    (first, *_) = done.last["findings"]
    assert (first["kind"], first["step"], first["line"]) == ("fails", 4, 8)
    assert first["length"] == len(first["way"])
    assert "Step 4, `plug id b, core-id 1` (line 8) can fail: cpu(" in done.err
    assert str(again) == done.last["scenario"]

    replayed = hpcore("replay", log)
    assert replayed.code == 0, "every invariant holds in it"
    assert "step 4: plug id b, core-id 1" in replayed.out
    assert "The search ends here" in replayed.out

    steps = load(str(again)).steps
    assert [line.fails is not None for line in steps] == [False, False, False, True, False]

    over = hpcore("check", mine, "--log", log)
    assert over.code == 2
    assert "--force" in over.err


def test_a_real_qemu_does_what_was_found(mine: Path, tmp_path: Path) -> None:
    again = tmp_path / "again.yaml"
    hpcore("check", mine, "--scenario", again)
    run = hpcore("run", again, "--accel", "qtest", "--log", tmp_path / "run.jsonl")
    assert run.code == 0, run.out + run.err
    assert "plug id b, core-id 1: refused, as it should be" in run.out


def test_a_guest_model_is_scripted_call_by_call_on_a_real_qemu(tmp_path: Path) -> None:
    """The way has a refusal in it that the guest that is played would not give."""
    mine = tmp_path / "mine.yaml"
    mine.write_text(
        "machine: {cpus: 1, maxcpus: 2}\nsteps:\n  - boot\n  - plug: {id: a, core-id: 1}\n"
        "  - unplug: a\n  - expect: {slots: {1: parked}}\n"
    )
    own = tmp_path / "own.py"
    own.write_text(
        "from hpcore.model.events import UnplugFailed\n"
        "from hpcore.model.properties import always\n\n\n"
        "@always\ndef given_back(change):\n"
        '    """The guest gives back what it is asked for."""\n'
        "    failed = isinstance(change.event, UnplugFailed)\n"
        '    return not (failed and "refuses" in change.event.error)\n'
    )
    again = tmp_path / "again.yaml"
    done = hpcore(
        "check", mine, "--guest", "linux", "--property", own, "--scenario", again, "--json"
    )
    assert done.last["findings"][0]["property"] == "given_back"
    assert done.last["not_scripted"] == []
    text = again.read_text()
    assert "call: {ost: [1, 1, 0]}" in text and "call: {ost: [1, 3, 128]}" in text
    run = hpcore("run", again, "--accel", "qtest", "--log", tmp_path / "run.jsonl")
    assert run.code == 0, run.out + run.err
    assert "the guest refuses the eject" in hpcore("replay", tmp_path / "run.jsonl").out


def test_a_property_of_the_whole_machine_is_for_a_sequence_and_told_as_of_no_vcpu(
    tmp_path: Path,
) -> None:
    mine = tmp_path / "mine.yaml"
    mine.write_text(
        "machine: {cpus: 1, maxcpus: 3}\nsteps: [boot, {plug: 1}, {online: 1}]\n"
    )
    own = tmp_path / "own.py"
    own.write_text(
        "from hpcore.model.properties import always\n\n\n"
        "@always(whole=True)\ndef alone(state):\n"
        '    """One vCPU is on at most."""\n'
        "    return sum(slot.powered for slot in state.slots) < 2\n"
    )
    done = hpcore("check", mine, "--property", own, "--log", tmp_path / "found.jsonl")
    assert done.code == 1
    assert "alone is broken: One vCPU is on at most." in done.out
    assert "for vCPU" not in done.out.split("alone is broken")[1].splitlines()[0]
    assert "alone is broken" in hpcore("replay", tmp_path / "found.jsonl").out
    refused = hpcore("check", "--slots", "2", "--property", own)
    assert refused.code == 2
    assert "ask it of a sequence, hpcore check SCENARIO --property FILE" in refused.err
    own.write_text(own.read_text().replace("state.slots", "state.slot"))
    raises = hpcore("check", mine, "--property", own)
    assert "own.py: the property alone cannot be asked: line 7: AttributeError" in raises.err


def test_what_no_scenario_can_script_is_said(tmp_path: Path) -> None:
    mine = tmp_path / "mine.yaml"
    mine.write_text("machine: {cpus: 1, maxcpus: 2}\nsteps: [boot, migrate, {plug: 1}]\n")
    again = tmp_path / "again.yaml"
    done = hpcore("check", mine, "--race", "--scenario", again, "--json")
    assert done.code == 1
    assert done.last["scenario"] is None
    assert "a run waits for the end of `migrate`" in done.last["not_scripted"][0]
    assert not again.exists()


def test_a_scenario_that_goes_as_it_says_is_said_to() -> None:
    done = hpcore("check", "cover-letter")
    assert done.code == 0
    assert "Every run goes as the scenario says." in done.out
    assert "cover-letter: 4 of 6 vCPUs at boot; played linux; no faults" in done.out


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("nowhere.yaml",), "nowhere.yaml: no such file"),
        (("cover-letter", "--slots", "3"), "--slots has no meaning for a sequence"),
        (("cover-letter", "--engine", "explicit"), "--engine has no meaning for a sequence"),
        (("--race",), "--race is for a sequence"),
        (("cover-letter", "--most", "10"), "more than 10 states"),
    ],
)
def test_what_has_no_meaning_is_refused(arguments: tuple[str, ...], says: str) -> None:
    done = hpcore("check", *arguments)
    assert done.code == 2
    assert says in done.err
    assert "Traceback" not in done.err
