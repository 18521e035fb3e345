"""Ten thousand logs on all cores, with a worker killed in the middle, held against one process.

    python -m bench.fleet
    python -m bench.fleet --logs 1000

One log of ten is wrong. A hundred logs are made and judged in this process; the others are copies
of them, of which each row must be the one of what it is a copy of. A tenth of the logs is judged by
one worker first, for how the speed grows with a second one. The exit is 1 if a row differs, or if
no worker was killed.
"""

from __future__ import annotations

import argparse
import itertools
import logging
import os
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import attrs
import distributed

from hpcore.check.variants.known_bugs import ALL
from hpcore.triage.fleet import RIGHT, WRONG, FleetRow, groups_of, logs_in, row_of, triage_logs
from tests.support.churn import Churn, churned

MADE = 100
"""Logs that are made; the others are copies of them."""
ONE_WRONG_OF = 10
EVENTS = 100


def make(directory: Path, logs: int) -> None:
    """Write `logs` logs."""
    names = [name for name, mutant in ALL.items() if mutant.clean is None]
    seeds = itertools.count()
    for n in range(min(MADE, logs)):
        path = directory / f"{n:06}.jsonl"
        if n % ONE_WRONG_OF:
            churned(path, Churn(n, odd=0.1), EVENTS)
            continue
        for seed in seeds:
            churn = Churn(seed, ALL[names[seed % len(names)]].rules, odd=0.1, faults=0.02)
            churned(path, churn, EVENTS)
            if churn.broken is not None:
                break
    for n in range(MADE, logs):
        shutil.copy(directory / f"{n % MADE:06}.jsonl", directory / f"{n:06}.jsonl")


def by(workers: int, paths: Sequence[Path], kill_after: int | None) -> tuple[FleetRow, ...] | None:
    """The rows as that many workers make them, of whom one is killed once so many rows are there.

    None where none was killed.
    """
    killed: list[int] = []

    def tell(done: int, row: FleetRow) -> None:
        if kill_after is not None and not killed and done > kill_after:
            killed.append(row.worker)
            os.kill(row.worker, signal.SIGKILL)

    make_cluster: Any = distributed.LocalCluster  # distributed has no types
    with (
        tempfile.TemporaryDirectory() as own,
        make_cluster(
            n_workers=workers, threads_per_worker=1, dashboard_address=":0",
            silence_logs=logging.CRITICAL, local_directory=own,
        ) as cluster,
    ):  # fmt: skip
        began = time.monotonic()
        rows = triage_logs(paths, cluster.scheduler_address, tell)
        took = time.monotonic() - began
    events, cpu = sum(row.events for row in rows), sum(row.seconds for row in rows)
    print(
        f"{workers} workers{', one killed' if killed else ''}: {len(rows):,} logs, {events:,} "
        f"events in {took:.1f} s, {events / took:,.0f} a second; the workers had {cpu / took:.2f} "
        f"cores for it, and made {events / cpu:,.0f} events a second of CPU",
        flush=True,
    )
    return rows if killed or kill_after is None else None


def same(rows: Sequence[FleetRow] | None, wanted: Sequence[FleetRow]) -> bool:
    """Whether each row is the one of the log that its own is a copy of."""
    return rows is not None and all(
        row == attrs.evolve(wanted[n % MADE], log=row.log) for n, row in enumerate(rows)
    )


def main() -> int:
    """Measure; 1 if the tables differ."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--logs", type=int, default=10_000)
    logs = parser.parse_args().logs
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name).resolve()
        make(directory, logs)
        paths = logs_in(directory)
        wanted = [row_of(str(path)) for path in paths[:MADE]]
        verdicts = Counter(row.verdict for row in wanted)
        print(f"of the {len(wanted)} that are not copies: {dict(verdicts)}")
        one = by(1, paths[: logs // 10], None)
        many = by(os.cpu_count() or 1, paths, logs // 3)
    print("load of the machine by now, over 1, 5 and 15 minutes:", *os.getloadavg())
    print(f"{len(groups_of(many or ()))} groups")
    right = same(one, wanted) and same(many, wanted) and many is not None and len(many) == logs
    right &= set(verdicts) == {RIGHT, WRONG} and verdicts[WRONG] * ONE_WRONG_OF == len(wanted)
    print("the same table" if right else "THE TABLES DIFFER, or no worker was killed")
    return 0 if right else 1


if __name__ == "__main__":
    sys.exit(main())
