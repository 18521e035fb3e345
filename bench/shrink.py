"""How small failing logs become, and how long that takes: 200 logs by wrong rules.

    python -m bench.shrink
    python -m bench.shrink --logs 20 --least 500 --most 5000

Each log is of a machine used at random by the rules of a mutant, up to the event that breaks an
invariant. Every one that is shrunk must break the same invariant again; the exit is 1 if not.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from attrs import frozen

from hpcore.check.variants.known_bugs import ALL
from hpcore.triage.case import case_of
from hpcore.triage.replay import replay
from hpcore.triage.shrink import shrink, write_shrunk
from tests.support.churn import Churn, churned


@frozen
class Measured:
    """One log: its mutant, sizes in events, and seconds of CPU to read it and to shrink it."""

    mutant: str
    invariant: str
    events: int
    left: int
    stimuli: int
    reading: float
    shrinking: float
    same: bool


def failing(path: Path, least: int, most: int) -> Iterator[tuple[str, int]]:
    """Write one failing log after the other to `path`; the mutant's name and the events."""
    mutants = [mutant for mutant in ALL.values() if mutant.clean is None]
    for seed in itertools.count():
        for mutant in mutants:
            churn = Churn(seed, mutant.rules, odd=0.02 + 0.02 * (seed % 4), faults=0.01)
            events = churned(path, churn, most, mutant.name)
            if churn.broken is not None and least <= events <= most:
                yield mutant.name, events


def measure(path: Path, mutant: str, events: int) -> Measured:
    """Shrink the log at `path`."""
    began = time.process_time()
    case = case_of(path)
    read = time.process_time()
    found = shrink(case)
    done = time.process_time()
    small = path.with_suffix(".small")
    left = write_shrunk(small, found, overwrite=True) - 1
    wrong = replay(small).wrong
    same = wrong is not None and wrong.violation.invariant == case.broken.invariant
    return Measured(
        mutant, case.broken.invariant, events, left, len(found.taken), read - began, done - read,
        same,
    )  # fmt: skip


def main() -> int:
    """Measure, print a line a log and a summary; 1 if a shrunk log does not break the same."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--logs", type=int, default=200)
    parser.add_argument("--least", type=int, default=500)
    parser.add_argument("--most", type=int, default=5000)
    options = parser.parse_args()
    found: list[Measured] = []
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "log.jsonl"
        for mutant, events in failing(path, options.least, options.most):
            one = measure(path, mutant, events)
            found.append(one)
            print(f"{one.mutant:32} {one.events:6} -> {one.left:4} events, "
                  f"{one.shrinking:6.2f} s  {one.invariant}", flush=True)  # fmt: skip
            if len(found) == options.logs:
                break
    for name in ("events", "left", "stimuli", "reading", "shrinking"):
        values = [getattr(one, name) for one in found]
        print(f"{name:10} median {statistics.median(values):8.2f}   worst {max(values):8.2f}")
    print("invariants:", dict(Counter(one.invariant for one in found)))
    print("mutants:", len({one.mutant for one in found}))
    same = sum(one.same for one in found)
    print(f"{same} of {len(found)} break the same invariant")
    return 0 if same == len(found) else 1


if __name__ == "__main__":
    sys.exit(main())
