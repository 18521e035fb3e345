"""What an import has to say beside the events: notes in the log that can be read back.

A mark stands in the log right behind the decision that it is about, as a note that a person
can read: `import: flags read of vCPU 2 at qemu.trace:61: ...`.
"""

from __future__ import annotations

import re
from enum import StrEnum

from attrs import frozen


class Kind(StrEnum):
    """What a mark is."""

    ASKED = "asked"
    """A command that somebody gave."""
    GUARD = "guard"
    """QEMU did what a guard of the rules refuses. `name` is the guard."""
    HABIT = "habit"
    """QEMU did not do what the rules do of their own accord. `name` is the habit."""
    INVARIANT = "invariant"
    """What QEMU did breaks an invariant. `name` is the invariant."""
    FLAGS = "flags"
    """The guest has read other flags than the slot has."""
    STATE = "state"
    """What was seen cannot come in the state that was reached; the state was put right."""
    REFUSED = "refused"
    """QEMU refused a command that the rules take."""
    GUEST = "guest"
    """The guest's kernel says that something went wrong. `name` is what."""
    QEMU = "qemu"
    """QEMU, or who started it, says something. `name` is `died` where it was its last word."""
    OPEN = "open"
    """A command that had no answer when the files ended."""
    THREAD = "thread"
    """What a thread of QEMU's did last."""
    END = "end"
    """How the files end: `name` is shutdown, off, died, hung, silent or cut."""
    SUMMARY = "summary"
    """A count, or what was assumed."""


WRONG = frozenset({Kind.GUARD, Kind.INVARIANT, Kind.FLAGS, Kind.STATE, Kind.GUEST})
"""The marks that say of a step that it is wrong."""

_LINE = re.compile(
    r"import: (?P<kind>[a-z]+) (?P<name>[\w.-]+)(?: of vCPU (?P<slot>\d+))?"
    r"(?: at (?P<place>\S.*?:\d+))?: (?P<text>.*)",
    re.DOTALL,
)


@frozen
class Mark:
    """A kind, a name, the vCPU and the line of a file that it is about, and words."""

    kind: Kind
    name: str
    text: str
    slot: int | None = None
    place: str | None = None

    @property
    def wrong(self) -> bool:
        """Whether it says that something was wrong."""
        died = self.kind is Kind.QEMU and self.name == "died"
        return self.kind in WRONG or died

    def line(self) -> str:
        """The mark as a note."""
        of = "" if self.slot is None else f" of vCPU {self.slot}"
        at = "" if self.place is None else f" at {self.place}"
        return f"import: {self.kind} {self.name}{of}{at}: {self.text}"


def read_mark(note: str) -> Mark | None:
    """The mark that a note of a log is, or None for any other note."""
    found = _LINE.fullmatch(note)
    if found is None or found["kind"] not in set(Kind):
        return None
    slot = None if found["slot"] is None else int(found["slot"])
    return Mark(Kind(found["kind"]), found["name"], found["text"], slot, found["place"])
