"""How fast the log appends and reads, beside the `eventsourcing` library.

    python -m bench.log [--events 100000] [--repeats 5] [--json out.json]

Figures are events a second of one process, medians of repeats. The repeats are
interleaved: a round measures everything once, and then comes the next round, so that a
slow minute of the machine slows everybody. README.md says what is compared, and why.
"""

from __future__ import annotations

import argparse
import dataclasses
import gc
import json
import platform
import statistics
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import version
from itertools import chain, cycle
from pathlib import Path
from typing import Any, NamedTuple

import attrs
from eventsourcing.persistence import ApplicationRecorder, JSONTranscoder, Mapper
from eventsourcing.popo import POPOApplicationRecorder
from eventsourcing.sqlite import SQLiteApplicationRecorder, SQLiteDatastore

from hpcore.log import FORMATS, Header, LogWriter, Sync, read
from hpcore.log.scan import Scan
from hpcore.model import stimuli
from hpcore.model.config import MachineConfig
from hpcore.model.decide import decide
from hpcore.model.effects import RunMachineStep, RunStep, Step
from hpcore.model.events import Event
from hpcore.model.states import State, initial
from hpcore.model.topology import mp_affinity
from hpcore.triage.replay import replay

MACHINE = MachineConfig.of(cpus=2, maxcpus=8)
SYNCED = 500
"""Events that the runs which wait for the disk append."""

class Decided(NamedTuple):
    """The events of one decision, and the stimulus that it answers."""

    answers: stimuli.Stimulus | None
    events: Sequence[Event]


Batches = Sequence[Decided]


# ------------------------------------------------------------------- the events


class Run:
    """A machine whose accelerator does what it is told, and its guest likewise."""

    def __init__(self) -> None:
        self.state: State = initial(MACHINE)
        self.batches: list[Decided] = []

    def feed(self, stimulus: stimuli.Stimulus) -> None:
        """One turn of the loop, and those that its effects lead to."""
        decision = decide(self.state, stimulus)
        self.state = decision.state
        if decision.events:
            self.batches.append(Decided(stimulus, decision.events))
        for effect in decision.effects:
            if isinstance(effect, RunMachineStep):
                self.feed(stimuli.MachineDone(effect.step))
            elif isinstance(effect, RunStep):
                found = mp_affinity(effect.slot) if effect.step is Step.BIND else None
                self.feed(stimuli.Done(effect.step, effect.slot, found))


def round_of(i: int) -> tuple[stimuli.Stimulus, ...]:
    """What happens to vCPU `i` from its plug to its eject, the accelerator's outcomes left out."""
    return (
        stimuli.DeviceAdd(f"core{i}", (("core-id", i),)),
        stimuli.ScanStarted(), stimuli.InsertAcked(i), stimuli.ScanEnded(),
        stimuli.OstReported(i, 1, 0), stimuli.CpuOnCalled(i, 0, 0x4008_0000, 0x4100_0000),
        stimuli.DeviceDel(f"core{i}"),
        stimuli.ScanStarted(), stimuli.RemoveAcked(i), stimuli.ScanEnded(),
        stimuli.CpuOffSeen(i), stimuli.EjectCalled(i), stimuli.OstReported(i, 3, 0),
    )  # fmt: skip


def workload(events: int) -> Batches:
    """At least `events` events as the model makes them; a batch is what one stimulus made.

    Boot, then vCPUs plugged, brought online, taken offline and unplugged.
    """
    run = Run()
    run.feed(stimuli.Boot())
    boot = run.batches
    run.batches = []
    for i in range(MACHINE.topology.cpus, MACHINE.possible):
        for stimulus in round_of(i):
            run.feed(stimulus)
    made: list[Decided] = []
    count = 0
    for batch in chain(boot, cycle(run.batches)):
        made.append(batch)
        count += len(batch.events)
        if count >= events:
            return made
    raise AssertionError("cycle ends never")


