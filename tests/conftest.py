"""For all tests: where CI runs, nothing is skipped; the KVM tests run where KVM is."""

from __future__ import annotations

import contextlib
import os
import platform
import signal
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

KVM_TESTS = tuple(Path(__file__).parent / name for name in ("kvm", "kvm_with_qemu"))


def pytest_configure(config: pytest.Config) -> None:
    """Name the marks that are used across rooms."""
    config.addinivalue_line("markers", "nvhe: a KVM test that is run in nVHE mode as well")
    config.addinivalue_line("markers", "long: by `make test-long`, or `make nested-more`")
    config.addinivalue_line("markers", "each_qemu: run with each QEMU that is had, not one alone")
    config.addinivalue_line("markers", "debian: needs the Debian disk, which takes minutes to make")
    # machines here are shared: an example that takes long says nothing of the code
    settings.register_profile(
        "busy", parent=settings(), deadline=None, suppress_health_check=[HealthCheck.too_slow]
    )
    settings.load_profile("busy")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Those that need the Debian disk after the others, while it is being made."""
    items.sort(key=lambda item: item.get_closest_marker("debian") is not None)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtestloop(session: pytest.Session) -> Generator[None, None, None]:
    """Make the Debian disk beside the first tests, where it is not in the cache yet.

    Whoever needs it then waits for it, or makes it and says what is wrong.
    """
    needed = any(item.get_closest_marker("debian") for item in session.items)
    if not needed or session.config.option.collectonly:
        yield
        return
    with subprocess.Popen(
        [sys.executable, "-m", "tests.debian.disk"], start_new_session=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    ) as making:  # fmt: skip
        yield
        with contextlib.suppress(ProcessLookupError):
            os.killpg(making.pid, signal.SIGKILL)


def has_kvm() -> bool:
    """Whether this is an arm64 machine whose /dev/kvm may be used."""
    return platform.machine() == "aarch64" and os.access("/dev/kvm", os.R_OK | os.W_OK)


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    """Leave tests of a KVM to tests/nested where there is no arm64 KVM."""
    return True if collection_path in KVM_TESTS and not has_kvm() else None


def pytest_report_header() -> str | None:
    """Say where the KVM tests are, so that nobody misses them."""
    if has_kvm():
        return None
    return "tests/kvm*: no arm64 KVM here; tests/nested runs them (see docs/kvm.md)"


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, None]:
    """Turn a skip into a failure when CI is set."""
    outcome = yield
    report: pytest.TestReport = outcome.get_result()
    if report.skipped and os.environ.get("CI") and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid} would be skipped, and CI skips nothing: {report.longrepr}"


@pytest.fixture(scope="session")
def kept_logs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where logs of scenarios are kept for other tests, as ACCELERATOR-SCENARIO.jsonl.

    $HPCORE_KEEP_LOGS, so that those of L1 come back; else a directory of this session.
    """
    named = os.environ.get("HPCORE_KEEP_LOGS")
    directory = Path(named) if named else tmp_path_factory.mktemp("logs")
    directory.mkdir(parents=True, exist_ok=True)
    return directory
