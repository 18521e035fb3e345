"""Two logs side by side: whether the same happened, and where it first did not.

A machine has several actors that run at the same time, so two runs of one scenario never
have one order of events. What is compared are the sequences that do have one:

- the machine's: its steps, its resets and its end, the scenario's steps;
- for each slot, what was done to it: commands, their ends, and the steps of each;
- for each slot, what the guest did about it: event bits taken, `_OST`, `_EJ0`, PSCI.

Each is compared event by event and field by field, but for what `NOT_COMPARED` lists and
for what the accelerators say of themselves (Header.differs). The order between two of the
sequences is not compared; that it is a legal one in each log is for `replay` to say.

Within a sequence one pair has no order, see `_lives_apart`: two actors of the guest's own.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Set
from os import PathLike
from typing import get_args

import attrs
from attrs import field, frozen

from hpcore.log import Header, Record, read
from hpcore.model import events as ev
from hpcore.model.acpi import ends_eject
from hpcore.model.stimuli import GuestCall

Source = str | PathLike[str]

COUNTED = "calls of the guest that change nothing were counted, as time had it"

NOT_COMPARED: Mapping[str, str] = {
    "scan_begun": "one look at the event bits finds one event or several, as time has it",
    "scan_finished": "as for scan_begun",
    "ged_raised": "as for scan_begun",
    "eject_unconfirmed": "whether `_OST` comes before its deadline; the `_OST` is compared",
    "cpu_on_granted.caller": "the guest's scheduler decides which vCPU calls",
    "cpu_on_denied.caller": "as for cpu_on_granted.caller",
    "cpu_on_granted.entry": "an address of the guest's choice",
    "cpu_on_granted.context": "an address of the guest's choice",
    "cpu_on_granted.delegated": "whether the core is asked is the accelerator's affair",
    "cpu_on_denied.delegated": "as for cpu_on_granted.delegated",
    "step_failed.error": "the accelerator's own words",
    "machine_step_failed.error": "the accelerator's own words",
    "machine_lost.error": "the accelerator's own words",
    "plug_failed.error": "the accelerator's own words",
}
"""Events, and fields of events, that differ between two runs of the same; and why."""

_GUESTS = (
    ev.InsertCleared, ev.RemoveCleared, ev.OstReceived, ev.Registered, ev.EjectAccepted,
    ev.EjectRefused, ev.CpuOnGranted, ev.CpuOnDenied, ev.CpuWentOff,
)  # fmt: skip
_CALLS = frozenset(call.__name__ for call in get_args(GuestCall))
_STEP_FAILED = re.compile(r"(step \d+ failed): .*", re.DOTALL)


@frozen
class Track:
    """Which sequence: the machine's (no slot), a slot's, or the guest's for a slot."""

    slot: int | None = None
    guest: bool = False

    def __str__(self) -> str:
        if self.slot is None:
            return "the machine"
        return f"what the guest did about vCPU {self.slot}" if self.guest else f"vCPU {self.slot}"


@frozen
class Difference:
    """Where one sequence first differs. A record is None where that log has no more.

    `a` and `b` are the records around it, those before it first, `at` of them in both.
    """

    track: Track
    a: tuple[Record, ...]
    b: tuple[Record, ...]
    at: int

    @property
    def first(self) -> tuple[Record | None, Record | None]:
        """What either log has in the place of the other's."""
        return _get(self.a, self.at), _get(self.b, self.at)


@frozen
class Diff:
    """What a comparison found. The same happened if there is no difference.

    `differences` has one a sequence, the earliest first. `apart` is what the accelerators
    name, with their reason, of what is in either log. `cut` are sequences that one log does
    not have the end of, because its machine was ended from outside before the guest had
    said its last word.
    """

    headers: tuple[Header, Header]
    events: tuple[int, int]
    compared: int
    differences: tuple[Difference, ...] = ()
    machines: tuple[str, ...] = ()
    apart: Mapping[str, str] = field(factory=dict)
    cut: tuple[Track, ...] = ()
    torn: tuple[str | None, str | None] = (None, None)
    """What is left out at the end of either log: a line that a crash has torn."""

    @property
    def same(self) -> bool:
        """Whether the logs agree."""
        return not self.differences and not self.machines


