"""`hpcore diff`: what it prints for people and for machines, and its exit codes."""

from __future__ import annotations

from pathlib import Path

import pytest

from hpcore.model import events as ev
from tests.support.command import hpcore, refused
from tests.triage.test_replay import PLUG, batches, write


@pytest.fixture
def logs(tmp_path: Path) -> tuple[Path, Path]:
    """A log of a plug, and one in which the guest says otherwise."""
    decisions = batches(*PLUG)[0]
    said = ev.OstReceived(2, 1, 0)
    changed = [tuple(ev.OstReceived(2, 1, 1) if e == said else e for e in d) for d in decisions]
    return write(tmp_path / "one", decisions), write(tmp_path / "other", changed)


def test_logs_that_agree(logs: tuple[Path, Path]) -> None:
    ended = hpcore("diff", logs[0], logs[0])
    assert ended.code == 0
    assert "The same happened: 41 events compared, none differs." in ended.out
    last = hpcore("diff", logs[0], logs[0], "--json").last
    assert (last["ok"], last["differences"], last["events"]) == (True, [], [43, 43])


def test_logs_that_differ_are_shown_side_by_side_where_they_do(logs: tuple[Path, Path]) -> None:
    ended = hpcore("diff", *logs)
    assert ended.code == 1
    marked = next(line for line in ended.out.splitlines() if line.startswith(">"))
    assert "has _OST for device check: success" in marked
    assert "has _OST for device check: failure" in marked
    where = f"first at event 42 of {logs[0]} and event 42 of {logs[1]}"
    assert f"The logs differ: {where} (what the guest did about vCPU 2)." in ended.out
    assert "vCPU 2 has its device check read" in ended.out
    assert "device check read" not in hpcore("diff", *logs, "--context", "0").out


def test_a_difference_as_one_object(logs: tuple[Path, Path]) -> None:
    error = refused("diff", *logs, code=1)
    assert error.startswith("The logs differ: first at event 42 of ")
    (found,) = hpcore("diff", *logs, "--json").last["differences"]
    assert (found["slot"], found["a"]["seq"], found["b"]["seq"]) == (2, 42, 42)
    assert found["a"]["says"] == "vCPU 2 has _OST for device check: success"


def test_a_log_from_standard_input(logs: tuple[Path, Path]) -> None:
    assert hpcore("diff", "-", logs[0], stdin=logs[0].read_bytes()).code == 0
    assert "only one of the logs" in refused("diff", "-", "-")


def test_what_is_no_log(logs: tuple[Path, Path], tmp_path: Path) -> None:
    assert "No such file" in refused("diff", logs[0], tmp_path / "none")
    assert "not a log" in refused("diff", Path(__file__), logs[0])
    logs[1].write_bytes(logs[1].read_bytes().replace(b'"slot":2', b'"slot":3', 1))
    assert "line" in refused("diff", *logs)
    assert "Missing argument 'B'" in refused("diff", logs[0])
