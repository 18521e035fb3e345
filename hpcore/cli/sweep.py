"""`hpcore check --sweep`: many checks, on this machine's cores or a Dask scheduler."""

from __future__ import annotations

import time
from pathlib import Path
from typing import NoReturn

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from hpcore.check.result import CheckError
from hpcore.check.sweep import SweepRow, read_sweep, run_sweep, verdict
from hpcore.cli.output import Output, many


def sweep(out: Output, path: Path, scheduler: str | None) -> NoReturn:
    """Make all checks of the file, show them, and exit with 1 if the verdict is no."""
    jobs = read_sweep(path)
    began = time.monotonic()
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeElapsedColumn(), console=out.people) as bar:
        task = bar.add_task("checks", total=len(jobs))

        def tell(done: int, _all: int, row: SweepRow) -> None:
            bar.update(task, completed=done, description=_label(row))

        rows = run_sweep(jobs, scheduler, tell)
    table = out.table("slots", "guest", "faults", "mutant", "engine", "states", "found")
    for row in rows:
        e = row.job.environment
        states = "" if row.states is None else many(row.states)
        table.add_row(
            str(e.slots), e.guest.name, str(e.faults), row.job.mutant or "", row.job.engine,
            states, _found(row),
            style="bold red" if row.wrong else None,
        )  # fmt: skip
    out.show(table)
    failed = [row for row in rows if row.error is not None]
    if failed and len(failed) == len(rows):
        raise CheckError(f"no check could be made: {failed[0].error}")
    out.end(
        verdict(rows),
        engine="sweep",
        states=sum(row.states or 0 for row in rows if (row.states or 0) < 1 << 53),
        seconds=round(time.monotonic() - began, 3),
        violations=sorted({v for row in rows if row.job.mutant is None for v in row.violations}),
        rows=[_plain(row) for row in rows],
    )


def _label(row: SweepRow) -> str:
    e = row.job.environment
    return f"{e.slots} slots, {e.guest.name}, {row.job.mutant or 'the protocol'}"


def _found(row: SweepRow) -> str:
    if row.error is not None:
        return f"not made: {row.error}"
    if row.violations or row.missing:
        return ", ".join((*row.violations, *(f"never: {m}" for m in row.missing)))
    return "proven" if row.job.mutant is None else "not found here"


def _plain(row: SweepRow) -> dict[str, object]:
    states = row.states
    return {
        "environment": row.job.environment.plain,
        "mutant": row.job.mutant,
        "engine": row.job.engine,
        "proven": row.proven,
        "states": states if states is None or states < 1 << 63 else f"{states:.6e}",
        "violations": list(row.violations),
        "missing": list(row.missing),
        "error": row.error,
        "seconds": round(row.seconds, 3),
    }
