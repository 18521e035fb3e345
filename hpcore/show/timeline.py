"""A log as columns of numbers and lists of texts: what a page can hold for 100,000 events.

Texts repeat, so each stands once and is named by its number; so do the rows of the table of
states. An event says which rows it changed, and from these the state at any event follows
with no rule of the protocol in the page.
"""

from __future__ import annotations

from collections.abc import Callable
from os import PathLike
from typing import IO, Any

from attrs import field, mutable

from hpcore.errors import HpcoreError, printable
from hpcore.log import Record
from hpcore.model import stimuli as st
from hpcore.model.events import slot_of
from hpcore.model.naming import snake_case
from hpcore.model.states import State
from hpcore.show.kinds import KINDS, kind_of
from hpcore.show.spans import FIRST, GUEST, MACHINE, Bars, changed
from hpcore.triage.decide_again import DecidedOtherwise
from hpcore.triage.state_words import machine_words, slot_words
from hpcore.triage.walk import Walk, Walked, walk
from hpcore.triage.words import say

MOST = 1_000_000
"""Events of one page. A browser takes some seconds to read so many, and half a gigabyte."""

MICROSECONDS = 1_000_000
TELL_EVERY = 5000

Tell = Callable[[int], None]
"""Told now and then how many events were read."""


class TooMuchToShow(HpcoreError):
    """A log has more events than a page can hold."""


@mutable
class Texts:
    """Texts, or rows of texts, each once; `number` gives the place of one."""

    all: list[Any] = field(factory=list)
    _places: dict[Any, int] = field(factory=dict)

    def number(self, value: Any) -> int:
        """Where `value` stands in `all`."""
        place = self._places.setdefault(value, len(self.all))
        if place == len(self.all):
            self.all.append(value)
        return place


@mutable
class Timeline:
    """The events of a log from `first` on, in columns: one entry an event in each.

    `changes` has three numbers for each row that changed: the event, the slot (-1 for the
    machine), and the row's number in `rows` or `machines`.
    """

    walk: Walk
    first: int
    bars: Bars = field(factory=Bars)
    t: list[int] = field(factory=list)
    says: list[int] = field(factory=list)
    lane: list[int] = field(factory=list)
    kind: list[int] = field(factory=list)
    answers: list[int] = field(factory=list)
    """The stimulus that a decision's first event answers; -1 where a log does not say it, and
    -2 on the later events of a decision."""
    changes: list[int] = field(factory=list)
    start: list[int] = field(factory=list)
    """The rows before the first event: the machine's, then each slot's."""
    texts: Texts = field(factory=Texts)
    stimuli: Texts = field(factory=Texts)
    rows: Texts = field(factory=Texts)
    machines: Texts = field(factory=Texts)

    @property
    def lanes(self) -> list[str]:
        """The names of the lanes."""
        return ["machine", "guest", *(f"vCPU {i}" for i in range(len(self.walk.state.slots)))]

    @property
    def wrong(self) -> dict[str, object] | None:
        """The event that is wrong, if any, counted from 0, and what it breaks."""
        found = self.walk.wrong
        if found is None or found.violation is None:
            return None
        broken = found.violation
        return {
            "at": found.record.seq - self.first, "invariant": broken.invariant,
            "slot": broken.slot, "says": printable(broken.says),
        }  # fmt: skip

    @property
    def otherwise(self) -> list[dict[str, object]]:
        """Events that this hpcore would decide otherwise, and what it would do."""
        return [_otherwise(other, self.first) for other in self.walk.otherwise]

    def begin(self, state: State) -> None:
        """Take the state before the first event that is kept."""
        self.bars.begin(0, state)
        self.start = [
            self.machines.number(machine_words(state.shared)),
            *(self.rows.number(slot_words(slot)) for slot in state.slots),
        ]

    def take(self, step: Walked) -> None:
        """Take the next event."""
        record, before, after, _ = step
        event, at = record.event, len(self.t)
        slot, kind = slot_of(event), kind_of(event)
        self.t.append(round(record.t * MICROSECONDS))
        self.says.append(self.texts.number(printable(say(event))))
        self.kind.append(KINDS.index(kind))
        self.lane.append(_lane(slot, kind, len(after.slots)))
        self.answers.append(self._answer(record))
        self.bars.take(at, event, before, after)
        if before.shared is not after.shared:
            words = machine_words(after.shared)
            self.changes += (at, -1, self.machines.number(words))
        for index in changed(before, after):
            self.changes += (at, index, self.rows.number(slot_words(after.slots[index])))

    def _answer(self, record: Record) -> int:
        if record.batch is not None:
            return -2
        return -1 if record.answers is None else self.stimuli.number(_name(record.answers))


def timeline(
    source: str | PathLike[str] | IO[bytes],
    first: int = 1,
    last: int | None = None,
    tell: Tell = lambda _done: None,
) -> Timeline:
    """The log at `source`, of which events `first` to `last` are kept.

    Raises LogError where its header cannot be read, and TooMuchToShow; damage further down
    is in `walk`, and all that came before it is kept.
    """
    walked = walk(source)
    first = max(first, walked.header.first)
    found = Timeline(walked, first)
    state = walked.state
    for step in walked:
        seq = step.record.seq
        if seq % TELL_EVERY == 0:
            tell(seq)
        if last is not None and seq > last:
            break
        state = step.after
        if seq < first:
            continue
        if seq == first:
            found.begin(step.before)
        if len(found.t) == MOST:
            raise TooMuchToShow(
                f"the log has more than {MOST:,} events, which is too many for one page; "
                "give --from and --to, the numbers of the first event and the last"
            )
        found.take(step)
    if not found.t:
        found.begin(state)
    return found


def _lane(slot: int | None, kind: str, slots: int) -> int:
    if slot is not None and 0 <= slot < slots:
        return FIRST + slot
    return GUEST if kind == "guest" else MACHINE


def _name(stimulus: st.Stimulus) -> str:
    return snake_case(type(stimulus))


def _otherwise(other: DecidedOtherwise, first: int) -> dict[str, object]:
    now = "nothing more" if other.now is None else printable(say(other.now))
    return {"at": other.record.seq - first, "now": now}
