"""Walking through the states of a small configuration, in a real browser."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser

from hpcore.check.graphs.walkable import Place, walkable
from hpcore.check.tabulated.start import take
from hpcore.check.variants.known_bugs import ALL
from hpcore.check.world.environment import Environment
from hpcore.check.world.guests import LINUX
from hpcore.show.explorer_page import explorer_page
from hpcore.triage.state_words import slot_words
from tests.check.reference import search
from tests.support.browser import Opened, opened
from tests.support.command import hpcore, refused

SMALL = Environment(slots=1, guest=LINUX, faults=0, reset=True, migration=False, power_off=True)
MUTANT = ALL["eject_was_requested"]


@pytest.fixture(scope="module")
def places() -> list[Place]:
    environment = Environment(
        slots=2, guest=LINUX, faults=0, reset=False, migration=False, power_off=False
    )
    return walkable(environment, most=150)


@pytest.fixture(scope="module")
def page(
    places: list[Place], tmp_path_factory: pytest.TempPathFactory, browser: Browser
) -> Iterator[Opened]:
    path = tmp_path_factory.mktemp("page") / "walk.html"
    path.write_text(explorer_page(SMALL, places, "hpcore's"), encoding="utf-8")
    with opened(browser, path) as found:
        yield found


def test_the_states_are_those_that_a_plain_search_reaches() -> None:
    found = walkable(SMALL)
    lasting = [place for place in found if not SMALL.over(place.state.shared)]
    assert len(lasting) == search(SMALL).states
    assert all(place.moves is not None for place in found)


def test_every_move_leads_where_decide_leads(places: list[Place]) -> None:
    for place in places[:40]:
        for move in place.moves or ():
            taken = take(place.state, move.by)
            assert taken.events == move.events
            assert move.to is not None
            assert taken.after.shared == places[move.to].state.shared


def test_beyond_the_most_states_are_found_and_not_looked_into(places: list[Place]) -> None:
    cut = [place for place in places if place.moves is None]
    assert cut
    assert len(places) - len(cut) < 150


def test_a_move_is_taken_and_taken_back(page: Opened, places: list[Place]) -> None:
    page.ask("go(0)")
    first: Any = places[0].moves
    page.press("1")
    assert page.ask("at") == first[0].to
    cells = page.ask(
        "[...document.querySelectorAll('#state tbody tr')]"
        ".map((row) => [...row.cells].map((cell) => cell.textContent))"
    )
    slots = places[first[0].to].state.slots
    assert cells == [[str(i), *slot_words(slot)] for i, slot in enumerate(slots)]
    page.press("1", "ArrowLeft", "ArrowLeft")
    assert page.ask("at") == 0
    page.press("ArrowRight")
    assert page.ask("at") == first[0].to
    assert len(page.text("#way").splitlines()) == 1


def test_a_click_takes_a_move_and_a_step_of_the_way_goes_back_to_it(page: Opened) -> None:
    page.ask("go(0)")
    for _ in range(3):
        page.page.click("#next li:first-child button")
    assert page.ask("way.length") == 3
    page.page.click("#way li:first-child button")
    assert page.ask("way.length") == 1


def test_the_shortest_way_leads_to_the_same_state(page: Opened, places: list[Place]) -> None:
    page.ask("go(60)")
    assert page.ask("way.length") == places[60].depth
    page.press("s")
    assert page.ask("at") == 60
    assert page.ask(
        "way.every(([from, n], i) => states[from][MOVES][n][2] === (way[i + 1]?.[0] ?? at))"
    )


def test_what_breaks_is_found_by_its_shortest_way(tmp_path: Path, browser: Browser) -> None:
    environment = MUTANT.smallest()
    path = tmp_path / "broken.html"
    found = walkable(environment, MUTANT.rules)
    path.write_text(explorer_page(environment, found, "a mutant's"), encoding="utf-8")
    plain = search(environment, MUTANT.rules)
    with opened(browser, path) as page:
        assert "An invariant can be broken" in page.text("#verdict")
        page.press("b")
        assert page.ask("way.length") == len(plain.path) - 1
        page.page.click("#next li.broken button")
        assert f"Broken: {plain.broken}" in page.text("#nexttitle")
        page.press("ArrowLeft")
        assert "What may come next" in page.text("#nexttitle")


def test_the_command_writes_the_page_and_says_what_can_break(tmp_path: Path) -> None:
    path = tmp_path / "walk.html"
    broken = ("--mutant", MUTANT.name, "--guest", "hostile")
    ended = hpcore("explore", *broken, "--html", path, "--json")
    assert ended.code == 0
    assert ended.last["broken"] == ["eject_requested_and_off"]
    assert "Did you mean" in refused(
        "explore", "--mutant", "eject_was_requeste", "--html", tmp_path / "other.html"
    )
