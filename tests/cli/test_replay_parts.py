"""`hpcore replay` of parts of a log, of a log in segments, and of one that is being written."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from hpcore.log import LogWriter, Sync, read
from hpcore.log.segments import numbers
from tests.log.test_segments import HEADER, SMALL, Life
from tests.log.test_segments import write as write_segments
from tests.support.command import hpcore, refused
from tests.support.waits import poll


def said(log: Path, *options: str) -> list[int]:
    """The numbers of the events that are said of `log`."""
    ended = hpcore("replay", log, *options)
    assert ended.code == 0, ended
    return [int(line[1:7]) for line in ended.out.splitlines() if line[1:7].strip().isdigit()]


@pytest.fixture
def log(tmp_path: Path) -> Path:
    write_segments(tmp_path / "run.jsonl", rounds=6)
    return tmp_path / "run.jsonl"


def test_a_part_of_a_log_is_said_by_its_first_and_last_event(log: Path) -> None:
    assert said(log, "--from", "40", "--to", "60") == list(range(40, 61))
    last = hpcore("replay", log, "--json").last["events"]
    assert said(log, "--from", str(last)) == [last]
    assert said(log, "--to", "3") == [1, 2, 3]


def test_older_segments_are_not_read_for_a_part_and_that_is_said(log: Path) -> None:
    last = hpcore("replay", log, "--json").last["events"]
    ended = hpcore("replay", log, "--from", str(last), "--json").last
    assert ended["first"] == read(f"{log}.{numbers(str(log))[-1]:06}")[0].first
    assert ended["state"] == hpcore("replay", log, "--json").last["state"]
    words = hpcore("replay", log, "--from", str(last)).out
    assert f"What was before event {ended['first']} is taken as its first file has it." in words
    assert f"State after event {last}" in words


def test_with_an_end_nothing_is_said_of_how_the_machine_ended(log: Path) -> None:
    assert "does not say how the machine ended" in hpcore("replay", log).out
    assert "does not say how the machine ended" not in hpcore("replay", log, "--to", "30").out


def test_what_is_about_one_vcpu_is_said_alone(log: Path) -> None:
    numbers_of = {n: said(log, "--cpu", str(n)) for n in (2, 3)}
    assert said(log, "--cpu", "2", "--cpu", "3") == sorted(numbers_of[2] + numbers_of[3])
    by_hand = [r.seq for r in read(log)[1] if getattr(r.event, "slot", None) == 2]
    assert numbers_of[2] == by_hand


def test_an_event_that_is_not_there_is_named(log: Path) -> None:
    last = hpcore("replay", log, "--json").last["events"]
    assert f"there is no event {last + 1}; the last is {last}" in refused(
        "replay", log, "--from", str(last + 1)
    )
    assert "there is nothing from event 9 to event 8" in refused(
        "replay", log, "--from", "9", "--to", "8"
    )
    log.unlink()
    assert "event 3 is not kept; the first that is is " in refused("replay", log, "--at", "3")


def test_a_log_that_is_cut_within_a_decision_is_told_so(tmp_path: Path) -> None:
    path = tmp_path / "log"
    with LogWriter.create(path, HEADER, sync=Sync.OS) as log:
        Life(log).boot().go_round(2)
    later = next(r.seq for r in read(path)[1] if r.batch is not None and r.seq > 30)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:later]))
    ended = hpcore("replay", path, "--quiet")
    assert ended.code == 0
    assert "in the middle of a decision, of which 1 more events are missing." in ended.out
    assert hpcore("replay", path, "--json").last["lacks"] == 1


def test_a_log_is_followed_as_long_as_somebody_writes_it(tmp_path: Path) -> None:
    """Over its segments; what is said comes as it is written, also the last decision of all."""
    path = tmp_path / "log"
    with LogWriter.create(path, HEADER, sync=Sync.OS, rotation=SMALL) as log:
        life = Life(log).boot()
        command = [sys.executable, "-m", "hpcore", "replay", str(path), "--follow"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as following:
            assert following.stdout is not None
            seen: list[int] = []

            def come_to(seq: int) -> None:
                for line in following.stdout or ():
                    if line[1:7].strip().isdigit():
                        seen.append(int(line[1:7]))
                    if seen and seen[-1] == seq:
                        return

            try:
                for n in (2, 3, 2, 3, 2, 3):
                    life.go_round(n)
                    come_to(log.next_seq - 1)
                assert len(numbers(str(path))) > 1
                last = log.next_seq - 1
                log.close()
                rest = following.stdout.read()
            finally:
                following.kill()
    assert seen == list(range(1, last + 1))
    assert f"{last} events, every invariant held at each." in rest
    assert poll(lambda: following.returncode is not None, "the follower's end")
    assert following.returncode == 0


def test_a_log_that_nobody_writes_is_followed_to_its_end(log: Path) -> None:
    began = time.monotonic()
    assert said(log, "--follow") == said(log)
    assert time.monotonic() - began < 30
