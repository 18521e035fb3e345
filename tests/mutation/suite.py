"""Which tests are asked, and how pytest and hypothesis run them here.

Tests that start a QEMU, boot Linux, or start `hpcore` in a process of its own are left out: they
take long, and what they start is not the changed program.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import PurePath

import pytest
from hypothesis import Phase, settings

from tests.mutation.mutants import ROOT

TESTS = (
    "tests/model", "tests/log", "tests/run", "tests/platform", "tests/scenario", "tests/triage",
    "tests/conformance/test_recordings.py", "tests/conformance/test_deviations.py",
    "tests/guest/test_played.py",
)  # fmt: skip
LEFT_OUT = {
    "tests/platform/test_linux_accepts.py": "boots Linux",
    "tests/platform/test_aml_runs.py": "runs acpiexec on tables; nothing of what is changed",
    "tests/model/test_protocol.py":
        "minutes of walks; test_decisions_of_a_version and test_switches are quicker",
    "tests/model/test_decide.py::test_any_device_add_is_answered": "half a minute",
    "tests/log/test_faults.py::test_no_acknowledged_event_is_lost_by_kill_9": "a second process",
}
"""What is not asked, though it is in one of TESTS."""

OPTIONS = (
    "-q", "-p", "no:cacheprovider", "--rootdir", str(ROOT),
    "-W", "ignore::pytest.PytestAssertRewriteWarning",  # hypothesis is imported already
)  # fmt: skip


FEW = 40
"""Examples that a test of hypothesis' tries."""


def use_few_examples() -> None:
    """Let hypothesis try the same examples every time, and not look for the smallest failure.

    tests/conftest.py makes its own profile from the one that is in force.
    """
    settings.register_profile(
        "mutation", derandomize=True, database=None, deadline=None, max_examples=FEW,
        phases=(Phase.explicit, Phase.generate),
    )  # fmt: skip
    settings.load_profile("mutation")


class FewExamples:
    """A plugin of pytest that lets no test of hypothesis' try more examples than `FEW`."""

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Change the settings of those that ask for more."""
        for item in items:
            test = getattr(item, "obj", None)
            own = getattr(test, _SETTINGS, None)
            if own is not None and own.max_examples > FEW:
                setattr(test, _SETTINGS, settings(own, max_examples=FEW))


_SETTINGS = "_hypothesis_internal_use_settings"


def arguments(tests: Sequence[str], *options: str) -> list[str]:
    """What pytest is started with."""
    return [*OPTIONS, *options, *(f"--deselect={name}" for name in LEFT_OUT if "::" in name),
            *(f"--ignore={name}" for name in LEFT_OUT if "::" not in name), *tests]  # fmt: skip


def test_files() -> list[str]:
    """Every file of tests that are asked, from the root."""
    found = []
    for name in TESTS:
        path = ROOT / name
        found += [path] if path.is_file() else sorted(path.rglob("test_*.py"))
    names = (path.relative_to(ROOT).as_posix() for path in found)
    return [name for name in names if name not in LEFT_OUT]


def file_of(test: str) -> str:
    """The file of a test."""
    return test.partition("::")[0]


def room_of(path: str) -> str:
    """The room of a file: `hpcore/log/tail.py` and `tests/log/test_torn.py` are both of `log`."""
    return PurePath(path).parts[1]


def at_home() -> None:
    """Be where the tests are started from."""
    os.chdir(ROOT)
