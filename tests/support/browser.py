"""Debian's Chromium, without a window, for the pages that hpcore writes.

It gets no network: a page that asks for anything, or prints an error, fails its test.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from attrs import field, mutable
from playwright.sync_api import Browser, ConsoleMessage, Page, Request, sync_playwright

CHROMIUM = shutil.which("chromium")
SIZE = {"width": 1280, "height": 800}


@mutable
class Opened:
    """A page that is open, and what it did that it may not do."""

    page: Page
    wrong: list[str] = field(factory=list)

    def ask(self, script: str) -> object:
        """What an expression comes to in the page."""
        return self.page.evaluate(script)

    def text(self, selector: str) -> str:
        """The text that a person reads there, once all is drawn."""
        self.page.evaluate("new Promise((done) => requestAnimationFrame(() => setTimeout(done)))")
        return self.page.inner_text(selector)

    def press(self, *keys: str) -> None:
        """Type keys, one after the other."""
        for key in keys:
            self.page.keyboard.press(key)


@contextmanager
def chromium() -> Iterator[Browser]:
    """The browser. While it runs, this thread has no room for an event loop of another's."""
    assert CHROMIUM is not None, "chromium is missing: scripts/setup.sh --tests installs it"
    with sync_playwright() as playwright:
        # root has no sandbox of Chromium's; the pages are ours
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def opened(browser: Browser, path: Path, scheme: str = "light") -> Iterator[Opened]:
    """The page at `path`, which is held to asking for nothing and to being quiet."""
    page = browser.new_page(viewport=SIZE, color_scheme=scheme)  # type: ignore[arg-type]
    found = Opened(page)

    def said(message: ConsoleMessage) -> None:
        found.wrong.append(f"{message.type}: {message.text}")

    def asked(request: Request) -> None:
        if request.url != path.as_uri():
            found.wrong.append(f"asked for {request.url}")

    page.on("console", said)
    page.on("pageerror", lambda error: found.wrong.append(str(error)))
    page.on("request", asked)
    try:
        page.goto(path.as_uri())
        yield found
        assert found.wrong == []
    finally:
        page.close()
