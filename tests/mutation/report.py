"""What came of a run: a table by file, the survivors, and the same in JSON."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from attrs import field, frozen

from tests.mutation.forks import Outcome
from tests.mutation.known import Known
from tests.mutation.mutants import Mutant

WANTED = 0.97
"""Of the mutants that are not equivalent, so many must be found."""


@frozen
class Tried:
    """A mutant, what came of it, and its entry in the list of known survivors."""

    mutant: Mutant
    outcome: Outcome
    known: Known | None

    @property
    def equivalent(self) -> bool:
        """Whether it is known to be no other program."""
        return self.known is not None and self.known.equivalent


@frozen
class Row:
    """The figures of one file, or of all."""

    name: str
    made: int
    """The mutants that there are; those that were tried are a sample of them."""
    tried: int = 0
    found: int = 0
    survivors: int = 0
    equivalent: int = 0

    @property
    def share(self) -> float:
        """How much of what is not equivalent was found."""
        return self.found / counted if (counted := self.found + self.survivors) else 1.0

    def __str__(self) -> str:
        share = f"{100 * self.share:6.1f}" if self.found + self.survivors else "     -"
        return (f"{self.name:38}{self.made:8}{self.tried:7}{self.found:7}{self.survivors:11}"
                f"{self.equivalent:12}{share}")  # fmt: skip


HEAD = (f"{'file':38}{'mutants':>8}{'tried':>7}{'found':>7}{'survivors':>11}{'equivalent':>12}"
        f"{'%':>6}")  # fmt: skip


@frozen
class Report:
    """All that came of one run, and what it was asked for."""

    seed: int
    made: dict[str, int]
    tried: Sequence[Tried]
    stale: Sequence[Known] = ()
    seconds: float = 0.0
    known_list: str = "known.toml"
    """The file beside this one in which the known survivors stand."""
    rows: tuple[Row, ...] = field(init=False)
    total: Row = field(init=False)

    def __attrs_post_init__(self) -> None:
        rows = tuple(_row(path, made, [t for t in self.tried if t.mutant.path == path])
                     for path, made in self.made.items())  # fmt: skip
        object.__setattr__(self, "rows", rows)
        object.__setattr__(self, "total", _row("all", sum(self.made.values()), self.tried))

    @property
    def passed(self) -> bool:
        """Whether enough was found."""
        return self.total.share >= WANTED

    @property
    def survivors(self) -> list[Tried]:
        """What was not found, by file and line; the equivalent are none."""
        left = [t for t in self.tried if not t.outcome.found and not t.equivalent]
        return sorted(left, key=lambda t: (t.mutant.path, t.mutant.line, t.mutant.after))

    def lines(self) -> Iterator[str]:
        """The report, to be read."""
        yield HEAD
        yield from (str(row) for row in self.rows if row.tried)
        yield str(self.total)
        new = [t for t in self.survivors if t.known is None]
        if new:
            yield f"\n{len(new)} survivors that nobody has looked at:"
            yield from (line for tried in new for line in _survivor(tried))
        listed = [t for t in self.survivors if t.known is not None]
        if listed:
            yield f"\n{len(listed)} survivors that are known, and for which no test was written:"
            yield from (line for tried in listed for line in _survivor(tried))
        wrong = [t for t in self.tried if t.outcome.found and t.known is not None]
        if wrong:
            yield ("\nknown as survivors, yet found; take these out of "
                   f"tests/mutation/{self.known_list}:")  # fmt: skip
            yield from (line for tried in wrong for line in _survivor(tried))
        if self.stale:
            yield f"\nentries of tests/mutation/{self.known_list} that are of no mutant any more:"
            yield from (f"  {e.file}: {e.operator}: {e.line}" for e in self.stale)
        verdict = "enough" if self.passed else "too few"
        yield (f"\n{self.total.tried} of {self.total.made} mutants tried (seed {self.seed}) in "
               f"{self.seconds / 60:.0f} min; {100 * self.total.share:.1f} % found, {verdict}: "
               f"{100 * WANTED:.0f} % are wanted")  # fmt: skip

    def as_json(self) -> dict[str, Any]:
        """The report, for programs."""
        return {
            "seed": self.seed, "wanted": WANTED, "passed": self.passed, "seconds": self.seconds,
            "total": _row_json(self.total),
            "files": [_row_json(row) for row in self.rows],
            "survivors": [_tried_json(t) for t in self.survivors],
            "tried": [_tried_json(t) for t in self.tried],
            "stale": [{"file": e.file, "operator": e.operator, "line": e.line}
                      for e in self.stale],
        }  # fmt: skip


def _row(name: str, made: int, tried: Iterable[Tried]) -> Row:
    tried = list(tried)
    found = sum(t.outcome.found for t in tried)
    equivalent = sum(t.equivalent for t in tried if not t.outcome.found)
    return Row(name, made, len(tried), found, len(tried) - found - equivalent, equivalent)


def _survivor(tried: Tried) -> Iterator[str]:
    mutant = tried.mutant
    note = f" ({tried.outcome.note})" if tried.outcome.note else ""
    yield f"  {mutant.path}:{mutant.line}: {mutant.operator}{note}"
    yield from (f"    {line}" for line in mutant.diff.splitlines())
    if tried.known is not None:
        yield f"    {tried.known.why}"


def _row_json(row: Row) -> dict[str, Any]:
    return {"file": row.name, "mutants": row.made, "tried": row.tried, "found": row.found,
            "survivors": row.survivors, "equivalent": row.equivalent,
            "share": round(row.share, 4)}  # fmt: skip


def _tried_json(tried: Tried) -> dict[str, Any]:
    mutant, outcome = tried.mutant, tried.outcome
    return {
        "file": mutant.path, "line": mutant.line, "operator": mutant.operator,
        "before": mutant.before, "after": mutant.after,
        "found": outcome.how, "by": outcome.by, "note": outcome.note,
        "equivalent": tried.equivalent, "why": tried.known.why if tried.known else None,
    }  # fmt: skip
