"""A real Linux reboots by itself, and the scenario waits for it."""

from __future__ import annotations

from pathlib import Path

from hpcore.model.events import MachineWasReset
from tests.support.command import hpcore, needs_guest, records, scenario

pytestmark = needs_guest


def test_a_linux_that_reboots_by_itself_is_waited_for(tmp_path: Path) -> None:
    log = tmp_path / "run.jsonl"
    path = scenario(
        tmp_path / "reboots.yaml",
        "boot",
        "plug: 2",
        'shell: "(sleep 1; reboot -f) & true"',
        "rebooted",
        "expect: {enabled: 0-2}",
        # the shell meets the new boot itself
        '{shell: "reboot -f", fails: anew}',
        "rebooted",
        # the reset comes while another step runs
        'shell: "(sleep 0.5; reboot -f) & true"',
        "wait: 3s",
        "rebooted",
        "{reboot: , waits: false}",
        "rebooted",
        "shell: {line: echo there, prints: there}",
        machine="cpus: 2, maxcpus: 3",
    )
    ended = hpcore("run", path, "--accel", "tcg", "--log", log, "--json")
    assert ended.code == 0, ended
    resets = [r for r in records(log) if isinstance(r.event, MachineWasReset)]
    assert [r.event for r in resets] == [MachineWasReset((0, 1, 2))] * 4