# --------------------------------------------------------------------- this log


def events_of(batches: Batches) -> int:
    """How many events there are."""
    return sum(len(batch.events) for batch in batches)


def append(path: Path, batches: Batches, sync: Sync) -> int:
    """Append `batches` one by one; how many events that were."""
    with LogWriter.create(path, Header(MACHINE, "bench"), sync=sync, overwrite=True) as log:
        for i, batch in enumerate(batches):
            log.append(batch.events, i * 1e-3, batch.answers)
        return log.next_seq - 1


def read_events(path: Path) -> int:
    """Read, verify and decode every event."""
    return sum(1 for _ in read(path)[1])


def replay_events(path: Path, *, plainly: bool = False) -> int:
    """Fold, check and decide again every event; `plainly` without looking up what came before."""
    found = replay(path, each=(lambda _decision: None) if plainly else None)
    if not found.ok:
        raise AssertionError(f"the log does not replay: {found.wrong or found.damage}")
    return found.events


def verify_lines(path: Path) -> int:
    """Verify every line's checksum and no more, as recovery does."""
    with path.open("rb", buffering=0) as file:
        return sum(map(len, Scan(file, str(path), FORMATS).lines()))


# --------------------------------------------------------------------- the peer


@cache
def _peer_class(cls: Any) -> type:
    """A domain event of `eventsourcing` with the fields of `cls`: a frozen dataclass."""
    own: list[tuple[str, Any]] = [(a.name, object) for a in attrs.fields(cls)]
    base = [("originator_id", uuid.UUID), ("originator_version", int), ("t", float)]
    made = dataclasses.make_dataclass(cls.__name__, [*base, *own], frozen=True)
    made.__module__ = __name__  # where the library finds it again, by its topic
    globals()[cls.__name__] = made
    return made


class Peer:
    """One aggregate's events in a recorder of `eventsourcing`, through its mapper."""

    def __init__(self, recorder: ApplicationRecorder) -> None:
        self.recorder = recorder
        self.mapper: Mapper[uuid.UUID] = Mapper(JSONTranscoder())
        self.id = uuid.uuid4()

    def append(self, batches: Sequence[Sequence[Any]]) -> int:
        """Record `batches` one by one; how many events that were."""
        count = 0
        to_stored, insert = self.mapper.to_stored_event, self.recorder.insert_events
        for batch in batches:
            insert([to_stored(event) for event in batch])
            count += len(batch)
        return count

    def read(self) -> int:
        """Select and decode every event."""
        to_event = self.mapper.to_domain_event
        stored = self.recorder.select_events(self.id)
        return sum(1 for _ in map(to_event, stored))

    def translate(self, batches: Batches) -> Sequence[Sequence[Any]]:
        """`batches` as the library's own domain events."""
        classes: set[Any] = {type(e) for batch in batches for e in batch.events}
        made = {cls: _peer_class(cls) for cls in classes}
        numbers = iter(range(1, sys.maxsize))
        return [
            [
                made[type(e)](self.id, next(numbers), i * 1e-3, *attrs.astuple(e, recurse=False))
                for e in batch.events
            ]
            for i, batch in enumerate(batches)
        ]


def sqlite_recorder(path: Path) -> SQLiteApplicationRecorder:
    """A recorder in a database on the disk, as the library sets it up: WAL, synced."""
    recorder = SQLiteApplicationRecorder(SQLiteDatastore(str(path)))
    recorder.create_table()
    return recorder


# ----------------------------------------------------------------- the measuring


def timed(work: Callable[[], int]) -> tuple[int, float]:
    """How many events `work` handled, and how many a second."""
    gc.collect()
    start = time.perf_counter()
    count = work()
    return count, count / (time.perf_counter() - start)


