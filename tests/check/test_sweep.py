"""A sweep: the same rows whichever way it runs, a worker killed in the middle included."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import attrs
import pytest

from hpcore.check.result import CheckError
from hpcore.check.sweep import SweepJob, SweepRow, read_sweep, run_one, run_sweep, verdict
from hpcore.check.world.environment import Environment
from hpcore.check.world.guests import HOSTILE, LINUX

SMALL = """
slots: [1, 2]
guest: [linux, hostile]
faults: 0
reset: false
migration: false
mutants: [none, eject_powered_off]
engines: [symbolic, explicit]
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "sweep.yaml"


def test_a_sweep_is_all_combinations_in_order(file: Path) -> None:
    file.write_text(SMALL)
    jobs = read_sweep(file)
    assert len(jobs) == 16
    least = Environment(slots=1, guest=LINUX, faults=0, reset=False, migration=False)
    assert jobs[0] == SweepJob(least)
    assert jobs[-1] == SweepJob(
        Environment(slots=2, guest=HOSTILE, faults=0, reset=False, migration=False),
        "eject_powered_off",
        "explicit",
    )


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "a sweep maps options to values"),
        ("slots: [", "not YAML"),
        ("slats: 3", "'slats' is no option of a sweep"),
        ("slots: 0", "0 slots make no machine"),
        ("slots: 1000", "1000 slots make no machine"),
        ("slots: two", "slots is 'two'"),
        ("guest: windows", "there is no guest 'windows'"),
        ("mutants: eject_powered_of", "Did you mean 'eject_powered_off'?"),
        ("engines: magic", "'magic' is no engine"),
        (f"slots: {list(range(1, 400))}\nfaults: {list(range(400))}", "; a sweep has 1 to 100000"),
        ("slots: []", "0 checks; a sweep has 1 to 100000"),
        (f"slots: {'[' * 5000}", "nested more than 64 levels deep"),
        ("slots: &a [*a]", "*a stands within what it names"),
        (f"slots: &a [{'1, ' * 5000}2]\nboot: [{'*a, ' * 200}*a]", "its aliases stand for more"),
        ("slots: [2]" + " " * (1 << 20), "larger than 1048576 bytes"),
        ("slots: true", "slots is True"),
        ("reset: 1", "reset is 1"),
        ("commands: [[1]]", "commands is [1]"),
        ("guest: [[linux]]", "there is no guest ['linux']"),
    ],
)
def test_a_wrong_sweep_is_told_what(file: Path, text: str, says: str) -> None:
    file.write_text(text)
    with pytest.raises(CheckError) as error:
        read_sweep(file)
    assert says in str(error.value)
    assert str(file) in str(error.value)


def test_values_may_be_named_and_used_again(file: Path) -> None:
    file.write_text("slots: &few 2\nfaults: *few\nreset: &no false\nmigration: *no\ncommands: 0x1")
    (job,) = read_sweep(file)
    assert job.environment == Environment(
        slots=2, faults=2, reset=False, migration=False, commands=1
    )


def test_a_sweep_that_is_too_large_is_refused_before_its_checks_are_made(file: Path) -> None:
    ten = "[2, 2, 2, 2, 2, 2, 2, 2, 2, 2]"
    no = "[no, no, no, no, no, no, no, no, no, no]".replace("no", "false")
    file.write_text("".join(
        f"{option}: {no if option in ('reset', 'migration', 'pause', 'power_off') else ten}\n"
        for option in ("slots", "boot", "faults", "commands", "reset", "migration", "pause")
    ) + "power_off: " + no + "\nmutants: " + ten)
    with pytest.raises(CheckError, match="1000000000 checks; a sweep has"):
        read_sweep(file)


def test_a_killed_worker_changes_nothing(file: Path) -> None:
    file.write_text(SMALL)
    jobs = read_sweep(file)
    killed: list[int] = []

    def tell(_done: int, _all: int, row: SweepRow) -> None:
        if not killed and row.worker != os.getpid():
            killed.append(row.worker)
            os.kill(row.worker, signal.SIGKILL)

    rows = run_sweep(jobs, tell=tell)
    assert killed
    assert rows == tuple(run_one(job) for job in jobs)
    assert len({row.worker for row in rows}) > 1
    assert all(row.error is None for row in rows)


def test_a_mutant_must_be_found_somewhere_and_the_rules_proven_everywhere(file: Path) -> None:
    file.write_text(
        "slots: 2\nguest: [linux, hostile]\nfaults: 0\nmutants: [none, eject_powered_off]"
    )
    rows = [run_one(job) for job in read_sweep(file)]
    assert [bool(row.violations) for row in rows] == [False, False, False, True]
    assert verdict(rows)
    assert not verdict(rows[:3])
    assert not verdict([attrs.evolve(rows[0], proven=False)])


def test_a_scheduler_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hpcore.spread.CONNECT_SECONDS", 2)
    with pytest.raises(CheckError, match=r"no Dask scheduler answers at tcp://127\.0\.0\.1:9"):
        run_sweep([SweepJob(Environment(slots=1))], "tcp://127.0.0.1:9")
