"""How small failing logs become, and how long that takes: 200 logs by wrong rules.

    python -m bench.shrink
    python -m bench.shrink --logs 20 --least 500 --most 5000
    python -m bench.shrink --kept measured.jsonl    # ended early, it goes on where it was

Each log is of a machine used at random by the rules of a mutant, up to the event that breaks an
invariant. Every one that is shrunk must break the same invariant again, and must not have become
longer; the exit is 1 if not.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from attrs import asdict, frozen

from hpcore.check.variants.known_bugs import ALL
from hpcore.triage.case import case_of
from hpcore.triage.replay import replay
from hpcore.triage.shrink import shrink, write_shrunk
from hpcore.version import __version__
from tests.support.churn import Churn, churned


@frozen
class Measured:
    """One log: the machine that it is of, its mutant, sizes in events, and seconds of CPU to read
    it and to shrink it. `same` says that what is left breaks the same.
    """

    machine: int
    mutant: str
    invariant: str
    events: int
    left: int
    stimuli: int
    reading: float
    shrinking: float
    same: bool


def failing(path: Path, least: int, most: int, since: int) -> Iterator[tuple[int, str, int]]:
    """Write one failing log after the other to `path`: of which machine, by which mutant, and how
    many events. The machines are numbered; `since` is the first that is used.
    """
    mutants = [mutant for mutant in ALL.values() if mutant.clean is None]
    for machine in itertools.count(since):
        seed, n = divmod(machine, len(mutants))
        mutant = mutants[n]
        churn = Churn(seed, mutant.rules, odd=0.02 + 0.02 * (seed % 4), faults=0.01)
        events = churned(path, churn, most, mutant.name)
        if churn.broken is not None and least <= events <= most:
            yield machine, mutant.name, events


def measure(path: Path, machine: int, mutant: str, events: int) -> Measured:
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
        machine, mutant, case.broken.invariant, events, left, len(found.taken), read - began,
        done - read, same and left <= events,
    )  # fmt: skip


def main() -> int:
    """Measure, print a line a log and a summary; 1 if a shrunk log does not break the same."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--logs", type=int, default=200)
    parser.add_argument("--least", type=int, default=500)
    parser.add_argument("--most", type=int, default=5000)
    parser.add_argument("--kept", type=Path, metavar="FILE", help="write what is measured to it")
    options = parser.parse_args()
    of = {"least": options.least, "most": options.most, "hpcore": __version__}
    found = [] if options.kept is None else taken_up(options.kept, of, parser)
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "log.jsonl"
        logs = failing(path, options.least, options.most, found[-1].machine + 1 if found else 0)
        while len(found) < options.logs:
            one = measure(path, *next(logs))
            found.append(one)
            print(f"{one.mutant:32} {one.events:6} -> {one.left:4} events, "
                  f"{one.shrinking:6.2f} s  {one.invariant}", flush=True)  # fmt: skip
            if options.kept is not None:
                with options.kept.open("a") as kept:
                    print(json.dumps(asdict(one)), file=kept)
    return summary(found)


def taken_up(kept: Path, of: dict[str, object], parser: argparse.ArgumentParser) -> list[Measured]:
    """What an earlier run has measured, or the beginning of a file for this one to write."""
    if not kept.exists():
        kept.write_text(json.dumps(of) + "\n")
        return []
    first, *lines = kept.read_text().splitlines()
    if json.loads(first) != of:
        parser.error(f"{kept} is of other options or another hpcore: {first}")
    return [Measured(**json.loads(line)) for line in lines]


def summary(found: list[Measured]) -> int:
    """Print it; 1 if a shrunk log does not break the same."""
    for name in ("events", "left", "stimuli", "reading", "shrinking"):
        values = [getattr(one, name) for one in found]
        print(f"{name:10} median {statistics.median(values):8.2f}   worst {max(values):8.2f}")
    print("invariants:", dict(Counter(one.invariant for one in found)))
    print("mutants:", len({one.mutant for one in found}))
    print("load of the machine by now, over 1, 5 and 15 minutes:", *os.getloadavg())
    same = sum(one.same for one in found)
    print(f"{same} of {len(found)} break the same invariant")
    return 0 if same == len(found) else 1


if __name__ == "__main__":
    sys.exit(main())
