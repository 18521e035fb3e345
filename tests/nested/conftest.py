"""Boots L1 for the tests that have the mark `boots`."""

from __future__ import annotations

import threading

import pytest

from tests.conftest import has_kvm
from tests.nested.boots import AT_A_TIME, Booted

collect_ignore = ["test_kvm_suite.py"] if has_kvm() else []


def pytest_configure(config: pytest.Config) -> None:
    """Name the mark."""
    config.addinivalue_line("markers", "boots(boot): the L1 that the fixture `booted` is")


@pytest.fixture(scope="session")
def boots(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Booted]:
    """All boots of the tests that were asked for, in their order, by the test's node id."""
    turns = threading.Semaphore(AT_A_TIME)
    marks = {item.nodeid: item.get_closest_marker("boots") for item in request.session.items}
    return {
        name: Booted(mark.args[0], tmp_path_factory.mktemp("l1"), turns)
        for name, mark in marks.items()
        if mark is not None
    }


@pytest.fixture
def booted(request: pytest.FixtureRequest, boots: dict[str, Booted]) -> Booted:
    """The L1 of this test."""
    return boots[request.node.nodeid]
