"""tests/kvm, run in L1 on a real /dev/kvm; each of its tests is reported here by itself.

Where the machine itself has an arm64 KVM they are run directly, and these are left out.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.conftest import has_kvm
from tests.nested.machine import Ended, Machine, run
from tests.nested.payload import OUT

SECONDS = 1200.0
"""For all tests in one L1; a quiet machine takes a tenth of that."""

INNER_SECONDS = 400
"""For one test in L1."""

pytestmark = [
    pytest.mark.timeout(int(SECONDS) + 300),
    pytest.mark.skipif(has_kvm(), reason="tests/kvm runs directly here"),
]


class Inner:
    """Runs tests in L1 and hands their reports to this pytest, as its own."""

    def __init__(self, session: pytest.Session, capture: pytest.CaptureFixture[str]) -> None:
        self._session, self._capture = session, capture
        self._label = ""
        self.passed: set[str] = set()
        self.failed: set[str] = set()

    def run(self, label: str, machine: Machine, out: Path, *arguments: str) -> Ended:
        """Run `pytest` with `arguments`; `label` is added to the names of its tests."""
        self._label = label
        command = (
            "env", "CI=1", f"HPCORE_KEEP_LOGS={OUT}", "pytest",
            "-p", "tests.nested.reporting", "-p", "no:cacheprovider",
            f"--timeout={INNER_SECONDS}", "--tb=short", *arguments,
        )  # fmt: skip
        return run(command, out, machine=machine, seconds=SECONDS, report=self._report)

    def _report(self, line: str) -> None:
        data = json.loads(line)
        data["nodeid"] += f"[{self._label}]"
        config, hook = self._session.config, self._session.config.hook
        report = hook.pytest_report_from_serializable(config=config, data=data)
        if report.when == "setup":
            self._session.testscollected += 1  # what the progress is a share of
        if report.failed:
            self.failed.add(report.nodeid)
        elif report.when == "call" and report.passed:
            self.passed.add(report.nodeid)
        with self._capture.disabled():  # pytest writes its progress where tests' output goes
            hook.pytest_runtest_logreport(report=report)


@pytest.fixture
def inner(request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]) -> Inner:
    return Inner(request.session, capsys)


def held(ended: Ended, inner: Inner) -> None:
    """Tests were run, none was skipped (CI is set in L1), and all passed."""
    if inner.failed:
        failed = f"{len(inner.failed)} tests failed in L1; each is reported by itself"
        pytest.fail(failed, pytrace=False)
    if ended.status or not inner.passed:
        pytest.fail(f"pytest ended with {ended.status} in L1:\n{ended.output}", pytrace=False)


def test_kvm_with_vhe(inner: Inner, kept_logs: Path) -> None:
    held(inner.run("VHE", Machine(cpu="max"), kept_logs, "tests/kvm"), inner)


def test_kvm_without_vhe(inner: Inner, tmp_path: Path) -> None:
    held(inner.run("nVHE", Machine(cpu="cortex-a57"), tmp_path, "tests/kvm", "-m", "nvhe"), inner)
