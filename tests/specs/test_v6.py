"""The series' v6, by hand in Promela and TLA+: the same states, and the same bugs as near."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest

from hpcore.check.proof import prove
from hpcore.check.variants.revisions import ASKED, bug_of, properties_of
from hpcore.model.revision import Revision
from hpcore.protocols import load
from tests.specs.counted import as_specified, hpcore_states
from tests.specs.tools import SPECS, spin_shortest, spin_states, tlc_shortest, tlc_states

BUGS = {
    "sve_finalized_twice": ("INVARIANT SveFinalizedOnce", "sve_finalized_once"),
    "lost_at_reset": ("PROPERTY ResetKeepsEnabled", "reset_keeps_plugged"),
}
"""What was reported against v6: what of the TLA+ module it breaks, and of hpcore's promises."""

GIVEN_UP = {
    "objects_while_plugged": "INVARIANT ObjectsWhilePlugged",
    "eject_confirmed_first": "INVARIANT EjectConfirmedFirst",
}
"""What v6 gives up; the first is the listing that tells of the past."""


@cache
def v6() -> Revision:
    return load("v6")


@cache
def counted(slots: int, faults: int, plugged: int, saves: bool) -> set[int]:
    return hpcore_states(slots, faults, plugged, saves, v6())


@pytest.mark.parametrize(
    ("slots", "faults", "plugged", "saves"),
    [(2, 1, 1, True), pytest.param(3, 1, 0, False, marks=pytest.mark.long)],
)
def test_spin_counts_the_states_of_v6_as_both_engines_do(
    tmp_path: Path, slots: int, faults: int, plugged: int, saves: bool
) -> None:
    found = spin_states(tmp_path, slots, faults, plugged, saves, v6=True)
    assert {found} == counted(slots, faults, plugged, saves)


def test_tlc_counts_the_states_of_v6_as_both_engines_do(tmp_path: Path) -> None:
    assert {tlc_states(tmp_path, 2, 1, 1, saves=True, v6=True)} == counted(2, 1, 1, True)


@pytest.mark.parametrize("name", BUGS)
def test_spin_and_tlc_find_a_reported_bug_of_v6_as_near_as_hpcore(
    tmp_path: Path, name: str
) -> None:
    asked, broken = BUGS[name]
    buggy = v6().with_bug(bug_of(v6(), name))
    ours = prove(as_specified(2, 0), buggy.rules, properties=properties_of(buggy))
    assert broken in ours.violations
    assert spin_shortest(tmp_path, "-DV6=1", "-DFAULTS=0", f"-D{name.upper()}=1") == ours.depth
    assert tlc_shortest(tmp_path, asked, name) == ours.depth


@pytest.mark.parametrize("name", GIVEN_UP)
def test_spin_and_tlc_see_broken_what_v6_gives_up_as_near_as_hpcore(
    tmp_path: Path, name: str
) -> None:
    ours = prove(as_specified(2, 0), v6().rules, properties=(ASKED[name],))
    assert ours.violations == (name,)
    assert spin_shortest(tmp_path, "-DV6=1", "-DFAULTS=0", f"-D{name.upper()}=1") == ours.depth
    assert tlc_shortest(tmp_path, GIVEN_UP[name]) == ours.depth


def test_a_spec_of_v6_that_shuts_nothing_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (SPECS / "vcpu_hotplug.pml").read_text()
    shuts = "s[i].step = (s[i].gicc == WIRED -> SHUT : HALT)"
    assert text.count(shuts) == 1
    (tmp_path / "vcpu_hotplug.pml").write_text(text.replace(shuts, "s[i].step = HALT"))
    monkeypatch.setattr("tests.specs.tools.SPECS", tmp_path)
    with pytest.raises(AssertionError, match="assertion violated"):
        spin_states(tmp_path, 2, 0, v6=True)


def test_the_page_maps_every_promise_that_v6_makes_in_place_of_hpcores() -> None:
    page = (SPECS / "README.md").read_text()
    assert [name for name in v6().instead if f"`{name}`" not in page] == []
