"""`hpcore triage DIRECTORY`: many logs, on this machine's cores or a Dask scheduler."""

from __future__ import annotations

import time
from pathlib import Path
from typing import NoReturn

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from hpcore.cli.output import Output, Problem
from hpcore.cli.output_file import write_file
from hpcore.errors import printable
from hpcore.triage.fleet import (
    BAD,
    FleetRow,
    Group,
    as_json,
    as_parquet,
    groups_of,
    logs_in,
    triage_logs,
)

SHOWN = 40
"""Groups that are shown; the table has all."""


def check_table(path: Path | None) -> None:
    """Raise Problem unless the suffix of `path` says which kind of table is wanted."""
    if path is not None and path.suffix not in (".json", ".parquet"):
        raise Problem(f"{path}: name the table .json or .parquet")


def fleet(out: Output, directory: Path, scheduler: str | None, table: Path | None) -> NoReturn:
    """Judge every log below `directory`; exit with 1 if one is wrong or damaged."""
    paths = logs_in(directory)
    began = time.monotonic()
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeElapsedColumn(), console=out.people) as bar:
        task = bar.add_task("logs", total=len(paths))
        rows = triage_logs(paths, scheduler, lambda done, _row: bar.update(task, completed=done))
    seconds = time.monotonic() - began
    groups = groups_of(rows)
    _show(out, directory, rows, groups)
    events = sum(row.events for row in rows)
    out.say(f"{len(rows)} logs, {events:,} events, {seconds:.1f} s")
    if table is not None:
        if table.suffix == ".json":
            write_file(table, as_json(rows))
        else:
            as_parquet(rows, table)
        out.say(f"A row for each log is in {table}")
    verdicts: dict[str, int] = {}
    for row in rows:
        verdicts[row.verdict] = verdicts.get(row.verdict, 0) + 1
    out.end(
        not any(row.verdict in BAD for row in rows),
        logs=len(rows),
        events=events,
        verdicts=verdicts,
        groups=[_plain(group) for group in groups],
        table=None if table is None else str(table),
        seconds=round(seconds, 3),
        cpu_seconds=round(sum(row.seconds for row in rows), 3),
    )


def _show(
    out: Output, directory: Path, rows: tuple[FleetRow, ...], groups: tuple[Group, ...]
) -> None:
    by_name = {row.log: row for row in rows}
    top = directory.resolve()
    if groups:
        shown = out.table("logs", "verdict", "invariant", "cause", "shortest", "for example")
        for group in groups[:SHOWN]:
            best = by_name[group.representative]
            example = Path(best.log)
            short = example.relative_to(top) if example.is_relative_to(top) else example
            shown.add_row(
                str(group.logs), group.verdict, group.invariant or "",
                printable(group.cause or best.error or ""),
                "" if best.shortest is None else str(best.shortest), printable(str(short)),
            )  # fmt: skip
        out.show(shown)
        if len(groups) > SHOWN:
            out.say(f"and {len(groups) - SHOWN} groups more")
    right = sum(row.verdict == "right" for row in rows)
    style = "green" if right == len(rows) else "red"
    out.say(f"{right} of {len(rows)} logs are right.", style=style)


def _plain(group: Group) -> dict[str, object]:
    return {
        "verdict": group.verdict, "invariant": group.invariant, "cause": group.cause,
        "logs": group.logs, "fingerprints": group.fingerprints,
        "representative": group.representative,
    }  # fmt: skip