def diff(a: Source, b: Source, around: int = 3) -> Diff:
    """Compare the logs at `a` and `b`. `around`: how many records a difference comes with.

    Raises LogError for a log that cannot be read to its end. A torn last line is left out.
    """
    (one, torn_a), (other, torn_b) = _read(a), _read(b)
    return attrs.evolve(compare(one, other, around), torn=(torn_a, torn_b))


def compare(
    a: tuple[Header, list[Record]], b: tuple[Header, list[Record]], around: int = 3
) -> Diff:
    """As `diff`, of logs that were read."""
    (header_a, records_a), (header_b, records_b) = a, b
    differs = {**header_b.differs, **header_a.differs}
    counted = {_noise(record.event) for record in (*records_a, *records_b) if record.counted > 1}
    tracks_a = _tracks(_without(records_a, counted), differs)
    tracks_b = _tracks(_without(records_b, counted), differs)
    ended = _ended_from_outside(records_a), _ended_from_outside(records_b)
    found: list[Difference] = []
    cut: list[Track] = []
    compared = 0
    for track in sorted(tracks_a.keys() | tracks_b.keys(), key=_order):
        in_a, in_b = tracks_a.get(track, []), tracks_b.get(track, [])
        at = _first_difference(in_a, in_b, differs)
        compared += max(len(in_a), len(in_b)) if at is None else at
        if at is None:
            continue
        if track.guest and _last_words(in_a[at:], in_b[at:], ended):
            cut.append(track)
            continue
        begin = max(0, at - around)
        window = slice(begin, at + around + 1)
        found.append(Difference(track, tuple(in_a[window]), tuple(in_b[window]), at - begin))
    found.sort(key=_when)
    return Diff(
        headers=(header_a, header_b),
        events=(len(records_a), len(records_b)),
        compared=compared,
        differences=tuple(found),
        machines=tuple(_machine_differences(header_a, header_b)),
        apart={name: COUNTED for name, *_ in counted} | _apart(differs, (*records_a, *records_b)),
        cut=tuple(cut),
    )


def unknown_names(differs: Iterable[str]) -> list[str]:
    """Those of `differs` that name no event, and no field of an event."""
    known = set(ev.EVENTS)
    for name, cls in ev.EVENTS.items():
        known |= {f"{name}.{each.name}" for each in attrs.fields(cls)}
    return [name for name in differs if name not in known]


def _read(source: Source) -> tuple[tuple[Header, list[Record]], str | None]:
    header, records = read(source)
    with records:
        events = list(records)
    return (header, events), None if records.torn is None else str(records.torn)


def _noise(event: ev.Event) -> tuple[str, object, int | None]:
    """What is counted together with `event`, or written, as the clock would have it."""
    said = getattr(event, "guard", getattr(event, "status", None))
    return ev.event_name(event), said, ev.slot_of(event)


def _without(records: list[Record], counted: Set[object]) -> list[Record]:
    return [r for r in records if not counted or _noise(r.event) not in counted]


def _tracks(records: Iterable[Record], differs: Mapping[str, str]) -> dict[Track, list[Record]]:
    tracks: dict[Track, list[Record]] = {}
    for record in records:
        name = ev.event_name(record.event)
        if name in NOT_COMPARED or name in differs:
            continue
        slot = ev.slot_of(record.event)
        track = Track(slot, slot is not None and is_guests(record.event))
        tracks.setdefault(track, []).append(record)
    return {t: _lives_apart(found) if t.guest else found for t, found in tracks.items()}


