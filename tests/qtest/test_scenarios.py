"""The scenarios that come with hpcore, played on a real QEMU without guest code."""

from __future__ import annotations

import asyncio
from pathlib import Path

import attrs
import pytest

from hpcore.log import Sync, read
from hpcore.model.events import Event, Noted
from hpcore.run.accelerator import GuestScript
from hpcore.run.discovery import find
from hpcore.scenario.read import bundled, load, parse
from hpcore.scenario.runner import Job, run_job
from hpcore.scenario.values import Scenario
from hpcore.triage.replay import replay
from tests.qemu.support import needs_qemu

pytestmark = needs_qemu

MOVES = """
machine: {cpus: 2, maxcpus: 4, memory: 256}
steps:
  - boot
  - plug: {id: core2, core-id: 2}
  - online: core2
  - migrate
  - expect: {enabled: 0-2, online: 0-2, slots: {core2: online}}
  - unplug: core2
  - plug: 3
  - pause
  - migrate
  - unplug: cpu3
  - resume
  - expect: {enabled: 0-1, slots: {3: parked}}
  - reset
  - plug: 3
  - reboot
  - migrate
  - unplug: cpu3
  - scale: 4
  - reboot:
    waits: false
  - rebooted
  - expect: {enabled: 0-3}
  - poweroff
"""


@pytest.mark.parametrize("name", [*bundled(), "moves"])
def test_a_scenario_passes_and_its_log_replays(name: str, tmp_path: Path) -> None:
    scenario = parse(MOVES, name) if name == "moves" else load(name)
    run(scenario, tmp_path / "log.jsonl")
    assert replay(tmp_path / "log.jsonl").ok


@pytest.mark.parametrize("name", ["plug-unplug", "reset"])
def test_a_scenario_gives_the_same_events_in_every_run(name: str, tmp_path: Path) -> None:
    scenario = load(name)
    hostile = attrs.evolve(scenario, kind="hostile", steps=scenario.steps[:1])
    for one in (scenario, hostile):
        first, second = (run(one, tmp_path / f"{one.kind}{n}") for n in range(2))
        assert first == second


def run(scenario: Scenario, log: Path) -> list[Event]:
    """Run it, which must go well; its events."""
    job = Job(scenario, find("qtest"), GuestScript(), log, sync=Sync.BUFFERED)
    outcome = asyncio.run(run_job(job))
    assert outcome.ok, [r.error for r in outcome.results if r.error]
    _header, records = read(log)
    with records:
        return [record.event for record in records if not isinstance(record.event, Noted)]
