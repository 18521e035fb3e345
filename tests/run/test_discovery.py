"""Accelerators are found by their entry points; one that is broken says so, and stops no other."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from attrs import frozen

from hpcore.run.accelerator import AcceleratorError, Capabilities
from hpcore.run.discovery import Found, find, look_up, probe_all, usable
from tests.support.paper import PaperAccelerator


@frozen
class Entry:
    """An entry point that gives what it is told to."""

    name: str
    load: Callable[[], Callable[[], object]]
    value: str = "tests:accelerator"
    dist: object = None


def broken() -> Callable[[], object]:
    raise ImportError("no module of that name")


class Elsewhere(PaperAccelerator):
    def probe(self) -> Capabilities:
        return Capabilities(unavailable="there is no /dev/kvm")


PAPER = Entry("paper", lambda: PaperAccelerator)
BROKEN = Entry("broken", broken)
ELSEWHERE = Entry("elsewhere", lambda: Elsewhere)


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Has these accelerators alone installed."""

    def installed(*entries: Entry) -> None:
        def entry_points(group: str) -> tuple[Entry, ...]:
            return entries if group == "hpcore.accelerators" else ()

        monkeypatch.setattr("hpcore.run.discovery.entry_points", entry_points)

    return installed


def test_all_are_probed_by_name_and_a_broken_one_stops_no_other(
    install: Callable[..., None],
) -> None:
    install(PAPER, BROKEN)
    broke, paper = probe_all()
    assert (broke.name, broke.accelerator) == ("broken", None)
    assert broke.capabilities.unavailable == (
        "it could not be loaded from tests:accelerator: ImportError: no module of that name"
    )
    assert (paper.name, paper.distribution) == ("paper", "?")
    assert usable(paper) is paper.accelerator


def test_the_distribution_that_brings_an_accelerator_is_named() -> None:
    assert look_up("qtest").distribution == "hpcore-qtest"


def test_a_name_that_is_nearly_one_is_answered_with_that_one(
    install: Callable[..., None],
) -> None:
    install(PAPER, ELSEWHERE)
    with pytest.raises(AcceleratorError) as error:
        look_up("papre")
    assert str(error.value) == (
        "there is no accelerator 'papre'; did you mean paper? Installed: elsewhere, paper"
    )
    with pytest.raises(AcceleratorError) as error:
        look_up("xen")
    assert str(error.value) == (
        "there is no accelerator 'xen'. Installed: elsewhere, paper"
    )


def test_where_none_is_installed_the_message_names_one(install: Callable[..., None]) -> None:
    install()
    assert probe_all() == []
    with pytest.raises(AcceleratorError, match="Installed: none; install hpcore-tcg"):
        look_up("tcg")


@pytest.mark.parametrize(
    ("entry", "why"), [(BROKEN, "it could not be loaded"), (ELSEWHERE, "there is no /dev/kvm")]
)
def test_one_that_cannot_run_here_is_found_by_look_up_and_refused_by_find(
    install: Callable[..., None], entry: Entry, why: str
) -> None:
    install(entry)
    assert why in (look_up(entry.name).capabilities.unavailable or "")
    with pytest.raises(AcceleratorError, match=f"'{entry.name}' cannot run here: {why}"):
        find(entry.name)


def test_what_was_not_loaded_is_not_usable_whatever_its_capabilities_say() -> None:
    with pytest.raises(AcceleratorError, match="'paper' cannot run here"):
        usable(Found("paper", "tests", None, Capabilities()))
