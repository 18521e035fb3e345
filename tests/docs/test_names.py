"""What docs, comments and docstrings name is there, under that name."""

from __future__ import annotations

import ast
import importlib
import io
import re
import tokenize
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from tests.docs.pages import FOLDERS, PAGES, ROOT, Found, ours, spans

PATH = re.compile(rf"(?<![\w/.~-])(?:{'|'.join(FOLDERS)})/[\w/.-]*\w")
DOTTED = re.compile(r"(?<![\w/.@-])hpcore(?:_\w+)?(?:\.\w+)+")
FILE = re.compile(r"(?<![\w/.-])\w+\.py\b")
TEST = re.compile(r"(?<!\w)test_\w+")
NOT_OURS = {
    "mine.py",  # a user's: properties, a guest
    "FILE.py",  # the same, as it is written in a metavar
    "docs/specs/acpi_cpu_hotplug.rst",  # QEMU's
    "hpcore.accelerators",  # an entry-point group
    "hpcore.qemu",  # where a cache or a log is named so
}
IN_A_FILE = re.compile(r"`([\w/.]+\.(?:py|c))` `([\w.]+)`")


@cache
def told(path: Path) -> tuple[Found, ...]:
    """The comments and docstrings of a file in Python."""
    return tuple(_told(path))


def _told(path: Path) -> Iterator[Found]:
    text = path.read_text()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            yield Found(path, token.start[0], token.string)
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            yield Found(path, node.lineno, str(node.value.value))


def resolves(name: str) -> bool:
    """Whether a dotted name is a module, or something that one has."""
    parts = name.split(".")
    for many in range(len(parts), 0, -1):
        try:
            found: object = importlib.import_module(".".join(parts[:many]))
        except ModuleNotFoundError:
            continue
        break
    else:
        return False
    for part in parts[many:]:
        if part in getattr(found, "__annotations__", {}):
            return True  # a field without a value
        if not hasattr(found, part):
            return False
        found = getattr(found, part)
    return True


def missing(found: Found) -> Iterator[str]:
    """What the text names and is not there."""
    for match in PATH.finditer(found.text):
        if match[0] not in NOT_OURS and not (ROOT / match[0]).exists():
            yield f"{found}: there is no {match[0]}"
    for match in DOTTED.finditer(found.text):
        if match[0] not in NOT_OURS and not resolves(match[0]):
            yield f"{found}: nothing is called {match[0]}"
    for match in FILE.finditer(found.text):
        if match[0] not in NOT_OURS | {path.name for path in ours(".py")}:
            yield f"{found}: no file is called {match[0]}"


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_what_a_page_names_is_there(page: Path) -> None:
    wrong = [word for span in spans(page) for word in missing(span)]
    assert not wrong, "\n".join(wrong)


def test_what_comments_and_docstrings_name_is_there() -> None:
    wrong = [word for path in ours(".py") for text in told(path) for word in missing(text)]
    assert not wrong, "\n".join(wrong)


def test_tests_that_are_named_are_there() -> None:
    everything = "\n".join(path.read_text() for path in ours(".py"))
    known = {path.stem for path in ours(".py")}
    known |= set(re.findall(r"^\s*(?:async )?def (test_\w+)", everything, re.MULTILINE))
    texts = [span for page in PAGES for span in spans(page)]
    texts += [text for path in ours(".py") for text in told(path)]
    wrong = [str(t) for t in texts for name in TEST.findall(t.text) if name not in known]
    assert not wrong, "\n".join(wrong)


def stops() -> list[tuple[str, str, str]]:
    """The stops of the tour, and of other pages: a file, and what is in it."""
    return [
        (page.name, path, name)
        for page in PAGES
        for path, name in IN_A_FILE.findall(page.read_text())
    ]


def test_the_tour_names_every_room() -> None:
    told = {span.text for span in spans(ROOT / "docs/tour.md")}
    rooms = {path.parent.name for path in (ROOT / "hpcore").glob("*/__init__.py")}
    assert {f"hpcore/{room}" for room in rooms} <= told


def test_the_tour_has_stops() -> None:
    assert len([page for page, _, _ in stops() if page == "tour.md"]) > 40


@pytest.mark.parametrize("stop", stops(), ids=lambda s: f"{s[1]}-{s[2]}")
def test_a_function_that_is_named_with_its_file_is_in_it(stop: tuple[str, str, str]) -> None:
    _, path, name = stop
    text = (ROOT / path).read_text()
    if path.endswith(".c"):
        assert re.search(rf"^\w.*\b{name}\(", text, re.MULTILINE)
        return
    inner: list[ast.stmt] = ast.parse(text).body
    for part in name.split("."):
        defined = [
            node for node in inner
            if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
            and node.name == part
        ]  # fmt: skip
        assert defined, f"{path} defines no {name}"
        inner = defined[-1].body


@pytest.mark.parametrize(
    "wrong",
    [
        "`hpcore/model/turn.py`", "`hpcore.model.turn`", "`hpcore.model.states.Slot.no`",
        "`own_session.py`", "see docs/nowhere.md",
    ],
)  # fmt: skip
def test_a_name_that_is_not_there_is_found(wrong: str) -> None:
    assert list(missing(Found(ROOT / "README.md", 1, wrong)))


def words() -> list[tuple[str, str]]:
    """Each word of the page of words, and where it stands in the code."""
    rows = re.findall(r"^\| (.+?) \| .+ \| `(.+)` \|$", (ROOT / "docs/words.md").read_text(), re.M)
    return [(word, where) for word, where in rows]


def test_the_page_of_words_says_each_word_once() -> None:
    text = (ROOT / "docs/words.md").read_text()
    said = re.findall(r"^\| (.+?) \| .+ \| .*\|$", text, re.MULTILINE)
    alone = [word.strip() for row in said if row not in ("word", "---") for word in row.split(",")]
    twice = {word for word in alone if alone.count(word) > 1}
    assert not twice
    assert len(words()) > 60
