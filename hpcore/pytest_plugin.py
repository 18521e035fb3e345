"""A plugin for pytest: sequences and logs are checked in tests, and a failing test keeps its log.

The fixture `hpcore_check` has the methods `sequence` and `log`, to check the one and the other;
`hpcore_log` is where a machine of the test has its log. docs/sequences.md shows them.

`pytest --hpcore-log DIR` keeps the logs of the tests that fail, each under its test's name, with
the scenario that repeats a finding beside it. Nothing of hpcore is loaded before a test asks.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from hpcore.check import GuestModel
    from hpcore.model.properties import Property
    from hpcore.scenario import Scenario
    from hpcore.sequence import Answer, Finding, Question

_KEPT = pytest.StashKey[list[Path]]()
"""The files of a test that are worth keeping where it fails."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--hpcore-log DIR`."""
    parser.getgroup("hpcore", "arm64 vCPU hotplug").addoption(
        "--hpcore-log", metavar="DIR", type=Path, default=None,
        help="keep the hpcore logs of the tests that fail in this directory",
    )  # fmt: skip


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Keep what a test has left that fails, and say where."""
    report = yield
    folder: Path | None = item.config.getoption("hpcore_log", None)
    if folder is None or not report.failed or call.when == "setup":
        return report
    for file in item.stash.get(_KEPT, []):
        if file.exists():
            folder.mkdir(parents=True, exist_ok=True)
            kept = folder / f"{_file_name(item.nodeid)}{file.suffix}"
            shutil.copyfile(file, kept)
            how = "run" if file.suffix == ".yaml" else "replay"
            report.sections.append(("hpcore", f"kept as {kept}; see `hpcore {how} {kept}`"))
    item.stash[_KEPT] = []
    return report


def _file_name(nodeid: str) -> str:
    return re.sub(r"[^\w.-]+", "-", nodeid).strip("-")


@pytest.fixture
def hpcore_log(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Where a machine of this test has its log; kept with `--hpcore-log` where the test fails."""
    path = tmp_path / "machine.jsonl"
    _keep(request.node, path)
    return path


@pytest.fixture
def hpcore_check(request: pytest.FixtureRequest, tmp_path: Path) -> Checker:
    """Checks sequences and logs, and fails the test with what is wrong."""
    return Checker(request.node, tmp_path)


def _keep(item: pytest.Item, *files: Path) -> None:
    item.stash.setdefault(_KEPT, []).extend(files)


class Checker:
    """What the fixture `hpcore_check` gives."""

    def __init__(self, item: pytest.Item, folder: Path) -> None:
        self._item, self._folder = item, folder

    def sequence(
        self,
        scenario: str | Path | Scenario,
        *,
        guest: GuestModel | None = None,
        faults: int = 0,
        race: bool = False,
        resets: bool = False,
        properties: tuple[Property, ...] = (),
    ) -> Answer:
        """Check that every run of a scenario goes as it says; it is a file's name, or YAML.

        The options are those of `hpcore check`; `properties` are asked beside hpcore's own.
        Returns what was found, which is nothing wrong. Raises ScenarioError.
        """
        from hpcore.check import PROPERTIES  # noqa: PLC0415 - nothing before a test asks
        from hpcore.sequence import Anyhow, Question, check, guest_of  # noqa: PLC0415 - as above

        read = _read(scenario)
        question = Question(
            read, guest_of(read) if guest is None else Anyhow(guest), faults=faults, race=race,
            resets=resets, properties=(*PROPERTIES, *properties),
        )  # fmt: skip
        answer = check(question)
        if answer.missing:
            pytest.fail(f"it never happens: {', '.join(answer.missing)}", pytrace=False)
        if answer.findings:
            self._fail(answer.findings[0], question)
        return answer

    def log(self, path: Path) -> None:
        """Check a log as `hpcore replay` does: every invariant held, each decision made again."""
        from hpcore.triage.replay import replay  # noqa: PLC0415 - nothing before a test asks

        _keep(self._item, path)
        told = replay(path)
        if not told.ok:
            pytest.fail(f"{path} is not in order; see `hpcore replay {path}`", pytrace=False)

    def _fail(self, finding: Finding, question: Question) -> None:
        from hpcore.scenario import dump  # noqa: PLC0415 - nothing before a test asks
        from hpcore.sequence.repeat import CannotRepeat, scenario_of  # noqa: PLC0415 - as above
        from hpcore.sequence.told import log_of  # noqa: PLC0415 - as above
        from hpcore.sequence.words import headline, way_of  # noqa: PLC0415 - as above

        log, again = self._folder / "found.jsonl", self._folder / "again.yaml"
        log_of(log, finding, question, "of the protocol", overwrite=True)
        _keep(self._item, log)
        lines = [headline(finding), *(f"{n:>4}  {s}" for n, s in enumerate(way_of(finding), 1))]
        try:
            again.write_text(dump(scenario_of(finding, question).scenario), encoding="utf-8")
            _keep(self._item, again)
        except CannotRepeat as error:
            lines.append(f"No scenario repeats it: {error}")
        pytest.fail("\n".join(lines), pytrace=False)


def _read(scenario: str | Path | Scenario) -> Scenario:
    from hpcore.scenario import Scenario, load, parse  # noqa: PLC0415 - as above

    if isinstance(scenario, Scenario):
        return scenario
    text = str(scenario)
    return parse(text) if "\n" in text else load(text)
