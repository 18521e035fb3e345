"""A log's events are grouped into decisions, and folded up to what breaks something."""

from __future__ import annotations

from pathlib import Path

import pytest

from hpcore.log import LogDamaged, read
from hpcore.log.fold import LoggedDecision, decisions, fold
from hpcore.model.effects import Step
from hpcore.model.events import Noted, StepDone
from hpcore.model.states import initial
from tests.log.samples import MACHINE, SOME, write


def grouped(path: Path) -> list[LoggedDecision]:
    return list(decisions(iter(read(path)[1])))


def test_each_append_is_a_decision_and_the_last_may_be_cut_short(tmp_path: Path) -> None:
    write(tmp_path / "log")
    found = grouped(tmp_path / "log")
    assert [[r.event for r in one.records] for one in found] == [list(one) for one in SOME]
    assert [one.settled for one in found] == [True] * (len(SOME) - 1) + [False]


def test_a_log_without_events_has_no_decision(tmp_path: Path) -> None:
    write(tmp_path / "log", [])
    assert grouped(tmp_path / "log") == []


@pytest.mark.parametrize("good", [1, 3, 5])
def test_the_decision_that_damage_cuts_short_comes_before_the_error(
    tmp_path: Path, good: int
) -> None:
    path = tmp_path / "log"
    lines = write(path)
    path.write_bytes(b"".join([*lines[:good], b"{}\n", *lines[good:]]))
    found: list[LoggedDecision] = []
    with pytest.raises(LogDamaged):
        found.extend(decisions(read(path)[1]))
    events = [r.seq for one in found for r in one.records]
    assert events == list(range(1, good))
    assert [one.settled for one in found][-1:] == [False][: good - 1]


def test_what_follows_the_first_that_breaks_something_is_not_folded(tmp_path: Path) -> None:
    breaks = StepDone(2, Step.REALIZE)
    write(tmp_path / "log", [[Noted("before"), breaks, Noted("after"), Noted("later")]])
    (decision,) = grouped(tmp_path / "log")
    folded = list(fold(initial(MACHINE), decision))
    assert [record.event for record, _ in folded] == [Noted("before"), breaks]
    assert [one.violation is None for _, one in folded] == [True, False]
