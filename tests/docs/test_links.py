"""Every link of the docs leads somewhere, and every page can be reached."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.docs.pages import DOCS, PAGES, ROOT, START, anchors, links


def local(page: Path) -> list[tuple[Path, str]]:
    """The files that the page links to, each with the heading's name or nothing."""
    out = []
    for link in links(page):
        if "://" not in link.text:
            name, _, anchor = link.text.partition("#")
            out.append(((page.parent / name).resolve() if name else page, anchor))
    return out


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_every_link_leads_to_a_file_and_to_a_heading_in_it(page: Path) -> None:
    for target, anchor in local(page):
        assert target.exists(), f"{page.name} links to {target}, which is not there"
        if anchor:
            assert anchor in anchors(target), f"{page.name}: {target.name} has no #{anchor}"


def test_every_page_is_reached_from_the_first_page_of_the_docs() -> None:
    listed = {target for target, _ in local(START)}
    assert not set(DOCS.glob("*.md")) - listed - {START}, "docs/README.md lists all pages"
    reached, waiting = {START}, [START]
    while waiting:
        for target, _ in local(waiting.pop()):
            if target.suffix == ".md" and target not in reached:
                reached.add(target)
                waiting.append(target)
    assert not set(PAGES) - reached


def test_the_readme_leads_to_the_docs() -> None:
    assert START in {target for target, _ in local(ROOT / "README.md")}
