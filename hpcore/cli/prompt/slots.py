"""The slots of a machine as a table of text: which vCPU, its id, its state, what it owes."""

from __future__ import annotations

from itertools import groupby

from hpcore.model.machines import Phase
from hpcore.model.states import Owed, Slot, State

HEAD = ("vCPU", "id", "state", "online", "owed")


def table(state: State, most: int | None = None) -> list[str]:
    """The lines of the table; neighbours that differ in nothing are one. `most` rows of them."""
    rows = [HEAD, *_rows(state)]
    widths = [max(len(row[n]) for row in rows) for n in range(len(HEAD))]
    lines = [
        "  ".join(f"{word:{width}}" for word, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
    left_out = 0 if most is None else max(0, len(rows) - 1 - most)
    lines = lines[: len(rows) - left_out]
    return [*lines, f"and {left_out} more lines: `slots` shows them"] if left_out else lines


def machine_line(state: State) -> str:
    """What the machine does, in a few words."""
    shared = state.shared
    doing = [str(shared.phase)]
    if shared.paused and shared.phase is not Phase.OFF:
        doing.append("paused")
    if shared.step is not None:
        doing.append(f"{shared.step.name.lower().replace('_', ' ')} is under way")
    return ", ".join(doing)


def _rows(state: State) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    numbered = enumerate(map(_words, state.slots))
    for words, group in groupby(numbered, key=lambda one: one[1]):
        indices = [index for index, _ in group]
        first, last = indices[0], indices[-1]
        rows.append((str(first) if first == last else f"{first}-{last}", *words))
    return rows


def _words(slot: Slot) -> tuple[str, ...]:
    id_ = "at boot" if slot.cold else slot.id or ""
    return id_, str(slot.lifecycle), "yes" if slot.powered else "no", _owed(slot)


def _owed(slot: Slot) -> str:
    words = [] if slot.command is Owed.NONE else [str(slot.command).replace("_", " ")]
    if slot.step is not None:
        words.append(slot.step.name.lower().replace("_", " "))
    elif slot.waits_for_guest and slot.requested:
        words.append("the guest is asked")
    return ": ".join(words)
