"""Three descriptions of one protocol: they reach exactly as many states."""

from __future__ import annotations

from pathlib import Path

import pytest

from hpcore.check.explicit import engine as explicit
from hpcore.check.symbolic import engine as symbolic
from hpcore.check.tabulated.tabulate import tabulate
from hpcore.check.world.environment import Environment
from hpcore.check.world.guests import HOSTILE
from hpcore.model.invariants import INVARIANTS
from tests.specs.tools import SPECS, spin_states, tlc_states


def hpcore_states(slots: int, faults: int) -> set[int]:
    tables = tabulate(
        Environment(slots=slots, boot=1, guest=HOSTILE, faults=faults, power_off=False)
    )
    return {symbolic.check(tables).states, explicit.check(tables).states}


@pytest.mark.parametrize(("slots", "faults"), [(1, 1), (2, 0), (2, 1), (2, 3), (3, 1)])
def test_spin_agrees_with_both_engines(tmp_path: Path, slots: int, faults: int) -> None:
    assert {spin_states(tmp_path, slots, faults)} == hpcore_states(slots, faults)


@pytest.mark.parametrize(("slots", "faults"), [(1, 1), (2, 1)])
def test_tlc_agrees_with_both_engines(tmp_path: Path, slots: int, faults: int) -> None:
    assert {tlc_states(tmp_path, slots, faults)} == hpcore_states(slots, faults)


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
        environment = Environment(slots=slots, boot=1, faults=1, power_off=False)
        states = symbolic.check(tabulate(environment)).states
        assert f"| {slots} | 1 | {states:,} |" in page
