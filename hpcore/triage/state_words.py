"""A state in a person's words: the machine in a line, and a row of a table for each vCPU."""

from __future__ import annotations

from hpcore.model.states import Shared, Slot, sta

COLUMNS = ("id", "slot", "GICC", "_STA", "on", "bits", "under way", "registered")
"""What a vCPU's row says, beside its number."""

FLAGS = {
    "paused": "paused",
    "migrating": "migrating",
    "ged": "the GED's interrupt pending",
    "scanning": "the event bits being read",
}
"""Of the machine's state: what is so, and how it is said."""


def machine_words(shared: Shared) -> str:
    """The machine's phase, and what else is so of it."""
    flags = [words for name, words in FLAGS.items() if getattr(shared, name)]
    return ", ".join((str(shared.phase), *flags))


def slot_words(slot: Slot) -> tuple[str, ...]:
    """A text for each of COLUMNS. The id is the user's, and may be any text."""
    bits = " ".join(n for n in ("insert", "remove", "requested") if getattr(slot, n))
    doing = " ".join(str(x) for x in (slot.command, slot.step) if x not in (None, "none"))
    return (
        slot.id or "", str(slot.lifecycle), str(slot.gicc), f"{sta(slot):#x}",
        "on" if slot.powered else "", bits, doing, "yes" if slot.registered else "",
    )  # fmt: skip
