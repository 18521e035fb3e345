"""Many logs: the same table whoever computes it, and groups of one cause."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from pathlib import Path

import pyarrow.parquet
import pytest

from hpcore.check.variants.known_bugs import ALL
from hpcore.triage.fleet import (
    COLUMNS,
    FleetRow,
    NoLogs,
    NoParquet,
    as_json,
    as_parquet,
    groups_of,
    logs_in,
    row_of,
    triage_logs,
)
from tests.support.churn import Churn, churned
from tests.support.command import hpcore, refused

MUTANTS = ("remove_waits_for_insert", "migration_quiet")


@pytest.fixture(scope="module")
def logs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two right logs, two of each mutant, one damaged, one that is no log."""
    top = tmp_path_factory.mktemp("logs")
    (top / "below").mkdir()
    for n in (1, 2):
        churned(top / f"right-{n}.jsonl", Churn(n), 100)
        for mutant in MUTANTS:
            churn = Churn(n, ALL[mutant].rules, faults=0.02, odd=0.1)
            churned(top / "below" / f"{mutant}-{n}.jsonl", churn, 1000, mutant)
            assert churn.broken is not None
    right = (top / "right-1.jsonl").read_bytes()
    (top / "damaged.jsonl").write_bytes(right.replace(b'"seq":60', b'"seq":61'))
    (top / "notes.txt").write_text("nothing of hpcore's\n")
    return top


@pytest.fixture(scope="module")
def rows(logs: Path) -> tuple[FleetRow, ...]:
    return tuple(row_of(str(path)) for path in logs_in(logs))


def by_name(rows: tuple[FleetRow, ...]) -> dict[str, FleetRow]:
    return {Path(row.log).stem: row for row in rows}


def test_each_log_has_its_verdict(rows: tuple[FleetRow, ...]) -> None:
    found = by_name(rows)
    assert {name: row.verdict for name, row in found.items()} == {
        "right-1": "right", "right-2": "right", "damaged": "damaged",
        **{f"{mutant}-{n}": "wrong" for mutant in MUTANTS for n in (1, 2)},
    }  # fmt: skip
    wrong = found["migration_quiet-1"]
    assert (wrong.invariant, wrong.machine) == ("migration_carries_all", "2 of 6")
    assert wrong.fingerprint is not None
    assert wrong.shortest is not None
    assert wrong.shortest < 30
    assert "line 61" in (found["damaged"].error or "")


def test_logs_that_are_wrong_for_one_cause_are_one_group(rows: tuple[FleetRow, ...]) -> None:
    groups = {group.invariant: group for group in groups_of(rows) if group.verdict == "wrong"}
    assert {name: group.logs for name, group in groups.items()} == {
        "removal_not_shadowed": 2, "migration_carries_all": 2,
    }  # fmt: skip
    cause = groups["migration_carries_all"].cause
    assert cause == "Migrate: machine_step_begun migrate in place of refused migration_quiet"
    for group in groups.values():
        members = [row for row in rows if row.cause == group.cause]
        best = min(row.shortest or 0 for row in members)
        assert next(r.shortest for r in members if r.log == group.representative) == best


def test_a_killed_worker_changes_nothing(logs: Path, rows: tuple[FleetRow, ...]) -> None:
    killed: list[int] = []

    def tell(_done: int, row: FleetRow) -> None:
        if not killed and row.worker != os.getpid():
            killed.append(row.worker)
            os.kill(row.worker, signal.SIGKILL)

    assert triage_logs(logs_in(logs), tell=tell) == rows
    assert killed


def test_both_tables_have_the_same_rows(rows: tuple[FleetRow, ...], tmp_path: Path) -> None:
    as_parquet(rows, tmp_path / "table.parquet")
    table = pyarrow.parquet.read_table(tmp_path / "table.parquet")
    assert table.column_names == list(COLUMNS)
    assert table.to_pylist() == json.loads(as_json(rows))["rows"]
    assert len(table) == len(rows)


def test_a_row_is_there_for_a_log_that_is_gone(tmp_path: Path) -> None:
    row = row_of(str(tmp_path / "gone"))
    assert row.verdict == "unreadable"
    assert "No such file" in (row.error or "")


def test_the_command_writes_the_table_and_names_the_groups(logs: Path, tmp_path: Path) -> None:
    some = tmp_path / "some"
    some.mkdir()
    shutil.copy(logs / "right-1.jsonl", some)
    shutil.copy(logs / "below" / "migration_quiet-1.jsonl", some)
    table = tmp_path / "table.json"
    ended = hpcore("triage", some, "--table", table, "--json")
    assert ended.code == 1
    assert ended.last["verdicts"] == {"right": 1, "wrong": 1}
    assert ended.last["groups"][0]["representative"].endswith("migration_quiet-1.jsonl")
    assert len(json.loads(table.read_bytes())["rows"]) == 2


def test_what_cannot_be_judged_together_is_refused(logs: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(NoLogs):
        logs_in(empty)
    assert "there is no log of hpcore's in it" in refused("triage", empty)
    assert ".json or .parquet" in refused("triage", logs, "--table", tmp_path / "table.csv")
    log = logs / "right-1.jsonl"
    assert "for many logs" in refused("triage", log, "--table", tmp_path / "table.json")
    assert "one directory alone" in refused("triage", logs, log)


def test_without_pyarrow_it_is_said_what_to_install(
    rows: tuple[FleetRow, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(NoParquet, match=r"pip install 'hpcore\[fleet\]'"):
        as_parquet(rows, tmp_path / "table.parquet")
