"""Which of the differences between a good log and a bad one make it bad.

The stimuli of both are laid side by side. Each that only one of them has is a difference. The
least of the differences is looked for with which the good log breaks what the bad one does.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from difflib import SequenceMatcher
from os import PathLike
from typing import IO

from attrs import frozen

from hpcore.log import Header
from hpcore.triage.case import Case, Entry, NoCase, Run, case_of, entries_of, run
from hpcore.triage.pieces import least

MOST_PAIRS = 20_000_000
"""Of stimuli that are compared one with each other; beyond it, what comes often is not."""

Source = str | PathLike[str] | IO[bytes]


@frozen(eq=False)
class Edit:
    """A stimulus that one of the logs alone has. `at` is its place in the good log."""

    at: int
    entry: Entry
    in_bad: bool


@frozen(eq=False)
class Bisected:
    """The differences that matter, of how many, and what comes of the good log with them.

    `good` is the good log's header, `case` what the bad one comes to.
    """

    good: Header
    case: Case
    edits: tuple[Edit, ...]
    of: int
    run: Run

    @property
    def first(self) -> Edit:
        """Where the bad log leaves the good one, as far as it matters."""
        return self.edits[0]


def bisect(
    good: Source, bad: Source, tell: Callable[[int], None] = lambda _left: None
) -> Bisected:
    """Hold the log at `good` against the one at `bad`. Raises LogError.

    Raises NoCase where the good one is wrong, the bad one right, or their machines differ.
    """
    try:
        case = case_of(bad)
    except NoCase as error:
        raise NoCase(f"the bad log: {error}") from error
    header, entries, broken = entries_of(good)
    if broken is not None:
        raise NoCase(f"the good log is wrong itself: it breaks {broken.invariant}")
    if header.machine != case.header.machine:
        raise NoCase("the machines of the two logs are not the same; `hpcore diff` says how")
    edits = _edits(entries, case.entries)

    def without(rest: tuple[Edit, ...]) -> tuple[Edit, ...] | None:
        found = run(case, edited(entries, rest)).broken
        if found is None or found.invariant != case.broken.invariant:
            return None
        tell(len(rest))
        return rest

    if without(edits) is None:
        raise NoCase("with all that the bad log has, the good one does not break the same")
    left = least(edits, without)
    return Bisected(header, case, left, len(edits), run(case, edited(entries, left)))


def edited(entries: Sequence[Entry], edits: Sequence[Edit]) -> tuple[Entry, ...]:
    """The good log's entries with some of the differences made."""
    removed = {edit.at for edit in edits if not edit.in_bad}
    added: dict[int, list[Entry]] = {}
    for edit in edits:
        if edit.in_bad:
            added.setdefault(edit.at, []).append(edit.entry)
    out: list[Entry] = []
    for at in range(len(entries) + 1):
        out += added.get(at, [])
        if at < len(entries) and at not in removed:
            out.append(entries[at])
    return tuple(out)


def _edits(good: Sequence[Entry], bad: Sequence[Entry]) -> tuple[Edit, ...]:
    pairs = len(good) * len(bad)
    match = SequenceMatcher(None, _keys(good), _keys(bad), autojunk=pairs > MOST_PAIRS)
    out: list[Edit] = []
    for tag, a, b, c, d in match.get_opcodes():
        if tag != "equal":
            out += [Edit(at, good[at], in_bad=False) for at in range(a, b)]
            out += [Edit(b, bad[at], in_bad=True) for at in range(c, d)]
    return tuple(out)


def _keys(entries: Sequence[Entry]) -> list[object]:
    return [(e.stimulus, None if e.fact is None else e.fact.events) for e in entries]
