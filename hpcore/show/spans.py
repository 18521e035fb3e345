"""Bars: what lasts from one event to another, as the states between them have it.

A bar is in a lane and in a row of that lane. What is begun and ended is read off the states,
and so holds whichever events did it: a command that a reset ended has an end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from attrs import frozen, mutable

from hpcore.model import events as ev
from hpcore.model.states import Owed, Shared, Slot, State
from hpcore.show.kinds import kind_of

MACHINE, GUEST, FIRST = 0, 1, 2
"""Lanes: the machine's, the guest's, and that of vCPU 0; the other vCPUs' follow."""

COMMAND, STEP, LEVEL = "command", "step", "level"
"""Rows of a lane: what a user asked for, what the accelerator does for it, what is so."""


@mutable
class Bar:
    """From event `begin` to event `end`, both counted from 0; `end` is None at the log's end."""

    lane: int
    row: str
    says: str
    begin: int
    end: int | None = None
    failed: bool = False


@frozen
class _Line:
    """What can last in a lane: a name for it while it does, and None otherwise."""

    row: str
    says: Callable[[Slot], str | None]


@frozen
class _SharedLine:
    lane: int
    row: str
    says: Callable[[Shared], str | None]


def _command(slot: Slot) -> str | None:
    if slot.command is Owed.NONE:
        return None
    words = str(slot.command).replace("_", " ")
    return f"{words} {slot.id}" if slot.id else words


_SLOT = (
    _Line(COMMAND, _command),
    _Line(STEP, lambda s: None if s.step is None else str(s.step)),
    _Line(LEVEL, lambda s: "on" if s.powered else None),
)
_SHARED = (
    _SharedLine(MACHINE, COMMAND, lambda s: "paused" if s.paused else None),
    _SharedLine(MACHINE, STEP, lambda s: None if s.step is None else str(s.step)),
    _SharedLine(MACHINE, LEVEL, lambda s: "migrating" if s.migrating else None),
    _SharedLine(GUEST, STEP, lambda s: "reads the event bits" if s.scanning else None),
    _SharedLine(GUEST, LEVEL, lambda s: "GED raised" if s.ged else None),
)


class Bars:
    """Collects the bars of a log: tell it every event with the states around it, in order."""

    def __init__(self) -> None:
        self.all: list[Bar] = []
        self._open: dict[tuple[int, str], Bar] = {}

    def begin(self, at: int, state: State) -> None:
        """What lasts already in `state`, where the first event told is number `at`."""
        for index, slot in enumerate(state.slots):
            self._slot(at, None, index, Slot(cold=slot.cold), slot)
        self._shared(at, None, Shared(), state.shared)

    def take(self, at: int, event: ev.Event, before: State, after: State) -> None:
        """Event number `at` led from one state to the other."""
        if before.shared is not after.shared:
            self._shared(at, event, before.shared, after.shared)
        for index in changed(before, after):
            self._slot(at, event, index, before.slots[index], after.slots[index])

    def _slot(self, at: int, event: ev.Event | None, index: int, old: Slot, new: Slot) -> None:
        for line in _SLOT:
            self._line(at, event, FIRST + index, line.row, line.says(old), line.says(new))

    def _shared(self, at: int, event: ev.Event | None, old: Shared, new: Shared) -> None:
        for line in _SHARED:
            self._line(at, event, line.lane, line.row, line.says(old), line.says(new))

    def _line(
        self, at: int, event: ev.Event | None, lane: int, row: str,
        old: str | None, new: str | None,
    ) -> None:  # fmt: skip
        if old == new:
            return
        place = lane, row
        if old is not None and (bar := self._open.pop(place, None)) is not None:
            bar.end = at
            bar.failed = event is not None and kind_of(event) == "failures"
        if new is not None:
            self._open[place] = Bar(lane, row, new, at)
            self.all.append(self._open[place])


def changed(before: State, after: State) -> Iterator[int]:
    """The slots that differ between two states, one of which was made of the other."""
    if before.slots is after.slots:
        return
    for index, (old, new) in enumerate(zip(before.slots, after.slots, strict=True)):
        if old is not new:
            yield index
