"""Walking through the states of a small configuration, in a real browser."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser

from hpcore.check.graphs.walkable import Place, walkable, whole_up_to
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
    whole = whole_up_to(places)
    assert whole == min(place.depth for place in cut)
    assert all(place.moves is not None for place in places if place.depth < whole)
    assert whole_up_to([place for place in places if place.moves is not None]) is None


def test_where_the_page_ends_is_seen_before_one_goes_there(
    page: Opened, places: list[Place]
) -> None:
    cut = sum(place.moves is None for place in places)
    assert (
        f"{cut} states at the rim were not looked into, "
        f"every way of up to {whole_up_to(places)} moves is here"
    ) in page.text("#verdict")
    rim = next(n for n, place in enumerate(places) if place.moves is None)
    came = places[rim].came
    assert came is not None
    page.ask(f"go({came[0]})")
    ends = f"#next li:nth-child({came[1] + 1})"
    assert page.text(f"{ends}.rim .said").startswith("to the rim: ")
    page.page.click(f"{ends} button")
    assert page.ask("at") == rim
    assert "The rim: what may come next here was not looked into" in page.text("#nexttitle")


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
    assert ended.last["cut"] == 0 and ended.last["whole_up_to"] is None
    assert "Did you mean" in refused(
        "explore", "--mutant", "eject_was_requeste", "--html", tmp_path / "other.html"
    )


def test_of_what_is_too_large_for_a_page_the_nearest_is_shown_or_it_is_refused_at_once(
    tmp_path: Path,
) -> None:
    path = tmp_path / "walk.html"
    ended = hpcore("explore", "--slots", "8", "--most", "40", "--html", path)
    assert ended.code == 0 and path.exists()
    assert "every way of up to 1 moves from the boot is there. Fewer --slots" in ended.out
    error = refused("explore", "--slots", "512", "--html", tmp_path / "large.html")
    assert "5,000 states of 512 vCPUs are too many for a page" in error
    assert "Give --most 3906 or fewer --slots; `hpcore check --slots 512` covers all" in error
    assert not (tmp_path / "large.html").exists()
