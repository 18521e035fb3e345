"""Ten thousand logs, once on one worker and once on all cores with a worker killed in the middle.

    python -m bench.fleet
    python -m bench.fleet --logs 1000

One log of five is wrong. The exit is 1 if the two tables differ.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

from hpcore.check.variants.known_bugs import ALL
from hpcore.triage.fleet import FleetRow, groups_of, logs_in, row_of, triage_logs
from tests.support.churn import Churn, churned

MADE = 100
"""Logs that are made; the others are copies of them."""
EVENTS = 300


def make(directory: Path, logs: int) -> None:
    """Write `logs` logs."""
    names = [name for name, mutant in ALL.items() if mutant.clean is None]
    for n in range(min(MADE, logs)):
        rules = ALL[names[n % len(names)]].rules if n % 5 == 0 else None
        churn = Churn(n, odd=0.1) if rules is None else Churn(n, rules, odd=0.1, faults=0.02)
        churned(directory / f"{n:06}.jsonl", churn, EVENTS)
    for n in range(MADE, logs):
        shutil.copy(directory / f"{n % MADE:06}.jsonl", directory / f"{n:06}.jsonl")


def main() -> int:
    """Measure; 1 if the tables differ."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--logs", type=int, default=10_000)
    logs = parser.parse_args().logs
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        make(directory, logs)
        paths = logs_in(directory)
        began = time.monotonic()
        alone = tuple(row_of(str(path.resolve())) for path in paths)
        one = time.monotonic() - began
        events = sum(row.events for row in alone)
        print(f"one process: {one:.1f} s, {events / one:,.0f} events a second", flush=True)
        killed: list[int] = []

        def tell(done: int, row: FleetRow) -> None:
            if not killed and done > logs // 3 and row.worker not in (0, os.getpid()):
                killed.append(row.worker)
                os.kill(row.worker, signal.SIGKILL)

        began = time.monotonic()
        spread = triage_logs(paths, tell=tell)
        many = time.monotonic() - began
    cores = os.cpu_count()
    print(f"{cores} workers, one killed: {many:.1f} s, {events / many:,.0f} events a second")
    print(f"{len(groups_of(spread))} groups")
    print("the same table" if spread == alone else "THE TABLES DIFFER")
    return 0 if spread == alone and killed else 1


if __name__ == "__main__":
    sys.exit(main())
