"""The shortest stimuli that still break the same property.

Three ways, again and again until none of them finds anything more:

- *Slots*: all that is about one slot is left out.
- *Loops*: what leads from a state back to the same state is left out. Nothing can be lost by
  that, because what is decided depends on the state and the stimulus alone.
- *Delta debugging* (Zeller and Hildebrandt, 2002): pieces are left out, ever smaller ones,
  down to one. What is left can lose no single stimulus.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import attrs
from attrs import field, frozen, mutable

from hpcore.log import LogWriter, Sync
from hpcore.model.effects import Step
from hpcore.model.events import Noted
from hpcore.model.states import State
from hpcore.model.stimuli import DeviceAdd, DeviceDel, Note, Stimulus
from hpcore.model.topology import Topology
from hpcore.triage.case import Case, Entry, Run, Taken, run
from hpcore.triage.pieces import least

SECONDS_A_STIMULUS = 0.001
"""In the log of a shrunk case, where no time has passed."""

Tell = Callable[[int], None]
"""Told how many stimuli are left."""


@frozen(eq=False)
class Shrunk:
    """A case and what is left of it. `tried` is how often some stimuli were decided again."""

    case: Case
    run: Run
    tried: int
    seconds: float

    @property
    def taken(self) -> tuple[Taken, ...]:
        """The stimuli that are left, with what came of each."""
        return self.run.taken

    @property
    def events(self) -> int:
        """How many events are left."""
        return sum(len(taken.events) for taken in self.taken)

    @property
    def fingerprint(self) -> str:
        """The same for cases that differ in names, numbers of vCPUs and addresses alone."""
        return fingerprint(self.taken, self.case.broken.invariant)


def shrink(case: Case, tell: Tell = lambda _left: None) -> Shrunk:
    """The least of `case` that still breaks the same invariant."""
    began = time.monotonic()
    search = _Search(case, tell)
    entries = search.without_loops(case.entries)
    while True:
        before = len(entries)
        entries = search.without_slots(entries)
        entries = search.without_pieces(entries)
        entries = search.with_fewer_vcpus(entries)
        if len(entries) == before:
            break
    found = run(search.case, entries)
    return Shrunk(search.case, found, search.tried, time.monotonic() - began)


@mutable
class _Search:
    case: Case
    tell: Tell
    tried: int = 0
    _known: dict[tuple[int, ...], bool] = field(factory=dict)

    def holds(self, entries: Sequence[Entry]) -> Run | None:
        """The run of `entries`, if it breaks the same property."""
        key = tuple(map(id, entries))
        if self._known.get(key) is False:
            return None
        self.tried += 1
        found = run(self.case, entries)
        same = found.broken is not None and found.broken.invariant == self.case.broken.invariant
        self._known[key] = same
        return found if same else None

    def without_loops(self, entries: Sequence[Entry]) -> tuple[Entry, ...]:
        """`entries` without what leads back to a state that was there before."""
        found = self.holds(entries)
        assert found is not None
        kept: list[Entry] = []
        states: list[object] = [None]
        places: dict[object, int] = {}
        for taken in found.taken[:-1]:
            state = _state(taken.after)
            place = places.get(state)
            if place is not None:
                for left in states[place + 1 :]:
                    places.pop(left, None)
                del kept[place:], states[place + 1 :]
                continue
            kept.append(taken.entry)
            places[state] = len(kept)
            states.append(state)
        out = (*kept, found.taken[-1].entry)
        self.tell(len(out))
        return out

    def without_slots(self, entries: tuple[Entry, ...]) -> tuple[Entry, ...]:
        """`entries` without all that is about slots that do not matter."""
        own = self.case.broken.slot
        others = sorted({slot for entry in entries for slot in entry.about} - {own})
        for left_out in ([set(others)] if len(others) > 1 else []) + [{slot} for slot in others]:
            rest = [e for e in entries if not e.about & left_out or own in e.about]
            if len(rest) < len(entries) and self.holds(rest):
                entries = self.without_loops(rest)
        return entries

    def with_fewer_vcpus(self, entries: tuple[Entry, ...]) -> tuple[Entry, ...]:
        """The same on a machine with no more vCPUs than matter, if that breaks it as well."""
        machine = self.case.header.machine
        topology = machine.topology
        if topology.cores != topology.maxcpus:
            return entries  # the numbers of sockets and threads would change what a plug names
        found = self.holds(entries)
        assert found is not None
        spoken_of = {self.case.broken.slot, *(slot for one in found.taken for slot in one.about)}
        most = max(2, *(slot + 1 for slot in spoken_of if slot < topology.maxcpus))
        for cpus in (1, topology.cpus):
            fewer = attrs.evolve(
                machine, topology=Topology.resolve(cpus=min(cpus, most), maxcpus=most)
            )
            if fewer == machine:
                continue
            smaller = _Search(
                attrs.evolve(
                    self.case, header=attrs.evolve(self.case.header, machine=fewer),
                    entries=tuple(entries),
                ),
                self.tell,
            )  # fmt: skip
            cold = set(range(fewer.topology.cpus, topology.cpus))
            for rest in (tuple(e for e in entries if not e.about & cold), entries):
                held = smaller.holds(rest)
                self.tried += 1
                if held is not None:
                    self.case, self._known = smaller.case, {}
                    return rest
        return entries

    def without_pieces(self, entries: tuple[Entry, ...]) -> tuple[Entry, ...]:
        """Delta debugging: `entries` of which none can be left out."""
        return least(entries, self._less)

    def _less(self, rest: tuple[Entry, ...]) -> tuple[Entry, ...] | None:
        return self.without_loops(rest) if rest and self.holds(rest) else None


def _state(state: State) -> object:
    """What of a state decides what comes next; its configuration never changes."""
    return state.shared, state.slots


def write_shrunk(path: Path, shrunk: Shrunk, *, overwrite: bool = False) -> int:
    """Write what is left as a log, and return the number of its events. Raises LogError."""
    header = shrunk.case.header
    versions = {**header.versions, "shrunk from hpcore": header.versions.get("hpcore", "unknown")}
    broken = shrunk.case.broken
    words = f"{broken.invariant} is broken for vCPU {broken.slot}: the case ends here"
    written = 0
    with LogWriter.create(
        path, attrs.evolve(header, versions=versions), sync=Sync.BUFFERED, overwrite=overwrite
    ) as log:
        for n, taken in enumerate(shrunk.taken):
            if taken.events:
                log.append(taken.events, n * SECONDS_A_STIMULUS, taken.entry.stimulus)
                written += len(taken.events)
        # a decision counts as whole once another one follows it
        log.append((Noted(words),), len(shrunk.taken) * SECONDS_A_STIMULUS, Note(words))
    return written + 1


def fingerprint(taken: Sequence[Taken], invariant: str) -> str:
    """Twelve characters that stand for what happened, whichever vCPU it happened to.

    A vCPU counts by the order in which it is first spoken of; its id, a caller and an
    address, and the words of an error, do not count.
    """
    seen: dict[int, int] = {}
    said = [invariant]
    for one in taken:
        about = sorted(one.about)
        numbers = [seen.setdefault(slot, len(seen)) for slot in about]
        said.append(f"{_words(one.entry.stimulus)} {numbers}")
        said += [_event_words(event) for event in one.events]
    return hashlib.sha256("\n".join(said).encode()).hexdigest()[:12]


def _words(stimulus: Stimulus | None) -> str:
    match stimulus:
        case None:
            return "unknown"
        case DeviceAdd():
            return "DeviceAdd"
        case DeviceDel(force=force):
            return f"DeviceDel {force}"
    fields = [
        str(getattr(stimulus, name)) for name in ("step", "source", "status", "verdict")
        if hasattr(stimulus, name)
    ]  # fmt: skip
    return " ".join((type(stimulus).__name__, *fields))


def _event_words(event: object) -> str:
    step = getattr(event, "step", None)
    return f"{type(event).__name__} {step if isinstance(step, Step) else ''}"
