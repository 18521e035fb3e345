"""Every scenario that comes with hpcore, with a real Linux on the real KVM.

The logs are kept: tests/nested holds them against those of the same scenarios on tcg.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from hpcore.guest.images import fetched_guest
from hpcore.log import Sync
from hpcore.run.accelerator import GuestImages
from hpcore.run.discovery import find
from hpcore.run.runner import Job, run_job
from hpcore.run.scenario_file import bundled, load

AT_LENGTH = {"cycles"}
"""Scenarios that only repeat what others do, many times."""


def names() -> list[object]:
    """Each of them; one is run in nVHE mode as well."""
    marks = {"plug-unplug": [pytest.mark.nvhe]}
    return [
        pytest.param(name, marks=marks.get(name, ())) for name in sorted(set(bundled()) - AT_LENGTH)
    ]


@pytest.mark.parametrize("name", names())
def test_a_bundled_scenario_runs(name: str, kept_logs: Path) -> None:
    guest = fetched_guest()
    assert guest is not None, "run `hpcore guest fetch` first"
    job = Job(
        scenario=load(name),
        found=find("kvm"),
        guest=GuestImages(guest.kernel, guest.initramfs()),
        log=kept_logs / f"kvm-{name}.jsonl",
        overwrite=True,
        sync=Sync.OS,
    )
    outcome = asyncio.run(run_job(job))
    failed = [(result.line.text, result.error) for result in outcome.results if result.error]
    assert (failed, outcome.error) == ([], None)
    assert outcome.ok
