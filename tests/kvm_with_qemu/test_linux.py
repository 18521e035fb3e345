"""Linux in an unpatched QEMU under KVM: the shipped scenarios, as on every accelerator."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from hpcore.model.events import CpuOnDenied
from hpcore.scenario.read import bundled
from tests.kvm.scenarios import TwoAtOnce, asked_for

MARKS = {
    "plug-unplug": [pytest.mark.nvhe, pytest.mark.each_qemu],
    "reset": [pytest.mark.each_qemu, pytest.mark.long],
}
SCENARIOS = [  # all but cycles, which only repeats what the others do
    pytest.param(name, marks=MARKS.get(name, pytest.mark.long))
    for name in sorted(set(bundled()) - {"cycles"})
]
SCENARIO_TEST = "test_a_scenario_runs_as_it_does_on_the_others"


@pytest.fixture(scope="module")
def scenarios(request: pytest.FixtureRequest, kept_logs: Path) -> Iterator[TwoAtOnce]:
    """Their logs are kept: tests/nested holds them against those of tcg and kvm."""
    runs = TwoAtOnce("kvm-qemu", asked_for(request, SCENARIO_TEST), kept_logs)
    yield runs
    runs.end()


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_scenario_runs_as_it_does_on_the_others(name: str, scenarios: TwoAtOnce) -> None:
    events = scenarios.events(name)
    # As it boots, Linux calls CPU_ON of all that are present, parked ones too, up to maxcpus.
    denied = any(isinstance(event, CpuOnDenied) for event in events)
    assert denied is (name != "cover-letter")
