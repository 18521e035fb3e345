"""Every mutant of a file, and a sample of them all that a seed chooses."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from hashlib import sha256
from itertools import islice
from pathlib import Path

from attrs import field, frozen

from tests.mutation.operators import Change, Members, changes
from tests.mutation.places import children, skipped

ROOT = Path(__file__).parents[2]
SUBJECTS = ("hpcore/model/*.py", "hpcore/log/*.py", "hpcore/run/*.py",
            "hpcore/platform/hotplug_*.py")  # fmt: skip
"""What is changed; all that is one of these is looked at."""
ENUMERATIONS = ("Enum", "IntEnum", "StrEnum", "IntFlag", "Flag")

Span = tuple[int, int]
"""The first and the last of some lines."""


@frozen
class Place:
    """Where in a program a change is made: when are its lines run?

    `lines` are those of the statement, or of the lambda, that is changed. `function` is the body
    of the innermost function around them; None where they are run when the module is imported.
    """

    lines: Span
    function: Span | None
    in_lambda: bool


@frozen(slots=False)
class Mutant:
    """One changed file. `nth` tells equal changes of equal lines in one file apart."""

    path: str
    change: Change
    place: Place = field(eq=False)
    source: str = field(repr=False)
    nth: int = 0

    @property
    def operator(self) -> str:
        """The name of what was done."""
        return self.change.operator

    @property
    def line(self) -> int:
        """The line in which the change begins."""
        return self.change.start[0]

    @cached_property
    def before(self) -> str:
        """The changed lines as they were, on one line."""
        first, last = self.line, self.change.end[0]
        return _joined(self.source.splitlines()[first - 1 : last])

    @cached_property
    def after(self) -> str:
        """The changed lines as they are now, on one line."""
        behind = len(self.source.splitlines()) - self.change.end[0]
        lines = self.changed.splitlines()
        return _joined(lines[self.line - 1 : len(lines) - behind])

    @cached_property
    def changed(self) -> str:
        """The whole file, changed."""
        lines = [line.encode() for line in self.source.splitlines(keepends=True)]
        (first, left), (last, right) = self.change.start, self.change.end
        before = b"".join(lines[: first - 1]) + lines[first - 1][:left]
        after = lines[last - 1][right:] + b"".join(lines[last:])
        return (before + self.change.text.encode() + after).decode()

    @property
    def diff(self) -> str:
        """The change, as two lines of a diff."""
        return f"- {self.before}\n+ {self.after}"

    def rank(self, seed: int) -> bytes:
        """Where `seed` puts this mutant among all; a change elsewhere leaves its rank as it is."""
        what = (seed, self.path, self.operator, self.before, self.after, self.nth)
        return sha256(repr(what).encode()).digest()


def _joined(lines: Iterable[str]) -> str:
    return " ".join(line.strip() for line in lines)


def subjects() -> list[str]:
    """Every file that is changed, from the root."""
    found = sorted(p for pattern in SUBJECTS for p in ROOT.glob(pattern))
    return [path.relative_to(ROOT).as_posix() for path in found]


def members() -> Members:
    """The members of the project's enumerations, in the files that are changed."""
    out: dict[str, list[str]] = {}
    for path in subjects():
        for node in ast.walk(ast.parse((ROOT / path).read_text())):
            if isinstance(node, ast.ClassDef) and any(
                isinstance(base, ast.Name) and base.id in ENUMERATIONS for base in node.bases
            ):
                out[node.name] = [
                    target.id
                    for statement in node.body if isinstance(statement, ast.Assign)
                    for target in statement.targets if isinstance(target, ast.Name)
                ]  # fmt: skip
    return out


def mutants_of(path: str, source: str, known_members: Members) -> list[Mutant]:
    """Every mutant of one file, each once."""
    out: dict[str, Mutant] = {}
    seen: dict[tuple[str, str, str], int] = {}
    tree = ast.parse(source)
    for node, parent, place in _places(tree, None, Place((1, 1), None, False)):
        for change in changes(node, parent, known_members):
            mutant = Mutant(path, change, place, source)
            if mutant.changed in out:
                continue
            like = (mutant.operator, mutant.before, mutant.after)
            seen[like] = seen.get(like, -1) + 1
            out[mutant.changed] = Mutant(path, change, place, source, seen[like])
    return list(out.values())


def all_mutants(paths: Sequence[str]) -> list[Mutant]:
    """Every mutant of `paths`."""
    known = members()
    return [m for path in paths for m in mutants_of(path, (ROOT / path).read_text(), known)]


def sample(mutants: Iterable[Mutant], seed: int, size: int) -> list[Mutant]:
    """The `size` mutants that `seed` puts first; all of them, in its order, where `size` is 0."""
    ranked = sorted(mutants, key=lambda m: m.rank(seed))
    programs = (m for m in ranked if is_program(m))
    return list(islice(programs, size or None))


def is_program(mutant: Mutant) -> bool:
    """Whether what was changed is Python still, which takes some time to see."""
    try:
        ast.parse(mutant.changed)
    except SyntaxError:
        return False
    return True


def _places(
    node: ast.AST, parent: ast.AST | None, place: Place
) -> Iterator[tuple[ast.AST, ast.AST | None, Place]]:
    if skipped(node):
        return
    yield node, parent, place
    if isinstance(node, ast.JoinedStr):  # what is in it has no place of its own before 3.12
        return
    for child in children(node):
        yield from _places(child, node, _place_in(node, child, place))


def _place_in(node: ast.AST, child: ast.AST, place: Place) -> Place:
    """The place of `child`, which is a part of `node`."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and child in node.body:
        place = Place(place.lines, (node.body[0].lineno, node.end_lineno or 0), False)
    if isinstance(node, ast.Lambda) and child is node.body:
        lines = child.lineno, child.end_lineno or 0
        return Place(lines, lines, True)
    if isinstance(child, ast.stmt):
        return Place(_header(child), place.function, place.in_lambda)
    if isinstance(child, ast.ExceptHandler):
        return Place((child.lineno, child.body[0].lineno), place.function, place.in_lambda)
    if isinstance(child, ast.match_case):
        lines = child.pattern.lineno, max(child.pattern.lineno, child.body[0].lineno - 1)
        return Place(lines, place.function, place.in_lambda)
    return place


def _header(statement: ast.stmt) -> Span:
    """The lines of a statement without those of the statements in it."""
    first, last = statement.lineno, statement.end_lineno or statement.lineno
    match statement:
        case ast.Match(cases=[case, *_]):
            last = case.pattern.lineno - 1
        case ast.If(body=[inner, *_]) | ast.While(body=[inner, *_]) | ast.For(body=[inner, *_]) | \
             ast.With(body=[inner, *_]) | ast.AsyncWith(body=[inner, *_]) | \
             ast.AsyncFor(body=[inner, *_]) | ast.Try(body=[inner, *_]) | \
             ast.FunctionDef(body=[inner, *_]) | ast.AsyncFunctionDef(body=[inner, *_]) | \
             ast.ClassDef(body=[inner, *_]):  # fmt: skip
            last = inner.lineno - 1
    return first, max(first, last)
