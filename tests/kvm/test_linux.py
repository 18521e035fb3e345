"""Linux under our VMM: the shipped scenarios, and 50 rounds of plug, online, unplug."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from hpcore.guest.images import fetch_guest
from hpcore.log import read
from hpcore.model.events import CpuOnDenied, Event, UnplugCompleted
from hpcore.run.accelerator import GuestImages
from hpcore.run.discovery import find
from hpcore.scenario.play import StepResult
from hpcore.scenario.read import bundled, load, parse
from hpcore.scenario.runner import Job, run_job
from hpcore.scenario.values import Line, OnlineStep, PlugStep, Scenario, UnplugStep
from tests.kvm.machines import open_files

SCENARIOS = [  # all but cycles, of which the 50 rounds below are a part
    pytest.param(name, marks=[pytest.mark.nvhe] if name == "plug-unplug" else [])
    for name in sorted(set(bundled()) - {"cycles"})
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


class TwoAtOnce:
    """Runs the scenarios that were asked for, two at a time: a guest leaves a CPU to another."""

    def __init__(self, names: list[str], directory: Path) -> None:
        self._pool = ThreadPoolExecutor(2, thread_name_prefix="scenario")
        self._runs = {
            name: self._pool.submit(ran, load(name), directory / f"kvm-{name}.jsonl")
            for name in names
        }

    def events(self, name: str) -> list[Event]:
        """What happened in a scenario, which must have succeeded."""
        return self._runs[name].result()

    def end(self) -> None:
        self._pool.shutdown(cancel_futures=True)


@pytest.fixture(scope="module")
def scenarios(request: pytest.FixtureRequest, kept_logs: Path) -> Iterator[TwoAtOnce]:
    """Their logs are kept: tests/nested holds them against those of tcg."""
    names = [
        str(item.callspec.params["name"])
        for item in request.session.items
        if isinstance(item, pytest.Function) and item.originalname == SCENARIO_TEST
    ]
    runs = TwoAtOnce(names, kept_logs)
    yield runs
    runs.end()


def ran(scenario: Scenario, log: Path, watch: Watch | None = None) -> list[Event]:
    """Run a scenario, which must succeed; its events."""
    guest = fetch_guest()
    images = GuestImages(guest.kernel, guest.initramfs())
    outcome = asyncio.run(run_job(Job(scenario, find("kvm"), images, log), watch or Watch()))
    failed = [(result.line.number, result.error) for result in outcome.results if result.error]
    assert outcome.ok, (outcome.error, failed)
    _, records = read(log)
    with records:
        return [record.event for record in records]


def vcpu_threads() -> set[str]:
    return {t.name for t in threading.enumerate() if t.name.startswith("vCPU")}


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_scenario_runs_as_it_does_on_tcg(name: str, scenarios: TwoAtOnce) -> None:
    events = scenarios.events(name)
    # As it boots, Linux calls CPU_ON of all that are present, parked ones too, up to maxcpus.
    denied = any(isinstance(event, CpuOnDenied) for event in events)
    assert denied is (name != "cover-letter")


def test_50_rounds_of_plug_online_unplug_leave_nothing_behind(tmp_path: Path) -> None:
    watch = Watch()
    assert not vcpu_threads()
    events = ran(parse(CYCLES), tmp_path / "run.jsonl", watch)
    assert not vcpu_threads()
    assert sum(isinstance(event, UnplugCompleted) for event in events) == 50
    with_threads = dict(zip((PlugStep, OnlineStep, UnplugStep), (True, True, False), strict=True))
    for step, threads in zip(watch.steps, watch.threads, strict=True):
        if step in with_threads:
            assert ("vCPU 2" in threads) is with_threads[step], step.__name__
    unplugged = [n for step, n in zip(watch.steps, watch.files, strict=True) if step is UnplugStep]
    assert len(set(unplugged)) == 1, "files stay open"
