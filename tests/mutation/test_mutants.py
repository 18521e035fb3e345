"""What is changed, and what is not; and that a seed always chooses the same."""

from __future__ import annotations

import ast

import pytest

from tests.mutation.mutants import Mutant, all_mutants, is_program, mutants_of, sample

MEMBERS = {"Phase": ["NEW", "RUNNING", "GONE"]}


def made(source: str) -> set[tuple[str, str]]:
    """The operator of each mutant of `source`, and what the changed lines became."""
    return {(m.operator, m.after) for m in mutants_of("a.py", source, MEMBERS)}


@pytest.mark.parametrize(
    ("line", "operator", "becomes"),
    [
        ("a = b < c", "compare", {"a = b <= c", "a = b >= c"}),
        ("a = b is None", "compare", {"a = b is not None"}),
        ("a = b and c", "and-or", {"a = (b or c)"}),
        ("a = b and (c or d)", "condition dropped",
         {"a = b", "a = (c or d)", "a = b and (c)", "a = b and (d)"}),
        ("a = not b", "not dropped", {"a = b"}),
        ("a = -b", "sign dropped", {"a = b"}),
        ("a = b << 2", "arithmetic", {"a = (b >> 2)"}),
        ("a = 7", "constant", {"a = 8"}),
        ("a = True", "constant", {"a = False"}),
        ("a = 'key'", "constant", {"a = 'XXkey'"}),
        ("a = 'words for people'", "text", {'a = ""'}),
        ("a = f'{b} for people'", "text", {'a = ""'}),
        ("a = (b, c)", "element dropped", {"a = (*(), c)", "a = (b, *())"}),
        ("a = {b: c}", "element dropped", {"a = {**{}}"}),
        ("f(b, c=d)", "argument dropped", {"f(b, **{})"}),
        ("a = any(b)", "builtin", {"a = all(b)"}),
        ("a = Phase.GONE", "member", {"a = Phase.NEW"}),
        ("f()", "statement dropped", {"pass"}),
        ("a.b = c", "statement dropped", {"pass"}),
        ("a += b", "statement dropped", {"pass"}),
        ("raise a", "statement dropped", {"pass"}),
        ("if f(a): b()", "negated", {"if not (f(a)): b()"}),
        ("for a in b: c()", "loop", {"for a in (): c()"}),
    ],
)
def test_a_line_is_changed_in_every_way(line: str, operator: str, becomes: set[str]) -> None:
    assert {after for name, after in made(line) if name == operator} == becomes


def test_a_case_is_never_taken_and_an_error_is_caught_no_more() -> None:
    source = "match a:\n    case b.c:\n        pass\ntry:\n    pass\nexcept B:\n    c = d\n"
    assert {("case", "case b.c if False:"), ("handler", "raise")} <= made(source)


@pytest.mark.parametrize(
    "source",
    [
        "def f(a: int = b) -> str | None:\n    '''What it does, in 3 words.'''",
        "class A(B[1]):\n    a: Literal[1] | None\n    'What it is.'",
        "Fields = dict[str, object] | None",
        "import a\nfrom b import c as d",
        "assert a > 1, 'so much'",
        "_log.debug('it began', count=1)",
        "a = b.create_task(c, name='the loop')",
        "a = zip(b, c, strict=True)",
        "__all__ = ['a', 'b']",
        "if TYPE_CHECKING:\n    a = 1",
        "a = cast('B', b)",
        "@frozen(slots=False)\nclass A:\n    pass",
    ],
)
def test_what_says_nothing_of_behaviour_is_not_changed(source: str) -> None:
    assert made(source) == set()


def test_equal_lines_of_a_file_have_mutants_of_their_own() -> None:
    twice = mutants_of("a.py", "def f():\n    a.b = 1\ndef g():\n    a.b = 1\n", MEMBERS)
    assert {(m.nth, m.line) for m in twice if m.operator == "constant"} == {(0, 2), (1, 4)}


def test_a_change_within_lines_of_several_bytes_a_letter_leaves_the_rest() -> None:
    (mutant,) = mutants_of("a.py", 'a = f("é", b > c)\n', MEMBERS)[1:2]
    assert mutant.changed == 'a = f("é", b >= c)\n'


def test_a_change_over_several_lines_is_shown_on_one() -> None:
    source = "a = (\n    b\n    and c\n)\n"
    assert ("and-or", "(b or c)") in made(source)
    mutant = next(m for m in mutants_of("a.py", source, MEMBERS) if m.operator == "and-or")
    assert mutant.diff == "- b and c\n+ (b or c)"


def test_where_a_line_is_run_is_known() -> None:
    source = "A = 1\ndef f(a=2):\n    b = 3\n    return lambda: 4\nB = lambda: 5\n"
    places = {m.change.text: m.place for m in mutants_of("a.py", source, MEMBERS)
              if m.operator == "constant"}  # fmt: skip
    assert [places[n].function for n in "23456"] == [
        None, None, (3, 4), (4, 4), (5, 5)
    ]  # fmt: skip
    assert [n for n in places if places[n].in_lambda] == ["5", "6"]


def test_a_seed_chooses_the_same_mutants_whatever_is_changed_elsewhere() -> None:
    def chosen(seed: int, source: str) -> list[str]:
        return [m.before for m in sample(mutants_of("a.py", source, MEMBERS), seed, 3)]

    lines = "".join(f"a{n} = {n}\n" for n in range(20))
    assert chosen(1, lines) != chosen(2, lines)
    assert chosen(1, lines) == chosen(1, "\n# a comment\n" + lines)


def test_a_sample_has_programs_alone() -> None:
    source = "def f():\n    global a\n    return a\nreturned = 1\n"
    mutants = mutants_of("a.py", source, MEMBERS)
    assert sample(mutants, 1, 0) == sorted(
        (m for m in mutants if is_program(m)), key=lambda m: m.rank(1)
    )


def test_nearly_every_mutant_of_the_project_is_a_program() -> None:
    mutants = all_mutants(["hpcore/log/tail.py", "hpcore/model/guards.py"])
    assert len(mutants) > 300
    assert sum(is_program(m) for m in mutants) > 0.99 * len(mutants)


def test_a_mutant_leaves_the_rest_of_the_file_as_it_is() -> None:
    def dumped(mutant: Mutant) -> list[str]:
        return [ast.dump(node) for node in ast.parse(mutant.changed).body]

    for mutant in all_mutants(["hpcore/run/deadlines.py"]):
        was = [ast.dump(node) for node in ast.parse(mutant.source).body]
        changed = [a for a, b in zip(was, dumped(mutant), strict=True) if a != b]
        assert len(changed) == 1
