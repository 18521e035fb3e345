"""A machine that lives for two years: a log in segments, written, opened and replayed.

    python -m bench.months [--events 1000000] [--segment 4M] [--keep 8] [--place DIR] [--json FILE]

The days are simulated: the events are those of a machine whose vCPUs come and go, day and night,
and their times are spread over 24 months. Each decision is made, appended, and told to the log as
settled, as a run does it; at each tenth of the way the log is opened as after a crash, and
replayed. What is to be shown: the files, the memory, and the time that an opening takes have a
bound that does not grow with the machine's age.
"""

from __future__ import annotations

import argparse
import gc
import json
import resource
import tempfile
import time
from collections.abc import Iterator
from itertools import cycle
from pathlib import Path

from attrs import asdict, frozen

from bench.log import MACHINE, Decided, Run, round_of
from hpcore.log import Header, LogWriter, Rotation, Sync
from hpcore.log.segments import numbers, segment_path
from hpcore.model import stimuli
from hpcore.triage.replay import replay

SECONDS = 24 * 30.44 * 86400
"""Of 24 months."""
LOOKS = 10


@frozen
class Look:
    """The log and this process at one moment of the machine's life."""

    events: int
    segments: int
    disk: int
    memory: int
    open_seconds: float
    replay_seconds: float
    replayed: int
    longest_rotation: float


def life(run: Run) -> Iterator[None]:
    """A vCPU that comes, works and goes, a step at a time, after the boot."""
    run.feed(stimuli.Boot())
    for i in cycle(range(MACHINE.topology.cpus, MACHINE.possible)):
        for stimulus in round_of(i):
            run.feed(stimulus)
            yield


class LoggedRun(Run):
    """A run whose decisions go into a log."""

    def __init__(self, log: LogWriter, events: int) -> None:
        super().__init__()
        self.log, self._tempo = log, SECONDS / events
        self.longest_rotation = 0.0

    def feed(self, stimulus: stimuli.Stimulus) -> None:
        super().feed(stimulus)
        for decided in self.batches:
            self._append(decided)
        self.batches = []

    def _append(self, decided: Decided) -> None:
        self.log.append(decided.events, self.log.next_seq * self._tempo, decided.answers)

    def settled(self) -> None:
        """As the controller says it after each turn."""
        began = time.perf_counter()
        self.log.settled(self.state)
        self.longest_rotation = max(self.longest_rotation, time.perf_counter() - began)


def look(path: Path, run: LoggedRun, rotation: Rotation) -> Look:
    """Close the log, open it as after a crash, replay it, and go on."""
    run.log.close()
    began = time.perf_counter()
    run.log = LogWriter.resume(path, rotation=rotation)
    opened = time.perf_counter()
    found = replay(path)
    replayed = time.perf_counter()
    if not found.ok or found.state != run.state:
        raise AssertionError(f"the log does not replay: {found.wrong or found.damage}")
    gc.collect()
    there = numbers(str(path))
    return Look(
        run.log.next_seq - 1,
        len(there),
        sum(Path(segment_path(str(path), n)).stat().st_size for n in there),
        resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10,
        opened - began,
        replayed - opened,
        found.events,
        run.longest_rotation,
    )


def measure(place: Path, events: int, rotation: Rotation) -> list[Look]:
    """The looks at a life of that many events."""
    path = place / "run.jsonl"
    looks: list[Look] = []
    log = LogWriter.create(path, Header(MACHINE, "bench"), sync=Sync.OS, rotation=rotation)
    run = LoggedRun(log, events)
    for _ in life(run):
        run.settled()
        if run.log.next_seq > (len(looks) + 1) * events / LOOKS:
            looks.append(look(path, run, rotation))
            if len(looks) == LOOKS:
                break
    run.log.close()
    return looks


def main() -> None:
    """Measure, print the table, and write the JSON where asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--segment", type=Rotation.size_of, default=4 << 20)
    parser.add_argument("--keep", type=int, default=8)
    parser.add_argument("--place", type=Path, default=None, help="directory of the log")
    parser.add_argument("--json", type=Path, default=None, metavar="FILE")
    options = parser.parse_args()
    rotation = Rotation(options.segment, options.keep)
    with tempfile.TemporaryDirectory(dir=options.place) as place:
        began = time.perf_counter()
        looks = measure(Path(place), options.events, rotation)
        took = time.perf_counter() - began
    print(f"{options.events:,} events in {took:.0f} s; {rotation}")
    print(
        f"{'events':>10} {'files':>6} {'disk MB':>8} {'memory MB':>10} {'open s':>7} "
        f"{'replay s':>9} {'of events':>10} {'rotation s':>10}"
    )
    for each in looks:
        print(
            f"{each.events:10,} {each.segments:6} {each.disk / 1e6:8.1f} {each.memory / 1e6:10.1f} "
            f"{each.open_seconds:7.3f} {each.replay_seconds:9.2f} {each.replayed:10,} "
            f"{each.longest_rotation:10.3f}"
        )
    if options.json is not None:
        options.json.write_text(json.dumps([asdict(each) for each in looks], indent=2) + "\n")


if __name__ == "__main__":
    main()
