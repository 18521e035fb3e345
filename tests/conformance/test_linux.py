"""The played Linux does to the hotplug registers what a real one did on KVM."""

from __future__ import annotations

from pathlib import Path

import pytest

from hpcore.scenario.read import load
from tests.conformance.accesses import read_recording, recorded
from tests.support.played import play

RECORDINGS = Path(__file__).parent / "recordings"


@pytest.mark.parametrize("name", ["plug-unplug", "guest-refuses"])
def test_the_played_linux_makes_a_real_ones_accesses(name: str, tmp_path: Path) -> None:
    real = read_recording(RECORDINGS / f"linux_kvm_{name.replace('-', '_')}.jsonl")
    with recorded() as played:
        assert play(load(name), tmp_path / "log").ok
    assert played == real
