"""How sessions end, well or badly, and what is refused before one begins."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import attrs
import pytest
from hpcore_qtest import QtestAccelerator
from hpcore_qtest.qemu.machine import StoppedQemu

from hpcore.model.config import MachineConfig
from hpcore.model.effects import MachineStep, Step
from hpcore.model.rules import BUILD
from hpcore.model.stimuli import Lost, ScanStarted
from hpcore.qemu import QemuError
from hpcore.run.accelerator import AcceleratorError, EffectError, GuestImages, GuestScript
from tests.qemu.support import alive, needs_qemu, outlived, program
from tests.qtest.sessions import ALONE, CONFIG, WIRE, rig
from tests.support.command import AROUND, logged, refused, running, scenario
from tests.support.waits import poll, until

PARENT = """
import asyncio
from hpcore_qtest import QtestAccelerator
from hpcore.model.effects import MachineStep, RunMachineStep
from hpcore.model.config import MachineConfig

async def main():
    config = MachineConfig.of(cpus=1, maxcpus=2)
    session = await QtestAccelerator().open(config, None, print)
    await session.execute(RunMachineStep(MachineStep.CREATE_VCPUS))
    print(session.process_id, flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


# ------------------------------------------------------------------------- endings


@needs_qemu
def test_a_qemu_that_dies_is_reported_once_with_its_end_and_everything_else_fails() -> None:
    async def run() -> None:
        async with rig(script=ALONE) as r:
            await r.started(0)
            os.kill(r.pid, signal.SIGKILL)
            await until(lambda: any(isinstance(s, Lost) for s in r.stimuli), "it is reported")
            with pytest.raises(AcceleratorError, match="SIGKILL"):
                await r.steps(1, *WIRE)
            with pytest.raises(AcceleratorError, match="SIGKILL"):
                await r.steps(1, Step.NOTIFY_INSERT)
            assert sum(isinstance(s, Lost) for s in r.stimuli) == 1

    asyncio.run(run())


@needs_qemu
def test_a_destination_that_dies_leaves_the_machine_where_it_was(
    monkeypatch: pytest.MonkeyPatch
) -> None:
    pids: list[int] = []
    move = StoppedQemu.move_to

    async def killed(self: StoppedQemu, other: StoppedQemu) -> None:
        pids.append(other.process.pid)
        os.kill(other.process.pid, signal.SIGKILL)
        await move(self, other)

    monkeypatch.setattr(StoppedQemu, "move_to", killed)

    async def run() -> None:
        async with rig(script=ALONE) as r:
            await r.started(0)
            before = r.pid
            with pytest.raises(EffectError, match=r"was not sent|SIGKILL"):
                await r.machine_step(MachineStep.MIGRATE)
            assert r.pid == before and not alive(pids[0])
            await r.steps(1, *BUILD)
            await until(lambda: ScanStarted() in r.stimuli, "the guest scans")
            assert not any(isinstance(s, Lost) for s in r.stimuli)

    asyncio.run(run())


@needs_qemu
def test_a_migration_that_loses_a_register_fails_and_works_after_a_reset(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    move = StoppedQemu.move_to

    async def lossy(self: StoppedQemu, other: StoppedQemu) -> None:
        await move(self, other)
        await other.qtest.write(0x080B_0400, 4, 0x10)  # IPRIORITYR of vCPU 0

    monkeypatch.setattr(StoppedQemu, "move_to", lossy)

    async def run() -> None:
        async with rig(script=ALONE) as r:
            await r.started(0)
            with pytest.raises(EffectError, match=r"1 GIC registers did not arrive: .*0x80b0400"):
                await r.machine_step(MachineStep.MIGRATE)
            monkeypatch.setattr(StoppedQemu, "move_to", move)
            with pytest.raises(EffectError, match="reset the machine, then migrate it"):
                await r.machine_step(MachineStep.MIGRATE)
            await r.machine_step(MachineStep.RESET)
            await r.machine_step(MachineStep.RESTART, (0,))
            before = r.pid
            await r.machine_step(MachineStep.MIGRATE)
            assert r.pid != before and not alive(before)

    asyncio.run(run())


@needs_qemu
def test_no_qemu_outlives_hpcore() -> None:
    pid = outlived(PARENT)
    asyncio.run(until(lambda: not alive(pid), "QEMU is gone"))


# ------------------------------------------------------------------------- refusals


@needs_qemu
def test_probe_says_what_is_modelled_and_how_qemu_is_kept_from_running() -> None:
    found = QtestAccelerator().probe()
    assert found.unavailable is None and found.plays_guest
    assert found.versions["qemu accelerator"] in ("tcg", "qtest")
    assert "cpu_on" in found.modelled


@pytest.mark.parametrize(("guest", "config", "says"), [
    (GuestImages(Path("kernel"), Path("initrd")), CONFIG, "give it a guest to play"),
    (GuestScript("windows"), CONFIG, "no guest 'windows' to play; there are linux, legacy"),
    (GuestScript(), attrs.evolve(CONFIG, gic_version=2), "needs a GICv3"),
])  # fmt: skip
def test_what_cannot_run_is_refused_before_anything_starts(
    guest: GuestImages | GuestScript, config: MachineConfig, says: str
) -> None:
    with pytest.raises(AcceleratorError, match=says):
        asyncio.run(QtestAccelerator().open(config, guest, print))


@needs_qemu
def test_what_qemu_says_of_a_machine_that_it_cannot_make_is_in_the_error() -> None:
    async def run() -> None:
        async with rig(attrs.evolve(CONFIG, cpu_model="z80"), created=False) as r:
            with pytest.raises(EffectError, match="unable to find CPU model 'z80'"):
                await r.machine_step(MachineStep.CREATE_VCPUS)

    asyncio.run(run())


def test_a_machine_without_qemu_or_with_an_old_one_is_told_so(tmp_path: Path) -> None:
    old = program(tmp_path / "old", "echo QEMU emulator version 6.2.0")
    run = ("run", "plug-unplug", "--accel", "qtest", "--log", tmp_path / "log")
    assert "6.2.0; 7.2 or newer" in refused(*run, env={"HPCORE_QEMU": str(old)})
    assert "is no program that can be run" in refused(*run, env={"HPCORE_QEMU": "/nothing"})
    assert not (tmp_path / "log").exists()


@needs_qemu
def test_a_qemu_that_ends_in_the_middle_is_told_and_leaves_nothing(tmp_path: Path) -> None:
    log = tmp_path / "log"
    path = scenario(tmp_path / "s.yaml", "boot", AROUND)
    with running("run", path, "--accel", "qtest", "--log", log, "--json") as run:
        poll(logged(log, "unplug_completed"), "a vCPU was plugged and unplugged")
        os.kill(run.qemu(), signal.SIGKILL)
        ended = run.end()
    assert ended.code == 2, ended
    assert "SIGKILL" in ended.last["error"]


@needs_qemu
def test_the_error_of_a_missing_device_names_it() -> None:
    async def run() -> None:
        async with rig() as r:
            assert r.session.machine is not None
            with pytest.raises(QemuError, match="no arm-gicv9"):
                await r.session.machine.qemu.device("arm-gicv9")

    asyncio.run(run())
