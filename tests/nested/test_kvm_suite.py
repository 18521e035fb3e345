"""tests/kvm and tests/kvm_with_qemu, run in L1 on a real /dev/kvm.

Each of their tests is reported here by itself.

Where the machine itself has an arm64 KVM they are run directly, and this is left out.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.nested.boots import Booted, NestedBoot
from tests.nested.machine import NestedMachine
from tests.nested.payload import OUT

SECONDS = 2700.0
"""For all tests in one L1; a quiet machine takes a fraction of that."""

INNER_SECONDS = 800
"""For one test in L1."""

pytestmark = pytest.mark.timeout(2 * int(SECONDS))


def kvm_tests(room: str, machine: NestedMachine, *arguments: str) -> pytest.MarkDecorator:
    """The boot that runs a room of tests on such an L1. CI is set: none may be skipped."""
    command = (
        "env", "CI=1", f"HPCORE_KEEP_LOGS={OUT}", "pytest", f"tests/{room}",
        "-p", "tests.nested.reporting", "-p", "no:cacheprovider",
        f"--timeout={INNER_SECONDS}", "--tb=short", *arguments,
    )  # fmt: skip
    return pytest.mark.boots(NestedBoot(command, lambda: machine, SECONDS))


class Inner:
    """Hands the reports of tests in L1 to this pytest, as its own."""

    def __init__(self, session: pytest.Session, capture: pytest.CaptureFixture[str]) -> None:
        self._session, self._capture = session, capture
        self._passed: set[str] = set()
        self._failed: set[str] = set()

    def hold(self, booted: Booted, label: str) -> None:
        """Tests were run there and all passed. `label` is added to their names."""
        for line in booted.reports():
            self._report(json.loads(line), label)
        ended = booted.ended()
        if self._failed:
            failed = f"{len(self._failed)} tests failed in L1; each is reported by itself"
            pytest.fail(failed, pytrace=False)
        if ended.status or not self._passed:
            said = f"pytest ended with {ended.status} in L1:\n{ended.output}"
            pytest.fail(said, pytrace=False)
        if ended.complaints:
            pytest.fail(f"L1's kernel complains:\n{ended.complaints}", pytrace=False)

    def _report(self, data: dict[str, str], label: str) -> None:
        data["nodeid"] += f"[{label}]"
        config, hook = self._session.config, self._session.config.hook
        report = hook.pytest_report_from_serializable(config=config, data=data)
        if report.when == "setup":
            self._session.testscollected += 1  # what the progress is a share of
        if report.failed:
            self._failed.add(report.nodeid)
        elif report.when == "call" and report.passed:
            self._passed.add(report.nodeid)
        with self._capture.disabled():  # pytest writes its progress where tests' output goes
            hook.pytest_runtest_logreport(report=report)


@pytest.fixture
def inner(request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]) -> Inner:
    return Inner(request.session, capsys)


def keep(booted: Booted, logs: Path, pattern: str) -> None:
    """Keep the logs of scenarios, for other tests to hold against those of tcg."""
    found = list(booted.out.glob(pattern))
    assert found, f"L1 kept no {pattern}"
    for log in found:
        shutil.copy(log, logs)


@kvm_tests("kvm", NestedMachine(), "-m", "not long")
def test_kvm_with_vhe(inner: Inner, booted: Booted, kept_logs: Path) -> None:
    inner.hold(booted, "VHE")
    keep(booted, kept_logs, "kvm-*.jsonl")


@kvm_tests("kvm", NestedMachine(cpu="cortex-a57"), "-m", "nvhe and not long")
def test_kvm_without_vhe(inner: Inner, booted: Booted) -> None:
    inner.hold(booted, "nVHE")


@kvm_tests("kvm_with_qemu", NestedMachine(qemu="7.2"), "-m", "not long")
def test_kvm_with_qemu_7_2(inner: Inner, booted: Booted, kept_logs: Path) -> None:
    inner.hold(booted, "QEMU 7.2")
    keep(booted, kept_logs, "kvm-qemu-*.jsonl")
