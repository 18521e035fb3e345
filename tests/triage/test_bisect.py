"""A good log and a bad one: which of their differences matter."""

from __future__ import annotations

from pathlib import Path

import pytest

from hpcore.model import stimuli as st
from hpcore.triage.bisect import bisect, edited
from hpcore.triage.case import NoCase, entries_of, run
from tests.support.churn import Churn, churned
from tests.support.command import hpcore
from tests.triage.test_shrink import grabbed


@pytest.fixture(scope="module")
def bad(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return grabbed(tmp_path_factory.mktemp("bad") / "bad.jsonl", 2, "core2")


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of the same machine in which nothing is wrong, and other things are done as well."""
    path = tmp_path_factory.mktemp("good") / "good.jsonl"
    churned(path, Churn(3, cpus=1, maxcpus=4, faults=0), 300)
    return path


def test_the_least_differences_are_found_that_break_the_good_log(good: Path, bad: Path) -> None:
    found = bisect(good, bad)
    assert found.run.broken is not None
    assert found.run.broken.invariant == "eject_requested_and_off"
    assert any(edit.in_bad and edit.entry.stimulus == st.EjectCalled(2) for edit in found.edits)
    assert len(found.edits) < found.of / 4
    _, entries, _ = entries_of(good)
    for at in range(len(found.edits)):
        rest = run(found.case, edited(entries, (*found.edits[:at], *found.edits[at + 1 :])))
        assert rest.broken is None or rest.broken.invariant != "eject_requested_and_off"


def test_no_difference_leaves_the_good_log_as_it_is(good: Path) -> None:
    _, entries, _ = entries_of(good)
    assert edited(entries, ()) == entries


def test_what_cannot_be_held_against_each_other_is_refused(
    good: Path, bad: Path, tmp_path: Path
) -> None:
    with pytest.raises(NoCase, match="the good log is wrong itself"):
        bisect(bad, bad)
    with pytest.raises(NoCase, match="no event of the log"):
        bisect(good, good)
    churned(tmp_path / "other", Churn(1), 100)
    with pytest.raises(NoCase, match="the machines of the two logs are not the same"):
        bisect(tmp_path / "other", bad)


def test_the_command_names_the_event_of_the_bad_log(good: Path, bad: Path) -> None:
    ended = hpcore("bisect", good, bad, "--json")
    assert ended.code == 0
    (eject,) = (one for one in ended.last["matter"] if one["says"].startswith("EjectCalled"))
    assert eject["log"] == "bad"
    assert eject["seq"] == entries_of(bad)[1][-1].seq