def one_round(place: Path, batches: Batches, few: Batches) -> dict[str, float]:
    """Everything, once, in events a second."""
    rates: dict[str, float] = {}
    count = events_of(batches)
    path = place / "run.log"

    def measure(name: str, work: Callable[[], int], expected: int = count) -> None:
        done, rates[name] = timed(work)
        if done != expected:
            raise AssertionError(f"{name}: {done} events, not {expected}")

    singles = [Decided(batch.answers, [e]) for batch in batches for e in batch.events]
    alone = [Decided(None, batch.events) for batch in batches]
    waited = events_of(few)
    peer, on_disk = Peer(POPOApplicationRecorder()), Peer(sqlite_recorder(place / "peer.db"))
    theirs, theirs_few = peer.translate(batches), on_disk.translate(few)

    measure("append os, events alone", lambda: append(path, alone, Sync.OS))
    measure("read typed, events alone", lambda: read_events(path))
    measure("append os", lambda: append(path, batches, Sync.OS))
    measure("append memory, eventsourcing", lambda: peer.append(theirs))
    measure("read typed", lambda: read_events(path))
    measure("read memory, eventsourcing", peer.read)
    measure("verify lines", lambda: verify_lines(path))
    measure("replay", lambda: replay_events(path))
    measure("replay, plainly", lambda: replay_events(path, plainly=True))
    measure("append os, one by one", lambda: append(path, singles, Sync.OS))
    measure("append buffered", lambda: append(path, batches, Sync.BUFFERED))
    measure("append durable", lambda: append(path, few, Sync.DURABLE), waited)
    measure("append SQLite, eventsourcing", lambda: on_disk.append(theirs_few), waited)
    whole = Peer(sqlite_recorder(place / "whole.db"))
    whole.append([list(chain.from_iterable(whole.translate(batches)))])  # one transaction
    measure("read SQLite, eventsourcing", whole.read)
    for leftover in place.iterdir():
        leftover.unlink()
    return rates


RATIOS = (
    ("append os", "append memory, eventsourcing"),
    ("append os", "append os, events alone"),
    ("read typed", "read typed, events alone"),
    ("replay", "replay, plainly"),
    ("replay", "verify lines"),
    ("append buffered", "append memory, eventsourcing"),
    ("append durable", "append SQLite, eventsourcing"),
    ("read typed", "read memory, eventsourcing"),
    ("read typed", "read SQLite, eventsourcing"),
)


def main() -> None:
    """Measure, print the table, and write the JSON where asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=100_000)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--place", type=Path, default=None, help="directory of the log")
    parser.add_argument("--json", type=Path, default=None, metavar="FILE")
    options = parser.parse_args()

    batches, few = workload(options.events), workload(SYNCED)
    rounds = []
    with tempfile.TemporaryDirectory(dir=options.place) as place:
        one_round(Path(place), workload(2000), few)  # warm up
        for _ in range(options.repeats):
            rounds.append(one_round(Path(place), batches, few))
    rates = {name: [each[name] for each in rounds] for name in rounds[0]}
    ratios = {
        f"{ours} / {theirs}": statistics.median(
            a / b for a, b in zip(rates[ours], rates[theirs], strict=True)
        )
        for ours, theirs in RATIOS
    }
    result = {
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "machine": platform.platform(),
        "versions": {name: version(name) for name in ("hpcore", "eventsourcing", "orjson")},
        "events": events_of(batches),
        "events_synced": events_of(few),
        "events_a_batch": events_of(batches) / len(batches),
        "events_per_second": rates,
        "medians": {name: statistics.median(values) for name, values in rates.items()},
        "ratios": ratios,
    }
    print(f"{'events a second':34} {'median':>10} {'least':>10} {'most':>10}")
    for name, values in rates.items():
        middle = statistics.median(values)
        print(f"{name:34} {middle:10,.0f} {min(values):10,.0f} {max(values):10,.0f}")
    print()
    for name, ratio in ratios.items():
        print(f"{ratio:6.1f}  {name}")
    if options.json is not None:
        options.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
