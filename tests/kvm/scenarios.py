"""The shipped scenarios on an accelerator that boots Linux here, two at a time."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from hpcore.guest.images import fetch_guest
from hpcore.log import read
from hpcore.model.events import Event
from hpcore.model.revision import HPCORE, Revision
from hpcore.run.accelerator import GuestImages
from hpcore.run.discovery import find
from hpcore.scenario.play import StepResult, TellStep
from hpcore.scenario.read import load
from hpcore.scenario.runner import Job, run_job
from hpcore.scenario.values import Line, Scenario


class TwoAtOnce:
    """Runs scenarios, two at a time: a guest leaves a CPU to another.

    Their logs are kept as ACCELERATOR-SCENARIO.jsonl, for others to hold against each other.
    """

    def __init__(self, accelerator: str, names: list[str], directory: Path) -> None:
        self._pool = ThreadPoolExecutor(2, thread_name_prefix="scenario")
        self._runs = {
            name: self._pool.submit(
                ran, accelerator, load(name), directory / f"{accelerator}-{name}.jsonl"
            )
            for name in names
        }

    def events(self, name: str) -> list[Event]:
        """What happened in a scenario, which must have succeeded."""
        return self._runs[name].result()

    def end(self) -> None:
        self._pool.shutdown(cancel_futures=True)


def asked_for(request: pytest.FixtureRequest, test: str) -> list[str]:
    """The scenarios of which `test` is to be run, by its parameter `name`."""
    return [
        str(item.callspec.params["name"])
        for item in request.session.items
        if isinstance(item, pytest.Function) and item.originalname == test
        and item.path == request.path
    ]  # fmt: skip


def silent(_line: Line, _result: StepResult | None) -> None:
    """The `TellStep` that nobody sees."""


def ran(
    accelerator: str,
    scenario: Scenario,
    log: Path,
    progress: TellStep = silent,
    protocol: Revision = HPCORE,
) -> list[Event]:
    """Run a scenario, which must succeed; its events."""
    guest = fetch_guest()
    images = GuestImages(guest.kernel, guest.initramfs())
    job = Job(scenario, find(accelerator), images, log, protocol=protocol)
    outcome = asyncio.run(run_job(job, progress))
    failed = [(result.line.number, result.error) for result in outcome.results if result.error]
    assert outcome.ok, (outcome.error, failed)
    _, records = read(log)
    with records:
        return [record.event for record in records]
