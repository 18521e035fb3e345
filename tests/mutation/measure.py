"""Which tests run which line, measured once and kept until the program or the test changes.

The tests are run under coverage, with the running test as its context. What a fixture of a whole
file runs counts for every test of the file. What is kept is in `build/mutation/map`, one file
for each file of tests.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Generator, Iterable
from hashlib import sha256
from itertools import groupby
from pathlib import Path
from typing import IO, Any

import coverage
import pytest
from attrs import field, frozen

from tests.mutation import suite
from tests.mutation.mutants import ROOT, SUBJECTS, Span, subjects

KEPT = ROOT / "build" / "mutation" / "map"
OF_THE_FILE = "::*"


class MeasureFailed(Exception):
    """The tests fail though nothing is changed. The text has the tests."""


@frozen
class Measured:
    """What is known of the tests, together."""

    seconds: dict[str, float] = field(factory=dict)
    runs: dict[str, dict[int, set[str]]] = field(factory=dict)
    """The tests that run a line, by file and line."""
    imported: dict[str, set[int]] = field(factory=dict)
    """The lines that are run while modules are imported."""

    def tests_of(self, path: str, lines: Span) -> set[str]:
        """The tests that run one of `lines`."""
        of_file = self.runs.get(path, {})
        first, last = lines
        return {test for n in range(first, last + 1) for test in of_file.get(n, ())}

    def at_import(self, path: str, lines: Span) -> bool:
        """Whether one of `lines` is run while modules are imported."""
        first, last = lines
        return any(first <= line <= last for line in self.imported.get(path, ()))

    def _add(self, kept: dict[str, Any]) -> None:
        self.seconds.update(kept["seconds"])
        of_file = list(kept["seconds"])
        for path, lines in kept["runs"].items():
            for line, tests in lines.items():
                run_by = self.runs.setdefault(path, {}).setdefault(int(line), set())
                for test in tests:
                    run_by.update(of_file if test.endswith(OF_THE_FILE) else [test])
        for path, imported in kept["imported"].items():
            self.imported.setdefault(path, set()).update(imported)


def measured(jobs: int) -> Measured:
    """What the tests run; those that were never measured, or have changed, are measured now.

    `jobs` rooms of tests at a time. Raises MeasureFailed where a test fails.
    """
    keys = {name: _key(name) for name in suite.test_files()}
    missing = [name for name, key in keys.items() if (_kept(name) or {}).get("key") != key]
    if missing:
        print(f"measuring which lines {len(missing)} files of tests run; this takes minutes",
              flush=True)  # fmt: skip
        rooms = [list(names) for _, names in groupby(missing, suite.room_of)]
        _measure_in_children(rooms, keys, jobs)
    out = Measured()
    for name in keys:
        out._add(_kept(name) or {"seconds": {}, "runs": {}, "imported": {}})
    return out


def _kept_as(name: str) -> Path:
    return KEPT / f"{name.replace('/', '.')}.json"


def _kept(name: str) -> dict[str, Any] | None:
    try:
        found = json.loads(_kept_as(name).read_bytes())
    except FileNotFoundError:
        return None
    assert isinstance(found, dict)
    return found


def _key(name: str) -> str:
    """What a measurement depends on: the program, the helpers of the tests, and the tests."""
    room = (ROOT / name).parent
    helpers = [p for p in room.glob("*.py") if not p.name.startswith("test_")]
    files = [*(ROOT / "hpcore").rglob("*.py"), *(ROOT / "tests" / "support").glob("*.py"),
             ROOT / "tests" / "conftest.py", *helpers, ROOT / name]
    digest = sha256()
    for path in sorted(set(files)):
        digest.update(f"{path.relative_to(ROOT)}\n".encode() + path.read_bytes())
    return digest.hexdigest()


def _measure_in_children(rooms: list[list[str]], keys: dict[str, str], jobs: int) -> None:
    """This process must not import hpcore: mutants are imported in its forks."""
    waiting, children = list(rooms), dict[int, IO[bytes]]()
    failed = b""
    while waiting or children:
        while waiting and len(children) < jobs:
            said: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - read after its end
            children[_measure_in_a_child(waiting.pop(0), keys, said)] = said
        pid, status = os.wait()
        with children.pop(pid) as heard:
            heard.seek(0)
            failed += heard.read() if status else b""
    if failed:
        raise MeasureFailed(
            f"{failed.decode(errors='replace')}\nthe tests do not pass on the unchanged program, "
            "so they can't judge a changed one: see above; `make test` says the same"
        )


def _measure_in_a_child(names: list[str], keys: dict[str, str], said: IO[bytes]) -> int:
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            os.dup2(said.fileno(), 1)
            os.dup2(said.fileno(), 2)
            code = _measure(names, keys)
        finally:
            sys.stdout.flush()
            os._exit(code)
    return pid


class _Contexts:
    """A plugin of pytest that tells coverage which test is running."""

    def __init__(self, cover: coverage.Coverage) -> None:
        self._cover = cover
        self.seconds: dict[str, float] = {}
        self.now = ""

    def _switch(self, context: str) -> str:
        before, self.now = self.now, context
        self._cover.switch_context(context)
        return before

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, None, None]:
        self._switch(item.nodeid)
        self.seconds[item.nodeid] = 0.0
        yield
        self._switch("")

    @pytest.hookimpl(hookwrapper=True)
    def pytest_fixture_setup(
        self, fixturedef: pytest.FixtureDef[Any], request: pytest.FixtureRequest
    ) -> Generator[None, None, None]:
        shared = fixturedef.scope != "function"
        before = self.now
        if shared:
            self._switch(suite.file_of(request._pyfuncitem.nodeid) + OF_THE_FILE)
        yield
        if shared:
            self._switch(before)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.seconds[report.nodeid] += report.duration


def _measure(names: list[str], keys: dict[str, str]) -> int:
    suite.use_few_examples()
    cover = coverage.Coverage(
        data_file=None, config_file=False, include=[f"{ROOT}/{pattern}" for pattern in SUBJECTS]
    )
    contexts = _Contexts(cover)
    cover.start()
    code = pytest.main(suite.arguments(names), plugins=[suite.FewExamples(), contexts])
    cover.stop()
    if code != pytest.ExitCode.OK:
        return int(code)
    runs, imported = _read(cover.get_data())
    for name in names:
        mine = {test: s for test, s in contexts.seconds.items() if suite.file_of(test) == name}
        kept = {"key": keys[name], "seconds": mine, "runs": _of(name, runs), "imported": imported}
        _kept_as(name).parent.mkdir(parents=True, exist_ok=True)
        _kept_as(name).write_text(json.dumps(kept))
    return 0


Lines = dict[str, dict[int, list[str]]]


def _read(data: coverage.CoverageData) -> tuple[Lines, dict[str, list[int]]]:
    runs: Lines = {}
    imported: dict[str, list[int]] = {}
    for path in subjects():
        lines = data.contexts_by_lineno(str(ROOT / path))
        runs[path] = {n: [test for test in tests if test] for n, tests in lines.items()}
        imported[path] = [n for n, tests in lines.items() if "" in tests]
    return runs, imported


def _of(name: str, runs: Lines) -> Lines:
    """What the tests of one file run."""

    def ours(tests: Iterable[str]) -> list[str]:
        return [test for test in tests if suite.file_of(test) == name]

    out = {path: {n: ours(tests) for n, tests in lines.items()} for path, lines in runs.items()}
    return {path: {n: t for n, t in lines.items() if t} for path, lines in out.items()}
