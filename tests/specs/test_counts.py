"""Three descriptions of one protocol: they reach exactly as many states."""

from __future__ import annotations

from pathlib import Path

import pytest

from hpcore.check.symbolic import engine as symbolic
from hpcore.check.tabulated.tabulate import tabulate
from hpcore.model.invariants import INVARIANTS
from tests.specs.counted import as_specified, hpcore_states
from tests.specs.tools import SPECS, spin_states, tlc_states


@pytest.mark.parametrize(
    ("slots", "faults", "plugged", "saves"),
    [
        (1, 1, 0, False),
        (2, 0, 0, False),
        (2, 1, 0, True),
        (2, 3, 1, False),
        pytest.param(3, 1, 1, False, marks=pytest.mark.long),
    ],
)
def test_spin_agrees_with_both_engines(
    tmp_path: Path, slots: int, faults: int, plugged: int, saves: bool
) -> None:
    found = spin_states(tmp_path, slots, faults, plugged, saves)
    assert {found} == hpcore_states(slots, faults, plugged, saves)


@pytest.mark.parametrize(
    ("slots", "faults", "plugged", "saves"), [(1, 1, 0, False), (2, 1, 1, True)]
)
def test_tlc_agrees_with_both_engines(
    tmp_path: Path, slots: int, faults: int, plugged: int, saves: bool
) -> None:
    found = tlc_states(tmp_path, slots, faults, plugged, saves)
    assert {found} == hpcore_states(slots, faults, plugged, saves)


def test_a_broken_spec_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (SPECS / "vcpu_hotplug.pml").read_text()
    assert text.count("&& !s[i].insert && phase") == 1
    broken = tmp_path / "vcpu_hotplug.pml"
    broken.write_text(text.replace("&& !s[i].insert && phase", "&& phase"))
    monkeypatch.setattr("tests.specs.tools.SPECS", tmp_path)
    with pytest.raises(AssertionError, match="assertion violated"):
        spin_states(tmp_path, 2, 1)


def test_the_page_maps_every_invariant() -> None:
    page = (SPECS / "README.md").read_text()
    assert [i.name for i in INVARIANTS if f"`{i.name}`" not in page] == []


def test_the_page_has_the_counts() -> None:
    page = (SPECS / "README.md").read_text()
    for slots in (1, 2, 3, 4):
        states = symbolic.check(tabulate(as_specified(slots, 1))).states
        assert f"| {slots} | 1 | {states:,} |" in page
