"""The page of a log, in a real browser."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser

from hpcore.log import Header, LogWriter, Sync, read
from hpcore.model import events as ev
from hpcore.model.config import MachineConfig
from hpcore.show.log_page import log_page
from hpcore.show.timeline import MOST, TooMuchToShow, timeline
from hpcore.triage.replay import replay
from hpcore.triage.state_words import machine_words, slot_words
from tests.support.browser import Opened, opened
from tests.support.churn import Churn, churned
from tests.support.command import hpcore, refused

EVENTS = 1000
MANY = 100_000
LONGEST_FRAME = 0.25
"""Seconds for one picture of MANY events on a busy machine; one that is idle takes a tenth."""

HOSTILE = (
    "</script><script>document.title = 'taken'</script>",
    "<img src=x onerror=\"document.title = 'taken'\">",
    "<!--<script>",
    "'\"><svg onload=alert(1)>",
    "\u202eright to left\u2028\u0000\x1b[31m {{ 7 * 7 }}",
)


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("log") / "run.jsonl"
    churned(path, Churn(7, maxcpus=6), EVENTS)
    return path


@pytest.fixture(scope="module")
def page(log: Path, browser: Browser) -> Iterator[Opened]:
    path = log.with_suffix(".html")
    path.write_text(log_page(log.name, timeline(log, last=EVENTS)), encoding="utf-8")
    with opened(browser, path) as found:
        yield found


def test_the_state_at_any_event_is_the_one_that_a_replay_has(page: Opened, log: Path) -> None:
    for seq in (1, 2, 57, 511, 512, 513, 514, 730, EVENTS):
        page.ask(f"choose({seq} - data.first)")
        state = replay(log, seq).at
        assert state is not None
        title = page.text("#state h2")
        assert title == f"After event {seq}: the machine is {machine_words(state.shared)}"
        rows = page.ask(
            "[...document.querySelectorAll('#state tbody tr')]"
            ".map((row) => [...row.cells].map((cell) => cell.textContent))"
        )
        assert rows == [[str(i), *slot_words(slot)] for i, slot in enumerate(state.slots)]


def test_a_command_is_a_bar_from_asked_to_ended(page: Opened, log: Path) -> None:
    with read(log)[1] as records:
        events = [record.event for record in records]
    begun = next(n for n, event in enumerate(events) if isinstance(event, ev.PlugAccepted))
    plug = events[begun]
    assert isinstance(plug, ev.PlugAccepted)
    ended = events.index(ev.PlugCompleted(plug.slot, plug.id))
    bars: Any = page.ask(f"log.bars[{plug.slot + 2}].filter((bar) => bar.row === 'command')")
    assert {"says": f"plug {plug.id}", "begin": begun, "end": ended, "failed": False}.items() <= (
        bars[0].items()
    )


def test_keys_go_from_event_to_event_and_from_decision_to_decision(page: Opened) -> None:
    page.ask("choose(0)")
    page.page.focus("#picture")
    page.press("ArrowRight", "ArrowRight", "ArrowLeft")
    assert page.ask("at") == 1
    page.press("End")
    assert page.page.input_value("#number") == str(EVENTS)
    page.press("Home")
    firsts: Any = page.ask("data.answers.map((a, n) => a === -2 ? -1 : n).filter((n) => n > 0)")
    page.press("]", "]")
    assert page.ask("at") == firsts[1]
    page.press("[")
    assert page.ask("at") == firsts[0]
    page.press("?")
    assert "the event that is wrong" in page.text("#keys")
    page.press("Escape")


def test_the_slider_and_the_number_choose_an_event(page: Opened) -> None:
    page.page.fill("#number", "300")
    page.page.press("#number", "Enter")
    assert page.ask("at") == 299
    page.page.evaluate("$('slider').value = 20; $('slider').dispatchEvent(new Event('input'))")
    assert "After event 21:" in page.text("#state h2")
    assert page.text("#list .now .seq") == "21"


def test_what_is_shown_is_filtered_by_vcpu_and_by_kind(page: Opened) -> None:
    page.page.fill("#cpus", "2,4-5")
    page.page.press("#cpus", "Enter")
    assert page.ask("shown.lanes.map((lane) => data.lanes[lane])") == [
        "machine", "guest", "vCPU 2", "vCPU 4", "vCPU 5",
    ]  # fmt: skip
    assert page.ask("[...shown.events].every((n) => ![2, 3, 5].includes(log.lane[n]))")
    for kind in ("commands", "steps", "refusals", "failures", "notes"):
        page.page.uncheck(f"#kinds .{kind} input")
    assert page.ask("[...new Set([...shown.events].map((n) => data.kinds[log.kind[n]]))]") == [
        "guest"
    ]
    page.page.fill("#find", "_OST")
    assert page.ask("shown.events.length > 0")
    assert page.ask("[...shown.events].every((n) => log.says(n).includes('_OST'))")
    page.page.fill("#find", "")
    for kind in ("commands", "steps", "refusals", "failures", "notes"):
        page.page.check(f"#kinds .{kind} input")
    page.page.fill("#cpus", "")
    page.page.press("#cpus", "Enter")
    assert page.ask("shown.events.length") == EVENTS


def test_a_list_of_vcpus_that_is_none_is_refused_and_changes_nothing(page: Opened) -> None:
    page.page.fill("#cpus", "two")
    page.page.press("#cpus", "Enter")
    assert page.ask("$('cpus').validity.customError")
    assert page.ask("shown.events.length") == EVENTS
    page.page.fill("#cpus", "")
    page.page.press("#cpus", "Enter")


def test_a_click_in_the_picture_chooses_what_is_there(page: Opened) -> None:
    page.ask("rescale('events'); choose(0); lanes.paint()")
    bar: Any = page.ask("log.bars[4].filter((bar) => bar.row === 'command')[0]")
    place: Any = page.ask(f"lanes.x(({bar['begin']} + {bar['end']}) / 2)")
    lane: Any = page.ask("AXIS + 4 * LANE + 8 - lanes.box.scrollTop")
    page.page.mouse.move(0, 0)
    box = page.page.locator("#canvas").bounding_box()
    assert box is not None
    page.page.mouse.click(box["x"] + place, box["y"] + lane)
    assert page.ask("at") == bar["begin"]
    page.ask("rescale('time')")


def test_the_page_is_dark_where_the_reader_is_and_can_be_turned(
    log: Path, tmp_path: Path, browser: Browser
) -> None:
    path = tmp_path / "run.html"
    path.write_text(log_page(log.name, timeline(log, last=50)), encoding="utf-8")
    colour = "getComputedStyle(document.body).backgroundColor"
    with opened(browser, path, "dark") as page:
        dark = page.ask(colour)
        page.press("d")
        assert page.ask(colour) != dark
        page.press("d")
        assert page.ask(colour) == dark


def test_the_wrong_event_is_marked_and_the_page_opens_at_it(
    tmp_path: Path, browser: Browser
) -> None:
    broken, html = tmp_path / "broken.jsonl", tmp_path / "broken.html"
    assert hpcore("check", "--slots", "2", "--mutant", "unbind_before_unwire", "--log", broken)
    ended = hpcore("show", broken, "--html", html, "--json")
    assert ended.code == 1
    wrong = replay(broken).wrong
    assert wrong is not None
    seq, invariant = wrong.record.seq, wrong.violation.invariant
    assert ended.last["wrong"] == seq
    with opened(browser, html) as page:
        assert page.text("#list .wrong .seq") == str(seq)
        assert page.text("#list .now .seq") == str(seq)
        assert f"It breaks {invariant}" in page.text("#verdict")
        assert f"wrong: {invariant}" in page.text("#state .said")
        page.press("Home", "w")
        assert page.ask("at") == seq - 1


def test_what_users_and_guests_have_named_is_text_in_the_page(
    tmp_path: Path, browser: Browser
) -> None:
    path, html = tmp_path / "<b>name.jsonl", tmp_path / "page.html"
    config = MachineConfig.of(cpus=1, maxcpus=8)
    with LogWriter.create(path, Header(config, HOSTILE[0]), sync=Sync.BUFFERED) as log:
        for i, text in enumerate(HOSTILE):
            log.append([ev.Noted(text)], 0)
            log.append([ev.Refused(text, text, text)], 0)
            log.append([ev.PlugAccepted(i + 1, text)], 0)  # decide would refuse such an id
            log.append([ev.PlugFailed(7, text, text)], 0)
    html.write_text(log_page(path.name, timeline(path)), encoding="utf-8")
    with opened(browser, html) as page:
        assert page.ask("document.title") == "<b>name.jsonl · hpcore"
        assert page.text("h1") == "<b>name.jsonl"
        page.ask("for (let n = 0; n < log.count; n++) { choose(n); lanes.paint(); list.paint(); }")
        ids: Any = page.ask(
            "[...document.querySelectorAll('#state tbody tr')].map((r) => r.cells[1].textContent)"
        )
        assert ids[1] == HOSTILE[0]
        assert ids[2] == HOSTILE[1]
        assert "\u202e" not in ids[5]
        assert page.ask("document.querySelectorAll('script, img, svg, b').length") == 2  # ours
        assert page.ask("document.title") == "<b>name.jsonl · hpcore"


def test_a_hundred_thousand_events_are_drawn_without_stutter(
    log: Path, tmp_path: Path, browser: Browser
) -> None:
    found = timeline(log, last=EVENTS)
    times = MANY // EVENTS
    shift = found.t[-1] + 1000
    steps = found.changes
    found.changes = [
        value + (EVENTS * n if i % 3 == 0 else 0)
        for n in range(times) for i, value in enumerate(steps)
    ]  # fmt: skip
    found.t = [t + shift * n for n in range(times) for t in found.t]
    for column in ("says", "lane", "kind", "answers"):
        setattr(found, column, getattr(found, column) * times)
    path = tmp_path / "many.html"
    path.write_text(log_page("many", found), encoding="utf-8")
    with opened(browser, path) as page:
        assert page.ask("log.count") == MANY
        seconds: Any = page.ask(
            "(() => { const out = []; for (let i = 0; i < 9; i++) { const t = performance.now();"
            f" choose(i * {MANY // 10}); lanes.paint(); list.paint();"
            " out.push((performance.now() - t) / 1000); } return out.sort((a, b) => a - b); })()"
        )
        assert seconds[4] < LONGEST_FRAME, seconds
        page.ask("choose(99999)")
        assert "After event 100000:" in page.text("#state h2")


def test_a_part_of_a_log_has_the_states_of_the_whole(
    log: Path, tmp_path: Path, browser: Browser
) -> None:
    html = tmp_path / "part.html"
    ended = hpcore("show", log, "--html", html, "--from", "400", "--to", "450", "--json")
    assert (ended.code, ended.last["events"]) == (0, 51)
    state = replay(log, 420).at
    assert state is not None
    with opened(browser, html) as page:
        page.ask("choose(20)")
        assert "After event 420:" in page.text("#state h2")
        cells = page.ask(
            "[...document.querySelectorAll('#state tbody tr')].map((r) => r.cells[2].textContent)"
        )
        assert cells == [str(slot.lifecycle) for slot in state.slots]


def test_what_cannot_be_shown_is_said(log: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    assert "give --html" in refused("show", log)
    assert "there is no event 5000" in refused("show", log, "--html", page, "--from", "5000")
    assert "is before" in refused("show", log, "--html", page, "--from", "9", "--to", "3")
    assert "is what is read" in refused("show", log, "--html", log, "--force")
    no_log = tmp_path / "no.log"
    no_log.write_text("hello\n")
    assert "--force" in refused("show", log, "--html", no_log)
    assert "not a" in refused("show", no_log, "--html", page)
    assert not page.exists()


def test_a_log_that_is_damaged_is_shown_up_to_there(log: Path, tmp_path: Path) -> None:
    lines = log.read_bytes().splitlines(keepends=True)
    lines[500] = lines[500].replace(b'"seq"', b'"sEq"')
    damaged = tmp_path / "damaged.jsonl"
    damaged.write_bytes(b"".join(lines))
    ended = hpcore("show", damaged, "--html", tmp_path / "page.html", "--json")
    assert ended.code == 1
    assert ended.last["events"] == 499
    assert "line 501" in ended.last["damage"]


def test_more_events_than_a_page_can_hold_are_refused(
    log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert MOST > MANY
    monkeypatch.setattr("hpcore.show.timeline.MOST", 100)
    with pytest.raises(TooMuchToShow, match="--from and --to"):
        timeline(log)
    assert len(timeline(log, first=100, last=199).t) == 100
