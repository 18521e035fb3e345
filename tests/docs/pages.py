"""The pages of the docs: what is typed, named and linked in them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from attrs import frozen

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
FOLDERS = ("hpcore", "backends", "tests", "docs", "specs", "bench", "scripts", "examples")
START = DOCS / "README.md"
"""The page that leads to all others."""


@cache
def ours(suffix: str) -> tuple[Path, ...]:
    """The files of the repository with that suffix, and not those that are made or installed."""
    folders = [path for path in ROOT.iterdir() if path.is_dir() and path.name in FOLDERS]
    found = [path for folder in folders for path in folder.rglob(f"*{suffix}")]
    return (*sorted(ROOT.glob(f"*{suffix}")), *sorted(found))


PAGES = ours(".md")


@frozen
class Found:
    """Some text, and where it stands."""

    page: Path
    line: int
    text: str

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}: {self.text}"


def code(page: Path) -> Iterator[Found]:
    """The lines of the page's code blocks, indented or fenced, without their indentation."""
    fenced = False
    for number, line in enumerate(page.read_text().splitlines(), 1):
        if line.lstrip().startswith("```"):
            fenced = not fenced
        elif fenced or line.startswith("    "):
            yield Found(page, number, line if fenced else line[4:])


def blocks(page: Path) -> Iterator[str]:
    """The page's code blocks, each as one text."""
    lines: list[str] = []
    last = 0
    for found in code(page):
        if lines and found.line != last + 1:
            yield "\n".join(lines) + "\n"
            lines = []
        lines.append(found.text)
        last = found.line
    if lines:
        yield "\n".join(lines) + "\n"


def prose(page: Path) -> Iterator[Found]:
    """The lines of the page outside of its code blocks."""
    blocked = {found.line for found in code(page)}
    for number, line in enumerate(page.read_text().splitlines(), 1):
        if number not in blocked and not line.lstrip().startswith("```"):
            yield Found(page, number, line)


def spans(page: Path) -> Iterator[Found]:
    """What stands between backticks in the page's prose, also over the end of a line."""
    text = "\n".join(line.text for line in prose(page))
    numbers = [line.line for line in prose(page)]
    for match in re.finditer(r"`([^`]+)`", text):
        line = numbers[text.count("\n", 0, match.start())]
        yield Found(page, line, " ".join(match[1].split()))


def links(page: Path) -> Iterator[Found]:
    """Where the page's links lead to."""
    for line in prose(page):
        for match in re.finditer(r"\]\(([^)\s]+)\)", line.text):
            yield Found(page, line.line, match[1])


def table(page: Path, head: str) -> Iterator[tuple[str, ...]]:
    """The cells of each row of the page's table whose first heading is `head`."""
    rows: list[str] = []
    for line in prose(page):
        if line.text.startswith(f"| {head} |") or (rows and line.text.startswith("|")):
            rows.append(line.text)
        elif rows:
            break
    for row in rows[2:]:  # after the headings, and the rule below them
        yield tuple(cell.strip() for cell in row.strip("|").split("|"))


def anchors(page: Path) -> set[str]:
    """The names that GitHub gives the page's headings."""
    titles = (line.text.lstrip("# ") for line in prose(page) if line.text.startswith("#"))
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}