def _lives_apart(records: list[Record]) -> list[Record]:
    """What the guest did about a slot, with the last word on one life before the next begins.

    A life of a slot is from a plug to its eject. The guest takes an event bit in its
    interrupt handler, and does what the bit asks for, `_OST` the last of it, in a queue of
    its own. So once the slot is plugged anew, the bit of the new life can be taken before
    `_OST` has ended the eject of the old one. Nothing else may change places: the queue has
    one order, the handler has one, and what the queue does for a bit comes after the bit.
    """
    out: list[Record] = []
    owed = False  # an eject has no end yet
    for record in records:
        event, at = record.event, len(out)
        if isinstance(event, ev.EjectAccepted):
            owed = True
        elif owed and isinstance(event, ev.OstReceived) and ends_eject(event.source, event.status):
            owed = False
            while isinstance(out[at - 1].event, ev.InsertCleared):
                at -= 1
        out.insert(at, record)
    return out


def is_guests(event: ev.Event) -> bool:
    """Whether an event about a slot is what the guest did, or the refusal of a call of its."""
    refused = isinstance(event, ev.Refused) and event.stimulus in _CALLS
    return refused or isinstance(event, _GUESTS)


def _first_difference(
    a: list[Record], b: list[Record], differs: Mapping[str, str]
) -> int | None:
    for at, (one, other) in enumerate(zip(a, b, strict=False)):
        if one.event != other.event and _plain(one.event, differs) != _plain(other.event, differs):
            return at
    return None if len(a) == len(b) else min(len(a), len(b))


def _plain(event: ev.Event, differs: Mapping[str, str]) -> tuple[object, ...]:
    """What is compared of an event."""
    name = ev.event_name(event)
    out: list[object] = [name]
    for each in attrs.fields(type(event)):
        full = f"{name}.{each.name}"
        if full in NOT_COMPARED or full in differs:
            continue
        value = getattr(event, each.name)
        if isinstance(event, ev.Noted):
            value = _STEP_FAILED.sub(r"\1", value)  # why it failed, an accelerator may have said
        out.append((each.name, value))
    return tuple(out)


def _ended_from_outside(records: list[Record]) -> bool:
    return any(isinstance(r.event, ev.MachinePoweredOff) and r.event.by == "user" for r in records)


def _last_words(a: list[Record], b: list[Record], ended: tuple[bool, bool]) -> bool:
    """Whether all that one log lacks is `_OST` that its guest was not given the time for."""
    more, short_ended = (a, ended[1]) if not b else (b, ended[0])
    one_has_no_more = not a or not b
    return one_has_no_more and short_ended and all(
        isinstance(record.event, ev.OstReceived) for record in more
    )


def _machine_differences(a: Header, b: Header) -> Iterator[str]:
    if a.first != b.first:
        yield f"the first event that is kept is {a.first} and {b.first}"
    for each in attrs.fields(type(a.machine)):
        one, other = getattr(a.machine, each.name), getattr(b.machine, each.name)
        if each.name == "no_hotplug":
            # the accelerator's own words, and with them another topology
            one, other = one is not None, other is not None
        if attrs.has(type(one)) and type(one) is type(other):
            for part in attrs.fields(type(one)):
                pair = getattr(one, part.name), getattr(other, part.name)
                if pair[0] != pair[1]:
                    yield f"{part.name} is {pair[0]} and {pair[1]}"
        elif one != other:
            yield f"{each.name} is {one} and {other}"


def _apart(differs: Mapping[str, str], records: Iterable[Record]) -> dict[str, str]:
    seen = {ev.event_name(record.event) for record in records}
    return {name: why for name, why in differs.items() if name.partition(".")[0] in seen}


def _order(track: Track) -> tuple[int, bool]:
    return (-1 if track.slot is None else track.slot, track.guest)


def _when(difference: Difference) -> float:
    return min(record.t for record in difference.first if record is not None)


def _get(records: tuple[Record, ...], at: int) -> Record | None:
    return records[at] if at < len(records) else None
