"""The survivors that somebody has looked at, each with the reason why no test was written.

They stand in `known.toml`, by file, operator and the text of the changed lines, not by number, so
that the list lives while the files around them change.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from attrs import frozen

from tests.mutation.mutants import Mutant

LIST = Path(__file__).with_name("known.toml")
KEYS = {"file", "operator", "line", "becomes", "equivalent", "why"}


class KnownError(Exception):
    """The list can't be read. The text says which entry, and why."""


@frozen
class Known:
    """A survivor, or several alike.

    `line` is the text of the changed lines, `becomes` what it is changed to; where that is None,
    all changes that the operator makes of it are meant. An equivalent mutant is no other program
    for anyone who uses it, and counts for nothing; any other counts as a survivor.
    """

    file: str
    operator: str
    line: str
    becomes: str | None
    equivalent: bool
    why: str

    def means(self, mutant: Mutant) -> bool:
        """Whether this is the entry of `mutant`."""
        return (
            (self.file, self.operator, self.line) == (mutant.path, mutant.operator, mutant.before)
            and self.becomes in (None, mutant.after)
        )  # fmt: skip


class KnownList:
    """All of them."""

    def __init__(self, entries: Iterable[Known]) -> None:
        self.entries = tuple(entries)
        self._by_place: dict[tuple[str, str], list[Known]] = {}
        for entry in self.entries:
            self._by_place.setdefault((entry.file, entry.line), []).append(entry)

    def of(self, mutant: Mutant) -> Known | None:
        """The entry of `mutant`, if there is one."""
        entries = self._by_place.get((mutant.path, mutant.before), ())
        return next((entry for entry in entries if entry.means(mutant)), None)

    def without_mutant(self, mutants: Iterable[Mutant], paths: Iterable[str]) -> list[Known]:
        """The entries for `paths` that are of no mutant any more."""
        used = {id(entry) for mutant in mutants if (entry := self.of(mutant)) is not None}
        looked_at = set(paths)
        return [e for e in self.entries if id(e) not in used and e.file in looked_at]


def read_known(path: Path = LIST) -> KnownList:
    """The list in `path`. Raises KnownError."""
    try:
        found = tomllib.loads(path.read_text())
    except tomllib.TOMLDecodeError as error:
        raise KnownError(f"{path}: {error}") from None
    return KnownList(_entry(path, n, fields) for n, fields in enumerate(found.get("left", ()), 1))


def _entry(path: Path, n: int, fields: dict[str, Any]) -> Known:
    wrong = (fields.keys() - KEYS) | (KEYS - {"becomes", "equivalent"} - fields.keys())
    if wrong:
        raise KnownError(f"{path}: entry {n} has, or lacks, {', '.join(sorted(wrong))}")
    return Known(fields["file"], fields["operator"], fields["line"], fields.get("becomes"),
                 fields.get("equivalent", False), fields["why"])  # fmt: skip
