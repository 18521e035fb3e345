"""L1's kernel is the host of what is tested: where it complains of itself, a run has not passed."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.nested.machine import Ended
from tests.nested.payload import COMPLAINTS, KERNEL_LOG

OOPS = "Internal error: Oops: 0000000096000004 [#1] SMP"
QUIET = (
    "[    0.000000] Booting Linux on physical CPU 0x0000000000 [0x000f0510]",
    "[    1.204711] kvm [1]: VHE mode initialized successfully",
    "[   93.002155] rcu: INFO: rcu_preempt self-detected stall on CPU",
)


@pytest.mark.parametrize(
    "complaint",
    [
        f"[  412.117015] {OOPS}",
        "[  411.900034] WARNING: CPU: 1 PID: 212 at kernel/events/core.c:2287 event_sched_out",
        "[  412.116003] Unable to handle kernel paging request at virtual address dead000000000100",
        "[   30.000001] BUG: scheduling while atomic: qemu-system-aar/212/0x00000002",
    ],
)
def test_an_oops_or_a_warning_of_the_kernel_is_a_complaint(complaint: str, tmp_path: Path) -> None:
    said = tmp_path / KERNEL_LOG
    said.write_text("\n".join((*QUIET, complaint)) + "\n")
    found = subprocess.run(["grep", "-qE", COMPLAINTS, said], check=False)  # as L1 does
    assert found.returncode == 0
    assert Ended(0, "", [said], "6.12", 5.0, 9.0).complaints == complaint


def test_a_kernel_that_runs_well_or_stands_still_on_a_busy_host_does_not_complain(
    tmp_path: Path,
) -> None:
    said = tmp_path / KERNEL_LOG
    said.write_text("\n".join(QUIET) + "\n")
    assert subprocess.run(["grep", "-qE", COMPLAINTS, said], check=False).returncode == 1
    assert Ended(0, "", [], "6.12", 5.0, 9.0).complaints == ""
