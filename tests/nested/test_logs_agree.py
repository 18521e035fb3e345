"""The same scenario on tcg and on KVM, ours and QEMU's: the same happened, event by event.

The logs are those of tests/e2e, tests/kvm and tests/kvm_with_qemu; what is missing, because
only these tests were asked for, is run here.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from hpcore.scenario.read import bundled
from tests.conftest import has_kvm
from tests.nested.machine import NestedMachine, run
from tests.nested.payload import OUT
from tests.support.command import hpcore, needs_guest

NOT_COMPARED = {"cycles", "migrations"}
"""The one only repeats what the others do; the other takes minutes: other_hosts.py compares it."""

SECONDS = 300.0

pytestmark = [needs_guest, pytest.mark.timeout(int(SECONDS) + 300)]


def on_tcg(name: str, logs: Path) -> Path:
    return without_kvm("tcg", name, logs)


def without_kvm(accelerator: str, name: str, logs: Path) -> Path:
    log = logs / f"{accelerator}-{name}.jsonl"
    if not log.exists():
        ended = hpcore("run", name, "--accel", accelerator, "--log", log)
        assert ended.code == 0, ended
    return log


def on_kvm(accelerator: str, name: str, logs: Path) -> Path:
    log = logs / f"{accelerator}-{name}.jsonl"
    command = ("run", name, "--accel", accelerator, "--log")
    if not log.exists() and has_kvm():
        ended = hpcore(*command, log, seconds=SECONDS)
        assert ended.code == 0, ended
    elif not log.exists():
        machine = NestedMachine(qemu="7.2" if accelerator == "kvm-qemu" else None)
        words = ("hpcore", *command, f"{OUT}/{log.name}")
        nested = run(words, logs, machine=machine, seconds=SECONDS)
        assert nested.status == 0, nested.output
    return log


SCENARIOS = sorted(set(bundled()) - NOT_COMPARED)
WITHOUT_QEMU = sorted(set(SCENARIOS) - {"reset"})
WITH_QEMU = ("plug-unplug",)
"""Those whose logs of kvm and of kvm-qemu are compared here; other_hosts.py compares the others."""


@pytest.mark.parametrize("name", WITHOUT_QEMU)
def test_the_logs_of_a_scenario_agree(name: str, kept_logs: Path) -> None:
    agree(on_tcg(name, kept_logs), on_kvm("kvm", name, kept_logs))


@pytest.mark.parametrize("name", WITH_QEMU)
def test_the_logs_of_a_scenario_agree_with_qemus(name: str, kept_logs: Path) -> None:
    agree(on_tcg(name, kept_logs), on_kvm("kvm-qemu", name, kept_logs))


def agree(tcg: Path, kvm: Path) -> None:
    replayed = hpcore("replay", kvm, "--json")  # in a legal order, too
    assert replayed.code == 0, replayed
    assert replayed.last["violation"] is None
    same = hpcore("diff", tcg, kvm, "--json")
    assert same.code == 0, same
    assert same.last["compared"] > 50
    assert same.last["differences"] == []
