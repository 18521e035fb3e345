"""`hpcore shell` with steps that are piped in, and with wrong input."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path

import pytest

from hpcore.scenario.read import load
from hpcore.triage.replay import replay
from tests.support.command import HPCORE, hpcore, logged, refused, running
from tests.support.waits import poll

QTEST = ("shell", "--accel", "qtest")


def piped(*lines: str) -> bytes:
    return "\n".join(lines).encode() + b"\n"


def test_steps_that_go_well_exit_with_0_and_leave_a_log(tmp_path: Path) -> None:
    log = tmp_path / "log"
    steps = piped(
        "# the second core", "boot", "", "plug 2", "online cpu2", "- plug: {id: a, core-id: 3}",
        "scale 5", "expect: {online: 0-2, slots: {a: enabled, 4: enabled}}",
        "{unplug: cpu0, fails: cold}", "unplug a",
    )  # fmt: skip
    ended = hpcore(*QTEST, "--log", log, "--json", stdin=steps)
    assert ended.code == 0, ended
    last = ended.last
    assert last["ok"] is True
    assert (last["steps"], last["failed"], last["log"]) == (8, None, str(log))
    assert [slot["enabled"] for slot in last["slots"]] == [True, True, True, False, True, False]
    assert replay(log).ok
    for words in ("step 4: plug id a, core-id 3", "step 8: unplug a"):
        assert logged(log, words)()


def test_the_first_step_that_fails_is_the_last_and_the_exit_is_1(tmp_path: Path) -> None:
    steps = piped("boot", "unplug cpu0", "plug 2")
    ended = hpcore(*QTEST, "--log", tmp_path / "log", "--json", stdin=steps)
    assert ended.code == 1
    assert ended.last["steps"] == 2
    assert ended.last["failed"] == {
        "step": "unplug cpu0", "error": "Hot-unplug of cold-booted CPU not supported!",
    }  # fmt: skip
    assert "FAIL   2" in ended.err
    assert "Hot-unplug of cold-booted CPU not supported!" in ended.err


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (["boot", "", "plugg 2"], "stdin:3: 'plugg 2' is no step; did you mean 'plug'?"),
        (["boot", "plug 9"], "stdin:2: plug: there is no vCPU 9; this machine has 0 to 5"),
        (["plug: {id: a"], "stdin:1: not YAML"),
        (["save"], "save: give the name of a file"),
        (["save x.yaml"], "save: no step has been done yet"),
        (["boot", "save /nowhere/x.yaml"], "there is no directory /nowhere"),
        (["help plugg"], "help: there is no word 'plugg'"),
        (["quit now"], "quit takes nothing after it, and has 'now'"),
        (["boot", "\udcff"], "stdin:2: not UTF-8 text (byte 0)"),
        ([f"shell {'x' * (1 << 20)}"], "stdin:1: longer than 1048576 bytes"),
    ],
)
def test_a_line_that_says_nothing_is_refused_at_its_line(
    lines: list[str], said: str, tmp_path: Path
) -> None:
    text = "\n".join(lines).encode("utf-8", "surrogateescape")
    log = tmp_path / "log"
    assert said in refused(*QTEST, "--log", log, stdin=text)
    assert replay(log).ok


def test_words_about_the_prompt_may_be_piped_in_as_well(tmp_path: Path) -> None:
    log = tmp_path / "log"
    steps = piped("boot", "plug 2", "slots", "log", "help plug", "console", "quit", "plug 9")
    ended = hpcore(*QTEST, "--log", log, stdin=steps)
    assert ended.code == 0, ended
    for words in (
        "0-1   at boot  online   yes", "2     cpu2     enabled  no", "3-5            parked",
        f"events in {log}", "a device_add", "the guest is played, and prints nothing",
    ):  # fmt: skip
        assert words in ended.out, words


def test_what_was_done_is_saved_as_a_scenario_that_runs(tmp_path: Path) -> None:
    saved, given = tmp_path / "what was done.yaml", tmp_path / "given.yaml"
    given.write_text(
        "about: A guest that is busy once.\nmachine: {cpus: 2, maxcpus: 4, memory: 512}\n"
        "guest: {append: loglevel=3, answers: {eject-request: [0x82]}}\nsteps: [migrate]\n"
    )
    steps = piped(
        "boot", "plug 2", "plug: {id: a, core-id: 3}", "{online: a, waits: false}",
        "repeat: {times: 2, steps: [settle, offline: a, online: a]}",
        "{unplug: cpu0, fails: cold}", f"save {saved}", "{unplug: a, fails: busy}",
        "unplug a", f"save {saved}",
    )  # fmt: skip
    ended = hpcore("shell", given, "--accel", "qtest", "--append", "quiet", "--json",
                   "--log", tmp_path / "log", stdin=steps)  # fmt: skip
    assert ended.code == 0, ended
    scenario, wanted = load(str(saved)), load(str(given))
    assert (scenario.machine, scenario.answers) == (wanted.machine, wanted.answers)
    assert scenario.append == "loglevel=3 quiet"
    assert [line.text for line in scenario.steps][-3:] == ["unplug cpu0", "unplug a", "unplug a"]
    again = hpcore("run", saved, "--accel", "qtest", "--log", tmp_path / "again", "--json")
    assert again.code == 0, again
    assert again.last["slots"] == ended.last["slots"]


def test_a_file_that_is_there_is_not_overwritten(tmp_path: Path) -> None:
    kept = tmp_path / "kept.yaml"
    kept.write_text("mine")
    steps = piped("boot", f"save {kept}")
    error = refused(*QTEST, "--log", tmp_path / "log", stdin=steps)
    assert f"{kept} exists; give another name" in error
    assert kept.read_text() == "mine"


@pytest.mark.parametrize(
    ("machine", "said"),
    [
        ("cpus=two", "the machine cpus=two: cpus is 'two'; it must be a whole number"),
        ("cpus=4,maxcpus=2", "cpus is 4, more than maxcpus"),
        ("cover-leter", "did you mean cover-letter?"),
    ],
)
def test_a_machine_that_is_none_is_refused_before_anything(
    machine: str, said: str, tmp_path: Path
) -> None:
    assert said in refused(*QTEST, machine, "--log", tmp_path / "log", stdin=b"boot\n")
    assert not (tmp_path / "log").exists()


def test_a_log_that_is_there_is_refused(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("mine")
    error = refused(*QTEST, "--log", tmp_path / "log", stdin=b"boot\n")
    assert "exists; give another --log, or --force" in error


def test_steps_are_taken_as_they_come_through_a_pipe(tmp_path: Path) -> None:
    """A program that writes a step, and then waits for what comes of it."""
    with subprocess.Popen(
        [HPCORE, *QTEST, "--log", tmp_path / "log"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        os.set_blocking(process.stdout.fileno(), True)
        for step in (b"boot", b"plug 2", b"unplug cpu2"):
            process.stdin.write(step + b"\n")
            process.stdin.flush()
            assert process.stdout.readline().startswith(b"ok ")
        process.stdin.close()
        assert process.wait(60) == 0


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_a_signal_ends_piped_steps_in_good_order(
    number: signal.Signals, code: int, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    with running(*QTEST, "--log", log, stdin=piped("boot", "wait 1m")) as run:
        poll(logged(log, "step 2: wait"), "the wait began", 60)
        run.send(number)
        assert run.end().code == code
    assert replay(log).ok


def test_a_signal_ends_a_shell_to_which_nobody_writes(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with subprocess.Popen(
        [HPCORE, *QTEST, "--json", "--log", log],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    ) as process:  # fmt: skip
        assert process.stdin is not None
        process.stdin.write(b"boot\n")
        process.stdin.flush()
        poll(logged(log, "cold_boot_done"), "it boots", 60)
        process.terminate()
        out, _ = process.communicate(timeout=60)
    assert process.returncode == 143
    assert json.loads(out)["error"] == "terminated"
