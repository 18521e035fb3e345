"""Survivors that are known, and the report of a run."""

from __future__ import annotations

import json
from pathlib import Path

import click
import pytest

from tests.mutation.__main__ import _survivors_in
from tests.mutation.forks import Outcome
from tests.mutation.known import Known, KnownError, KnownList, read_known
from tests.mutation.mutants import Mutant, mutants_of
from tests.mutation.report import Report, Tried

SURVIVES, FOUND = Outcome(None), Outcome("failed", "t.py::a")


def only_mutant(source: str, operator: str) -> Mutant:
    (mutant,) = (m for m in mutants_of("a.py", source, {}) if m.operator == operator)
    return mutant


MUTANT = only_mutant("a = b is c\n", "compare")
KNOWN = Known("a.py", "compare", "a = b is c", None, True, "there is one of each")


def test_an_entry_is_of_its_line_wherever_that_stands() -> None:
    moved = only_mutant("\n\na = b is c\n", "compare")
    assert KnownList([KNOWN]).of(moved) == KNOWN
    assert KnownList([KNOWN]).of(only_mutant("a = b is d\n", "compare")) is None


def test_an_entry_can_mean_one_of_several_changes() -> None:
    entry = Known("a.py", "compare", "a = b < c", "a = b <= c", True, "they are never equal")
    known = KnownList([entry])
    found = {m.after: known.of(m) for m in mutants_of("a.py", "a = b < c\n", {})}
    assert found == {"a = b <= c": entry, "a = b >= c": None}


def test_an_entry_of_no_mutant_is_named_where_its_file_was_looked_at() -> None:
    old = Known("a.py", "compare", "a = b is gone", None, True, "")
    known = KnownList([KNOWN, old, Known("b.py", "compare", "a", None, True, "")])
    assert known.without_mutant([MUTANT], ["a.py"]) == [old]


def test_an_entry_without_its_reason_is_refused(tmp_path: Path) -> None:
    (tmp_path / "list").write_text('[[left]]\nfile = "a"\noperator = "b"\nline = "c"\n')
    with pytest.raises(KnownError, match="entry 1 has, or lacks, why"):
        read_known(tmp_path / "list")


def test_the_projects_own_list_can_be_read() -> None:
    assert all(entry.why for entry in read_known().entries)


def report(*tried: tuple[Outcome, Known | None]) -> Report:
    return Report(1, {"a.py": 200}, [Tried(MUTANT, *one) for one in tried])


def test_an_equivalent_mutant_counts_for_nothing_and_another_survivor_counts() -> None:
    left = Known("a.py", "compare", "a = b is c", None, False, "not worth it")
    some = report(*[(FOUND, None)] * 7, (SURVIVES, KNOWN), (SURVIVES, left), (SURVIVES, None))
    row = some.total
    assert (row.tried, row.found, row.survivors, row.equivalent) == (10, 7, 2, 1)
    assert row.share == 7 / 9


def test_fewer_than_97_of_100_are_too_few() -> None:
    assert report(*[(FOUND, None)] * 97, *[(SURVIVES, None)] * 3).passed
    assert not report(*[(FOUND, None)] * 96, *[(SURVIVES, None)] * 4).passed


def test_the_report_shows_each_survivor_with_its_change_and_its_reason() -> None:
    left = Known("a.py", "compare", "a = b is c", None, False, "not worth it")
    text = "\n".join(report((SURVIVES, None), (SURVIVES, left), (FOUND, None)).lines())
    assert text.count("  a.py:1: compare\n    - a = b is c\n    + a = b is not c\n") == 2
    assert "    not worth it" in text


def test_an_entry_whose_mutant_is_found_is_named() -> None:
    assert "yet found" in "\n".join(report((FOUND, KNOWN)).lines())


def test_the_json_says_what_the_table_says() -> None:
    found = report((FOUND, None), (SURVIVES, None)).as_json()
    assert found["files"] == [{"file": "a.py", "mutants": 200, "tried": 2, "found": 1,
                               "survivors": 1, "equivalent": 0, "share": 0.5}]  # fmt: skip
    assert not found["passed"]
    (survivor,) = found["survivors"]
    assert (survivor["line"], survivor["after"]) == (1, "a = b is not c")


def test_the_survivors_of_a_result_can_be_tried_again(tmp_path: Path) -> None:
    kept = tmp_path / "result.json"
    kept.write_text(json.dumps(report((SURVIVES, None)).as_json()))
    moved = mutants_of("a.py", "\n\na = b is c\nd = 1\n", {})
    assert [m.line for m in _survivors_in(kept, moved)] == [3]
    with pytest.raises(click.UsageError, match="no survivors to try again"):
        _survivors_in(tmp_path / "none", moved)
