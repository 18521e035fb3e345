"""What the docs quote is what hpcore prints and reads; the license is everywhere."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from hpcore.scenario import values as sc
from hpcore.scenario.read import load
from tests.docs.pages import DOCS, PAGES, ROOT, Found, blocks, code
from tests.support.command import hpcore

QUOTED = re.compile(r"ok +\d+ +\d+\.\d+ s .*| *\d+ +(\d+\.\d+ +)?\S.*")
"""A line that `hpcore run` or `hpcore replay` prints, as it is quoted."""
SCENARIO = re.compile(r"(about|machine|guest|steps|- .*): ?.*\n")


def quotes() -> list[Found]:
    return [line for page in PAGES for line in code(page) if QUOTED.fullmatch(line.text)]


@pytest.fixture(scope="module")
def printed(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """What the first two commands of the README print."""
    log = tmp_path_factory.mktemp("log") / "run.jsonl"
    ran = hpcore("run", "cover-letter", "--accel", "qtest", "--log", log)
    replayed = hpcore("replay", log)
    assert (ran.code, replayed.code) == (0, 0), (ran, replayed)
    return [comparable(line) for line in (ran.out + replayed.out).splitlines()]


def comparable(line: str) -> str:
    """A line without what differs from run to run: times, and the version of hpcore."""
    line = re.sub(r"\b\d+\.\d+\.\d+\b", "VERSION", line)
    return " ".join(re.sub(r"\b\d+\.\d+\b", "TIME", line).split())


def test_the_readme_opens_with_ten_lines_of_output() -> None:
    readme = [quote for quote in quotes() if quote.page == ROOT / "README.md"]
    assert len(readme) == 10
    assert readme[-1].line < 25


@pytest.mark.parametrize("page", [ROOT / "README.md", DOCS / "replay.md"], ids=lambda p: p.name)
def test_what_is_quoted_is_what_is_printed_in_that_order(page: Path, printed: list[str]) -> None:
    rest = iter(printed)
    for quote in quotes():
        if quote.page == page:
            assert comparable(quote.text) in rest, f"{quote} is not printed, or not there"


def test_every_scenario_in_the_docs_can_be_read(tmp_path: Path) -> None:
    read = 0
    for page in PAGES:
        for text in blocks(page):
            if not SCENARIO.match(text):
                continue
            whole = text if "steps:" in text else "steps:\n" + text
            path = tmp_path / f"{read}.yaml"
            path.write_text(whole)
            assert load(str(path)).steps, f"{page}: {text}"
            read += 1
    assert read >= 4


def test_the_table_of_steps_has_every_step() -> None:
    told = (DOCS / "scenarios.md").read_text()
    steps = [step.__name__.removesuffix("Step").lower() for step in sc.ScenarioStep.__args__]
    assert len(steps) > 10
    assert not [step for step in steps if not re.search(rf"`[^`]*{step}\b", told)]


@pytest.mark.parametrize("project", [ROOT, *sorted((ROOT / "backends").iterdir())], ids=str)
def test_every_distribution_has_the_license(project: Path) -> None:
    """hatchling puts a LICENSE that stands beside pyproject.toml into what it builds."""
    about = tomllib.loads((project / "pyproject.toml").read_text())["project"]
    assert about["license"] == "MIT"
    text = (project / "LICENSE").read_text()
    assert text.startswith("MIT License\n\nCopyright (c) 2026 hpcore contributors\n")
    assert text == (ROOT / "LICENSE").read_text()
