"""The prompt of `hpcore shell` on a terminal: somebody types, and reads what comes."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from hpcore.scenario.read import load
from hpcore.triage.replay import replay
from tests.support.command import HPCORE, hpcore, logged, needs_guest
from tests.support.terminal import Typist, on_a_terminal

CTRL_C, CTRL_D = "\x03", "\x04"


@contextmanager
def prompt(here: Path, *arguments: str, accel: str = "qtest") -> Iterator[Typist]:
    """A prompt whose log is `log.jsonl`; no traceback was shown on it."""
    command = [str(HPCORE), "shell", "--accel", accel, "--log", "log.jsonl", *arguments]
    with on_a_terminal(command, here) as typist:
        typist.reads("hpcore>")
        yield typist
        assert "Traceback" not in typist.all


def begin(typist: Typist, here: Path, step: str) -> None:
    """Type a step, and wait until it is under way."""
    typist.type(f"{step}\r")
    typist.reads_until(logged(here / "log.jsonl", step.replace(":", "")))


def test_steps_are_typed_and_the_slots_stand_below(tmp_path: Path) -> None:
    with prompt(tmp_path) as typist:
        typist.reads("2-5            parked  no")
        typist.does("boot", "ok     1")
        typist.does("plug 2", "ok     2")
        typist.reads("2     cpu2     enabled  no")
        typist.does("online cpu2", "ok     3")
        typist.reads("2     cpu2     online  yes")
        typist.does("log", "events in log.jsonl")
        typist.does("quit", "events in log.jsonl")
        assert typist.ends() == 0
    assert replay(tmp_path / "log.jsonl").ok


def test_a_step_that_fails_says_why_and_the_machine_goes_on(tmp_path: Path) -> None:
    with prompt(tmp_path) as typist:
        typist.does("plug 1000", "there is no vCPU 1000; this machine has 0 to 5")
        typist.does("boot", "ok ")
        typist.does("plugg 2", "'plugg 2' is no step; did you mean 'plug'?")
        typist.does("unplug cpu0", "Hot-unplug of cold-booted CPU not supported!")
        typist.does("plug {id: a", "not YAML")
        typist.does("save", "save: give the name of a file")
        typist.does("plug 2", "ok ")
        typist.reads("hpcore>")
        typist.type(CTRL_D)
        typist.reads("events in log.jsonl")
        assert typist.ends() == 0
    assert replay(tmp_path / "log.jsonl").ok


def test_tab_completes_steps_and_ids(tmp_path: Path) -> None:
    with prompt(tmp_path) as typist:
        typist.does("boot", "ok ")
        typist.reads("hpcore>")
        typist.type("unp\t")
        typist.reads("lug")
        typist.type(CTRL_C)
        typist.reads("hpcore>")
        typist.does("plug: {id: spare, core-id: 4}", "ok ")
        typist.reads("hpcore>")
        typist.type("unplug \t")
        typist.reads("spare")
        typist.type("\r")
        typist.reads("ok ")
        typist.reads("2-5            parked")
        typist.does("quit", "events in")
        assert typist.ends() == 0


def test_ctrl_c_stops_waiting_and_not_the_machine(tmp_path: Path) -> None:
    with prompt(tmp_path) as typist:
        typist.does("boot", "ok ")
        begin(typist, tmp_path, "wait 10m")
        typist.type(CTRL_C)
        typist.reads("interrupted: it is not waited for any longer, and the machine goes on")
        typist.does("plug 2", "ok ")
        typist.reads("hpcore>")
        typist.type("never ran")
        typist.reads("never ran")
        typist.type(CTRL_C)  # a line that is being typed is dropped
        typist.does("save done.yaml", "done.yaml has what was done")
        typist.does("quit", "events in")
        assert typist.ends() == 0
    assert [line.text.split()[0] for line in load(str(tmp_path / "done.yaml")).steps] == [
        "boot", "plug",
    ]  # fmt: skip
    assert replay(tmp_path / "log.jsonl").ok


def test_an_unplug_that_was_interrupted_is_saved_as_one_not_waited_for(tmp_path: Path) -> None:
    (tmp_path / "silent.yaml").write_text(
        "machine: {cpus: 1, maxcpus: 3}\nguest: {kind: silent}\nsteps: [boot]\n"
    )
    with prompt(tmp_path, "silent.yaml") as typist:
        typist.does("boot", "ok ")
        typist.does("plug 2", "ok ")
        typist.does("unplug cpu2", "unplug: the guest is asked")  # below, as it waits
        typist.type(CTRL_C)
        typist.reads("interrupted")
        typist.does("{unplug: cpu2, waits: false}", "ok ")
        typist.does("save done.yaml", "done.yaml has what was done")
        typist.does("quit", "events in")
        assert typist.ends() == 0
    saved = tmp_path / "done.yaml"
    assert [line.waits for line in load(str(saved)).steps] == [True, True, False, False]
    ended = hpcore("run", saved, "--accel", "qtest", "--log", tmp_path / "again.jsonl")
    assert ended.code == 0, ended


def test_what_is_typed_during_a_step_is_there_at_the_next_prompt(tmp_path: Path) -> None:
    with prompt(tmp_path) as typist:
        typist.does("boot", "ok ")
        begin(typist, tmp_path, "wait 2s")
        typist.type("plug 2\rplug 3\r")
        typist.reads("ok     3")
        typist.reads("ok     4")
        typist.does("quit", "events in")
        assert typist.ends() == 0


def test_pasted_lines_are_steps_one_after_the_other(tmp_path: Path) -> None:
    with prompt(tmp_path) as typist:
        typist.does("\x1b[200~boot\nplug 2\nonline cpu2\x1b[201~", "ok     3")
        pasted = "  - unplug: cpu0\n    fails: cold\n  - unplug: cpu2\n"
        typist.does(f"\x1b[200~{pasted}\x1b[201~", "ok     5")
        typist.does("quit", "events in")
        assert typist.ends() == 0


def test_a_machine_that_ends_is_told_and_what_was_done_can_be_saved(tmp_path: Path) -> None:
    with prompt(tmp_path) as typist:
        typist.does("boot", "ok ")
        typist.does("poweroff", "the machine is gone: the machine was powered off by the guest")
        typist.does("plug 2", "the machine is off")
        typist.does("save done.yaml", "done.yaml has what was done")
        typist.does("quit", "events in")
        assert typist.ends() == 0
    ended = hpcore(
        "run", tmp_path / "done.yaml", "--accel", "qtest", "--log", tmp_path / "again.jsonl"
    )
    assert ended.code == 0, ended


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("step", ["", "wait 1m"], ids=["at the prompt", "in a step"])
def test_a_signal_ends_the_prompt_in_good_order(
    number: signal.Signals, step: str, tmp_path: Path
) -> None:
    with prompt(tmp_path) as typist:
        typist.does("boot", "ok ")
        if step:
            begin(typist, tmp_path, step)
        else:
            typist.reads("hpcore>")
        os.kill(typist.process.pid, number)
        assert typist.ends() == 128 + number
    assert replay(tmp_path / "log.jsonl").ok


@needs_guest
def test_linux_is_driven_from_the_prompt(tmp_path: Path) -> None:
    with prompt(tmp_path, "cpus=1,maxcpus=3", "--console", "console", accel="tcg") as typist:
        typist.does("boot", "ok ")
        typist.does("plug 2", "ok ")
        typist.does("console", "what the guest prints is shown from here on")
        assert "CPU2 has been hot-added" in typist.all  # the last lines before
        typist.does("shell echo seen-$((40+2))", "| seen-42")
        typist.does("console", "not shown any more")
        begin(typist, tmp_path, "shell: sleep 50; echo late")
        typist.type(CTRL_C)
        typist.reads("interrupted")
        typist.does("shell echo hidden-$((40+2))", "ok ")
        typist.does("online 2", "ok ")
        typist.does('expect: {online: "0,2"}', "ok ")
        typist.does("quit", "events in log.jsonl")
        assert typist.ends() == 0
        assert "hidden-42" not in typist.all
    assert "hidden-42" in (tmp_path / "console").read_text()
    assert replay(tmp_path / "log.jsonl").ok


def test_with_json_the_object_alone_is_on_standard_output(tmp_path: Path) -> None:
    command = f"{HPCORE} shell --accel qtest --log log.jsonl --json > out.json"
    with on_a_terminal(["sh", "-c", command], tmp_path) as typist:
        typist.reads("hpcore>")
        typist.does("boot", "ok ")
        typist.does("unplug cpu0", "FAIL ")
        typist.does("quit", "events in log.jsonl")
        assert typist.ends() == 0
    last = json.loads((tmp_path / "out.json").read_text())
    assert (last["ok"], last["steps"]) == (True, 2)
    assert last["failed"]["step"] == "unplug cpu0"
