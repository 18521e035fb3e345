"""Boots L1s beside the other tests, for the tests that have the mark `boots`.

Those wait for minutes, mostly, on a core that the others leave idle: so the boots begin
with the first test, and the tests of this room come last.
"""

from __future__ import annotations

from pathlib import Path
from threading import Semaphore

import pytest

from tests.conftest import has_kvm
from tests.nested.boots import Booted

collect_ignore = ["test_kvm_suite.py"] if has_kvm() else []

HERE = Path(__file__).parent
CORES = 2
"""An L1 keeps about one core busy, and so do the other tests."""

_BOOTS = pytest.StashKey[dict[str, Booted]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let who runs these tests beside others say so."""
    parser.addoption(
        "--beside-others", action="store_true", help="boot one L1 at a time: other tests run, too"
    )


def pytest_configure(config: pytest.Config) -> None:
    """Name the mark."""
    config.addinivalue_line("markers", "boots(boot): the L1 that the fixture `booted` is")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """This room's tests last, their own order kept."""
    items.sort(key=lambda item: item.path.is_relative_to(HERE))


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> None:
    """Begin all boots of the tests that were asked for, in their order."""
    if session.config.option.collectonly:
        return
    alone = all(item.path.is_relative_to(HERE) for item in session.items)
    beside = not alone or session.config.getoption("--beside-others", default=False)
    turns = Semaphore(CORES - 1 if beside else CORES)
    marks = {item.nodeid: item.get_closest_marker("boots") for item in session.items}
    session.stash[_BOOTS] = {
        name: Booted(mark.args[0], turns) for name, mark in marks.items() if mark is not None
    }


@pytest.fixture
def booted(request: pytest.FixtureRequest) -> Booted:
    """The L1 of this test."""
    return request.session.stash[_BOOTS][request.node.nodeid]
