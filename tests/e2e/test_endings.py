"""A run that ends before its time: QEMU is killed, hpcore is told to stop, the guest is gone."""

from __future__ import annotations

import os
import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from hpcore.model.events import (
    MachineLost,
    MachinePoweredOff,
    MachineWasReset,
    Noted,
    PlugFailed,
    UnplugFailed,
)
from tests.support.command import (
    AROUND,
    Ended,
    Running,
    hpcore,
    logged,
    needs_guest,
    records,
    running,
    scenario,
)
from tests.support.waits import poll

pytestmark = needs_guest


@contextmanager
def plugging(tmp_path: Path) -> Iterator[tuple[Running, Path]]:
    """A run in the middle of plugging and unplugging, and its log."""
    log = tmp_path / "run.jsonl"
    path = scenario(tmp_path / "around.yaml", "boot", AROUND)
    with running("run", path, "--log", log, "--json") as run:
        poll(logged(log, "unplug_completed"), "a vCPU was plugged and unplugged", 90)
        yield run, log


def phase_of(log: Path) -> str:
    """Replay a log, which must be good to its end; the phase of its machine there."""
    ended = hpcore("replay", log, "--json", "--quiet")
    assert ended.code == 0, ended
    last = ended.last
    assert (last["ok"], last["torn"], last["in_flight"]) == (True, None, [])
    return str(last["state"]["shared"]["phase"])


def test_a_qemu_that_is_killed_ends_the_run_with_its_name_and_the_signal(tmp_path: Path) -> None:
    with plugging(tmp_path) as (run, log):
        os.kill(run.qemu(), signal.SIGKILL)
        ended = run.end(30)
    assert ended.code == 2, ended
    assert "hpcore: QEMU is gone: it ended with signal SIGKILL" in ended.err
    assert ended.last["ok"] is False
    assert "QEMU is gone" in ended.last["error"]
    assert isinstance(records(log)[-1].event, MachineLost)
    assert phase_of(log) == "failed"


def test_a_qemu_that_is_killed_before_the_guest_is_up_ends_the_run_at_once(tmp_path: Path) -> None:
    log = tmp_path / "run.jsonl"
    with running("run", "cover-letter", "--log", log, "--json") as run:
        qemu = run.qemu()
        poll(logged(log, '"machine_step_begun","step":"start"'), "the guest was started", 60)
        os.kill(qemu, signal.SIGKILL)
        ended = run.end(30)
    assert ended.code == 2, ended
    assert "QEMU is gone" in ended.last["error"]
    assert phase_of(log) == "failed"


def test_a_qemu_that_is_killed_as_soon_as_it_starts_is_named(tmp_path: Path) -> None:
    log = tmp_path / "run.jsonl"
    with running("run", "cover-letter", "--log", log, "--json") as run:
        os.kill(run.qemu(), signal.SIGKILL)
        ended = run.end(60)
    assert ended.code in (1, 2), ended
    assert "QEMU" in ended.last["error"]
    assert phase_of(log) in ("failed", "created", "ended")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_machine_cleanly_wherever_it_is(
    tmp_path: Path, number: signal.Signals
) -> None:
    with plugging(tmp_path) as (run, log):
        run.send(number)
        ended = run.end(30)
    assert ended.code == 128 + number, ended
    said = "interrupted" if number is signal.SIGINT else "terminated"
    assert ended.last == {"ok": False, "error": said}
    assert f"hpcore: {said}" in ended.err
    assert records(log)[-1].event == MachinePoweredOff("user")
    assert phase_of(log) == "ended"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_guest_that_is_still_booting(
    tmp_path: Path, number: signal.Signals
) -> None:
    log = tmp_path / "run.jsonl"
    with running("run", "cover-letter", "--log", log, "--json") as run:
        poll(logged(log, '"machine_step_begun","step":"start"'), "the guest was started", 60)
        run.send(number)
        ended = run.end(30)
    assert ended.code == 128 + number, ended
    assert phase_of(log) == "ended"


def test_more_signals_change_nothing(tmp_path: Path) -> None:
    with plugging(tmp_path) as (run, log):
        os.kill(run.qemu(), signal.SIGSTOP)  # so that the end takes a while
        for number in (signal.SIGINT, signal.SIGINT, signal.SIGTERM, signal.SIGINT):
            run.send(number)
            poll(partial(taken, run.pid, number), "the signal was taken")
        os.kill(run.qemu(), signal.SIGCONT)
        ended = run.end(60)
    assert ended.code == 130, ended
    assert ended.err.count("interrupted") == 1
    assert phase_of(log) == "ended"


def taken(pid: int, number: signal.Signals) -> bool:
    """Whether a process has no such signal waiting for it any more."""
    status = Path(f"/proc/{pid}/status").read_text()
    masks = [line.split()[1] for line in status.splitlines() if line.startswith("ShdPnd")]
    return not int(masks[0], 16) >> (number - 1) & 1


