"""Linux under our VMM: the shipped scenarios, and 50 rounds of plug, online, unplug."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from hpcore.model.effects import MachineStep
from hpcore.model.events import CpuOnDenied, MachineStepDone, UnplugCompleted
from hpcore.scenario.play import StepResult
from hpcore.scenario.read import bundled, load, parse
from hpcore.scenario.values import Line, OnlineStep, PlugStep, UnplugStep
from hpcore.triage.replay import replay
from tests.kvm.machines import open_files
from tests.kvm.scenarios import TwoAtOnce, asked_for, ran

MARKS = {
    "plug-unplug": pytest.mark.nvhe,
    "reset": pytest.mark.long,  # what it does is a promise, too: tests/kvm/test_promises.py
}
SCENARIOS = [  # all but cycles, of which the 50 rounds below are a part, and what takes minutes
    pytest.param(name, marks=MARKS.get(name, ()))
    for name in sorted(set(bundled()) - {"cycles", "migrations"})
]

SCENARIO_TEST = "test_a_scenario_runs_as_it_does_on_tcg"

CYCLES = """\
machine: {cpus: 1, maxcpus: 3, memory: 512}
steps:
  - boot
  - repeat:
      times: 50
      steps:
        - plug: {id: core2, core-id: 2}
        - online: core2
        - unplug: core2
  - expect: {enabled: "0", online: "0", slots: {1: parked, 2: parked}}
  - shell: {line: "dmesg | grep -c 'CPU2: Booted secondary processor'", prints: "50"}
"""


class Watch:
    """The threads of vCPUs after each step, and the files that were open."""

    def __init__(self) -> None:
        self.steps: list[type] = []
        self.threads: list[set[str]] = []
        self.files: list[int] = []

    def __call__(self, line: Line, result: StepResult | None) -> None:
        if result is not None:
            self.steps.append(type(line.step))
            self.threads.append(vcpu_threads())
            self.files.append(open_files())


@pytest.fixture(scope="module")
def scenarios(request: pytest.FixtureRequest, kept_logs: Path) -> Iterator[TwoAtOnce]:
    """Their logs are kept: tests/nested holds them against those of tcg."""
    runs = TwoAtOnce("kvm", asked_for(request, SCENARIO_TEST), kept_logs)
    yield runs
    runs.end()


def vcpu_threads() -> set[str]:
    return {t.name for t in threading.enumerate() if t.name.startswith("vCPU")}


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_scenario_runs_as_it_does_on_tcg(name: str, scenarios: TwoAtOnce) -> None:
    events = scenarios.events(name)
    # As it boots, Linux calls CPU_ON of all that are present, parked ones too, up to maxcpus.
    denied = any(isinstance(event, CpuOnDenied) for event in events)
    assert denied is (name != "cover-letter")


@pytest.mark.long
def test_50_rounds_of_plug_online_unplug_leave_nothing_behind(tmp_path: Path) -> None:
    watch = Watch()
    assert not vcpu_threads()
    events = ran("kvm", parse(CYCLES), tmp_path / "run.jsonl", watch)
    assert not vcpu_threads()
    assert sum(isinstance(event, UnplugCompleted) for event in events) == 50
    with_threads = dict(zip((PlugStep, OnlineStep, UnplugStep), (True, True, False), strict=True))
    for step, threads in zip(watch.steps, watch.threads, strict=True):
        if step in with_threads:
            assert ("vCPU 2" in threads) is with_threads[step], step.__name__
    unplugged = [n for step, n in zip(watch.steps, watch.files, strict=True) if step is UnplugStep]
    assert len(set(unplugged)) == 1, "files stay open"


@pytest.mark.long
def test_a_linux_is_carried_seven_times_with_vcpus_plugged_and_unplugged_between(
    kept_logs: Path,
) -> None:
    """By the shipped scenario; tests/nested holds its log against those of tcg and qtest."""
    log = kept_logs / "kvm-migrations.jsonl"
    events = ran("kvm", load("migrations"), log)
    done = [event.step for event in events if isinstance(event, MachineStepDone)]
    assert done.count(MachineStep.MIGRATE) == 7
    assert sum(isinstance(event, UnplugCompleted) for event in events) == 13
    replayed = replay(log)
    assert replayed.ok and replayed.decided_again
    assert not vcpu_threads(), "each VM that was left has ended, and so has the last"
