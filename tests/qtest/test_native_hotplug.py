"""The core on hotplug that is not ours: QEMU's, on loongarch64 `virt` and x86 `q35`."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path
from typing import ClassVar

import pytest
from hpcore_qtest import QtestAccelerator, accelerator
from hpcore_qtest.accelerator import LoongarchAccelerator
from hpcore_qtest.base import QtestSession
from hpcore_qtest.native import detection, hotpluggable_cpus
from hpcore_qtest.native.boards import ARM_VIRT, LOONGARCH64_VIRT, Q35, NativeBoard
from hpcore_qtest.native.detection import hotplugs_itself
from hpcore_qtest.native.hotpluggable_cpus import NoHotplug
from hpcore_qtest.native.session import NativeSession
from hpcore_qtest.virt.session import VirtSession

from hpcore.model.config import MachineConfig
from hpcore.qemu.fetch import find_hotplugging
from hpcore.qemu.find import Qemu, find_qemu
from hpcore.run.accelerator import AcceleratorError, GuestScript
from hpcore.run.discovery import find
from hpcore.scenario import read
from hpcore.scenario.read import bundled
from hpcore.scenario.runner import Job, Outcome, run_job
from hpcore.triage.diff import diff
from tests.qemu.support import needs_qemu
from tests.qtest.native import ACCELERATORS, NativeRehearsal, needs_hotplugging
from tests.qtest.rehearsal import Rehearsal
from tests.qtest.test_properties import AnyOrder, play

pytestmark = [needs_qemu, needs_hotplugging]

MOVED = """
machine: {cpus: 1, maxcpus: 2}
steps:
  - boot
  - plug: {id: core1, core-id: 1}
  - migrate:
    fails: is not migrated
  - unplug: core1
"""


LAST_WORDS = {"paused": "  - online: core2\n"}
"""A step more for the scenario that may end before the guest has said that it has a vCPU."""


def ran(path: str | Path, accel: str, log: Path) -> Outcome:
    scenario = read.load(str(path))
    if path in LAST_WORDS:
        scenario = read.parse(bundled()[str(path)].read_text() + LAST_WORDS[str(path)])
    job = Job(scenario=scenario, found=find(accel), guest=GuestScript(), log=log)
    outcome = asyncio.run(run_job(job))
    assert outcome.ok, outcome.results[-1]
    return outcome


@pytest.mark.parametrize("name", sorted(set(bundled()) - {"cycles", "migrations"}))
def test_a_scenario_runs_as_on_our_own_registers(name: str, tmp_path: Path) -> None:
    ours = tmp_path / "ours.jsonl"
    ran(name, "qtest", ours)
    for accel in ACCELERATORS:
        log = tmp_path / f"{accel}.jsonl"
        ran(name, accel, log)
        assert diff(ours, log).same


@pytest.mark.parametrize("accel", ACCELERATORS)
def test_a_migration_is_refused_and_the_machine_goes_on(
    accel: str, tmp_path: Path
) -> None:
    (tmp_path / "moved.yaml").write_text(MOVED)
    ran(tmp_path / "moved.yaml", accel, tmp_path / "log.jsonl")


class OnLoongarch(NativeRehearsal):
    accel = "qtest-loongarch64"


class OnQ35(NativeRehearsal):
    accel = "qtest-q35"


class AnyOrderOnLoongarch(AnyOrder):
    taken: ClassVar[Counter[str]] = Counter()
    machines: ClassVar[type[Rehearsal]] = OnLoongarch


class AnyOrderOnQ35(AnyOrder):
    taken: ClassVar[Counter[str]] = Counter()
    machines: ClassVar[type[Rehearsal]] = OnQ35


@pytest.mark.parametrize("machine", [AnyOrderOnLoongarch, AnyOrderOnQ35])
def test_the_model_and_qemus_own_hotplug_agree_after_every_step(
    machine: type[AnyOrder],
) -> None:
    play(machine, examples=8, steps=40, fewest=150)


def test_a_topology_whose_ids_do_not_fit_is_refused_with_what_fits() -> None:
    config = MachineConfig.of(cpus=1, maxcpus=250, cores=5, sockets=50)
    with pytest.raises(AcceleratorError, match=r"at most 160 vCPUs with this topology"):
        asyncio.run(LoongarchAccelerator().open(config, None, lambda _stimulus: None))


# ------------------------------------------- whether a QEMU hotplugs vCPUs itself


@pytest.mark.parametrize("board", [LOONGARCH64_VIRT, Q35])
def test_a_qemu_that_hotplugs_says_so_when_asked(board: NativeBoard) -> None:
    qemu = find_hotplugging(board.program)
    assert asyncio.run(hotplugs_itself(qemu, board))


def test_the_installed_arm_qemu_says_that_it_does_not() -> None:
    assert not asyncio.run(hotplugs_itself(find_qemu(), ARM_VIRT))


@pytest.mark.parametrize(
    ("version", "says", "session"),
    [("10.0.2", True, VirtSession), ("11.1.0", False, VirtSession),
     ("11.1.0", True, NativeSession)],
)  # fmt: skip
def test_qtest_takes_the_hotplug_that_a_new_enough_arm_qemu_says_it_has(
    version: str, says: bool, session: type[QtestSession], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def asked(_qemu: Qemu, board: NativeBoard) -> bool:
        assert board is ARM_VIRT
        return says

    monkeypatch.setattr(accelerator, "find_qemu", lambda: Qemu(Path("/qemu"), version))
    monkeypatch.setattr(detection, "hotplugs_itself", asked)
    config = MachineConfig.of(cpus=1, maxcpus=2)
    opened = asyncio.run(QtestAccelerator().open(config, GuestScript(), lambda _stimulus: None))
    assert type(opened) is session


def entry(core: int, path: str | None = None, count: int = 1) -> dict[str, object]:
    """One vCPU of an answer, as arm `virt` of the research series gives it."""
    props = {"core-id": core, "thread-id": 0, "socket-id": 0, "cluster-id": 0}
    found = {"type": "cortex-a57-arm-cpu", "vcpus-count": count, "props": props}
    return found if path is None else {**found, "qom-path": path}


def test_an_arm_qemu_of_the_future_has_a_seat_for_each_vcpu() -> None:
    found = hotpluggable_cpus.read([entry(2), entry(1), entry(0, "/machine/unattached/device[0]")])
    assert [cpu.props["core-id"] for cpu in found] == [0, 1, 2]
    assert [cpu.path is not None for cpu in found] == [True, False, False]
    assert {cpu.driver for cpu in found} == {"cortex-a57-arm-cpu"}


@pytest.mark.parametrize(
    "answer", [[], [entry(0, count=4)], [{"type": "x", "vcpus-count": 1, "props": {}}]]
)
def test_an_answer_that_no_slot_could_follow_counts_as_no(answer: list[object]) -> None:
    with pytest.raises(NoHotplug):
        hotpluggable_cpus.read(answer)