def ran(tmp_path: Path, *steps: str) -> tuple[Ended, Path]:
    log = tmp_path / "run.jsonl"
    return hpcore("run", scenario(tmp_path / "s.yaml", *steps), "--log", log, "--json"), log


def failed_step(ended: Ended) -> dict[str, Any]:
    """Of a run whose step failed: the step and its error."""
    assert ended.code == 1, ended
    last = ended.last
    assert last["ok"] is False
    assert last["error"] == last["failed"]["error"]
    assert "FAIL" in ended.err
    return dict(last["failed"])


def test_a_guest_that_powers_off_amid_the_steps_fails_the_step_and_is_named(
    tmp_path: Path,
) -> None:
    ended, log = ran(tmp_path, "boot", 'shell: "(sleep 0.3; poweroff -f) &"', AROUND)
    assert "off" in failed_step(ended)["error"]
    events = [r.event for r in records(log)]
    assert MachinePoweredOff("guest") in events
    # A plug or unplug that was still owed its end is told so by the run, which ends the machine.
    owed = any(isinstance(event, PlugFailed | UnplugFailed) for event in events)
    assert phase_of(log) == ("ended" if owed else "off")


def test_a_guest_that_panics_amid_the_steps_fails_the_step_and_starts_anew(
    tmp_path: Path,
) -> None:
    panic = 'shell: "(sleep 0.3; echo c > /proc/sysrq-trigger) & sleep 60"'
    ended, log = ran(tmp_path, "boot", panic, AROUND)
    said = "started anew while `(sleep 0.3; echo c > /proc/sysrq-trigger) & sleep 60` ran, after a "
    assert f"{said}panic (Kernel panic - not syncing: sysrq" in failed_step(ended)["error"]
    assert any(isinstance(r.event, MachineWasReset) for r in records(log))
    assert phase_of(log) == "ended"


CRASH = "echo c > /proc/sysrq-trigger"


def test_panics_that_a_good_boot_follows_are_for_the_scenario_to_judge(tmp_path: Path) -> None:
    crash = f'{{shell: "{CRASH}", fails: "panic (Kernel panic - not syncing: sysrq triggered"}}'
    ended, log = ran(tmp_path, "boot", crash, "shell: uname", crash, "shell: uname", "plug: 1")
    assert ended.code == 0, ended
    noted = [r.event.text for r in records(log) if isinstance(r.event, Noted)]
    assert sum(text.startswith("the guest panicked: Kernel panic") for text in noted) == 2
    assert phase_of(log) == "ended"


def test_a_guest_that_panics_at_every_boot_is_given_up_after_the_second(tmp_path: Path) -> None:
    log, console = tmp_path / "run.jsonl", tmp_path / "console"
    path = scenario(tmp_path / "s.yaml", "boot")
    options = ("--log", log, "--console", console, "--append", "rdinit=/nothing")
    ended = hpcore("run", path, *options, "--json")
    error = failed_step(ended)["error"]
    assert "the guest panicked in 2 boots in a row: Kernel panic - not syncing: VFS:" in error
    assert "is there an /init in the initrd" in error
    assert console.read_bytes().count(b"] Kernel panic - not syncing") == 2
    assert sum(isinstance(r.event, MachineWasReset) for r in records(log)) == 1
    assert phase_of(log) == "ended"


def test_a_guest_that_stays_panicked_is_waited_for_no_longer(tmp_path: Path) -> None:
    path = scenario(
        tmp_path / "s.yaml", "boot",
        f'{{shell: "{CRASH}", fails: stays so until it is reset}}', "reset", "shell: uname",
    )  # fmt: skip
    log = tmp_path / "run.jsonl"
    ended = hpcore("run", path, "--log", log, "--append", "panic=0", "--json")
    assert ended.code == 0, ended
    assert phase_of(log) == "ended"


def test_a_console_that_cannot_be_kept_ends_the_run_and_the_machine(tmp_path: Path) -> None:
    log = tmp_path / "run.jsonl"
    path = scenario(tmp_path / "s.yaml", "boot")
    ended = hpcore("run", path, "--log", log, "--console", "/dev/full", "--json")
    assert ended.code == 2, ended
    assert ended.last["error"] == "/dev/full: cannot keep the console: No space left on device"
    assert phase_of(log) == "ended"


def test_a_log_that_cannot_grow_ends_the_run_and_the_machine(tmp_path: Path) -> None:
    with plugging(tmp_path) as (run, log):
        limit = log.stat().st_size + 1000
        resource.prlimit(run.pid, resource.RLIMIT_FSIZE, (limit, limit))
        ended = run.end(30)
    assert ended.code == 2, ended
    error = ended.last["error"]
    assert f"{log}: cannot write the log: File too large" in error
    assert "the log is whole up to the event before" in error
    assert "hpcore: " in ended.err
    replayed = hpcore("replay", log, "--json", "--quiet")
    assert replayed.code == 0, replayed
    assert replayed.last["torn"] is None
    assert replayed.last["state"]["shared"]["phase"] == "running"
