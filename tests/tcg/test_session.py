"""Sessions without a guest: what they promise, and how they end."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hpcore_tcg import TcgAccelerator

from hpcore.model.config import MachineConfig
from hpcore.model.effects import (
    AnswerCpuOn,
    MachineStep,
    RaiseGed,
    Reassert,
    RunMachineStep,
    RunStep,
    Step,
)
from hpcore.model.rules import TEARDOWN
from hpcore.model.stimuli import Lost, ResetSeen
from hpcore.model.topology import mp_affinity
from hpcore.promises.rig import COLD_BUILD
from hpcore.run.accelerator import AcceleratorError, EffectError, GuestImages
from tests.qemu.support import alive, needs_qemu, program
from tests.support.waits import until
from tests.tcg.rig import TcgRig, config, session

pytestmark = needs_qemu

PARENT = """
import asyncio, sys
from hpcore_tcg import TcgAccelerator
from hpcore.model.effects import MachineStep, RunMachineStep
from hpcore.model.config import MachineConfig

async def main():
    config = MachineConfig.of(cpus=1, maxcpus=2)
    session = await TcgAccelerator().open(config, None, print)
    await session.execute(RunMachineStep(MachineStep.CREATE_VCPUS))
    print(session.process_id, flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


async def created(rig: TcgRig) -> int:
    """A machine whose monitor waits for steps; QEMU's process id."""
    await rig.created()
    assert rig.session.process_id is not None
    return rig.session.process_id


def test_probe_says_what_it_runs_on() -> None:
    found = TcgAccelerator().probe()
    assert found.unavailable is None
    assert found.max_vcpus == 512
    assert set(found.versions) == {"qemu", "monitor"}
    assert "stop" in found.modelled


def test_probe_and_open_without_qemu_say_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HPCORE_QEMU", "/nonexistent/qemu")
    assert "qemu-system-arm" in (TcgAccelerator().probe().unavailable or "")

    async def run() -> None:
        with pytest.raises(AcceleratorError, match="/nonexistent/qemu"):
            await TcgAccelerator().open(config(1, 2), None, print)

    asyncio.run(run())


def test_a_machine_with_a_gicv2_is_refused() -> None:
    machine = MachineConfig.of(cpus=1, gic_version=2)
    with pytest.raises(AcceleratorError, match="gic-version 2; use 3"):
        asyncio.run(TcgAccelerator().open(machine, None, print))


def test_a_kernel_that_is_none_is_refused_before_anything_starts(tmp_path: Path) -> None:
    (tmp_path / "kernel").write_bytes(b"not a kernel" * 100)
    (tmp_path / "initrd").write_bytes(b"")
    images = GuestImages(tmp_path / "kernel", tmp_path / "initrd")
    with pytest.raises(AcceleratorError, match="kernel"):
        asyncio.run(TcgAccelerator().open(config(1, 2), images, print))


def test_a_qemu_that_cannot_start_is_quoted(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    fake = program(
        tmp_path / "qemu",
        'case "$1" in --version) echo QEMU emulator version 8.0.0;; '
        "*) echo no such machine >&2; exit 1;; esac",
    )
    monkeypatch.setenv("HPCORE_QEMU", str(fake))

    async def run() -> None:
        async with session(1, 2) as rig:
            with pytest.raises(EffectError, match="exit status 1 and said: no such machine"):
                await rig.machine_step(MachineStep.CREATE_VCPUS)

    asyncio.run(run())


def test_32_vcpus_are_plugged_at_once_and_each_gets_its_own_interface() -> None:
    async def run() -> None:
        async with session(1, 32) as rig:
            await created(rig)

            async def plug(slot: int) -> int | None:
                await rig.steps(slot, Step.REALIZE)
                affinity = await rig.do(RunStep(Step.BIND, slot))
                await rig.steps(slot, Step.WIRE, Step.ENABLE)
                return affinity

            found = await asyncio.gather(*(plug(slot) for slot in range(32)))
            assert found == [mp_affinity(slot) for slot in range(32)]
            await asyncio.gather(*(rig.steps(slot, *TEARDOWN) for slot in range(1, 32)))
            assert rig.stimuli == []

    asyncio.run(run())


def test_an_illegal_step_is_an_effect_error_with_the_remedy() -> None:
    async def run() -> None:
        async with session(1, 2) as rig:
            with pytest.raises(EffectError, match="CREATE_VCPUS comes first"):
                await rig.machine_step(MachineStep.START)
            await created(rig)
            with pytest.raises(EffectError, match=r"ENABLE of vCPU 1: .* must be wired first"):
                await rig.steps(1, Step.ENABLE)
            with pytest.raises(EffectError, match="created once"):
                await rig.machine_step(MachineStep.CREATE_VCPUS)
            with pytest.raises(EffectError, match="no guest"):
                await rig.machine_step(MachineStep.START)
            with pytest.raises(AcceleratorError, match="answers CPU_ON by itself"):
                await rig.do(AnswerCpuOn(1, 0, True, 0))
            await rig.do(RaiseGed())
            await rig.do(Reassert(1))
            await rig.do(Reassert(99))

    asyncio.run(run())


def test_steps_wait_while_the_machine_is_paused() -> None:
    async def run() -> None:
        async with session(1, 2) as rig:
            await created(rig)
            await rig.machine_step(MachineStep.PAUSE)
            step = asyncio.create_task(rig.steps(1, *COLD_BUILD))
            await asyncio.wait({step}, timeout=0.2)
            assert not step.done()
            await rig.machine_step(MachineStep.RESUME)
            await step

    asyncio.run(run())


def test_a_reset_ends_notifications_and_keeps_steps_until_restart() -> None:
    async def run() -> None:
        async with session(1, 4) as rig:
            await created(rig)
            for slot in (0, 1):
                await rig.steps(slot, *COLD_BUILD)
            await rig.machine_step(MachineStep.PAUSE)
            under_way = [
                asyncio.create_task(rig.steps(1, Step.NOTIFY_INSERT)),
                asyncio.create_task(rig.steps(2, *COLD_BUILD)),
            ]
            await asyncio.sleep(0)
            await rig.machine_step(MachineStep.RESET)
            assert rig.stimuli == []
            await rig.machine_step(MachineStep.RESUME)
            await rig.heard(ResetSeen())
            await under_way[0]
            assert not under_way[1].done()
            await rig.machine_step(MachineStep.RESTART, (0, 1))
            await under_way[1]
            with pytest.raises(EffectError, match="the vCPU is still enabled"):
                await rig.steps(1, Step.ENABLE)
            with pytest.raises(EffectError, match="vCPU 3 is to be enabled and was never wired"):
                await rig.machine_step(MachineStep.RESTART, (0, 3))
            assert rig.stimuli == [ResetSeen()]

    asyncio.run(run())


def test_a_killed_qemu_is_reported_once_and_ends_what_is_under_way() -> None:
    async def run() -> None:
        async with session(1, 2) as rig:
            pid = await created(rig)
            await rig.machine_step(MachineStep.PAUSE)
            step = asyncio.create_task(rig.steps(1, *COLD_BUILD))
            await asyncio.sleep(0)
            os.kill(pid, signal.SIGKILL)
            lost = await rig.heard(Lost)
            assert isinstance(lost, Lost) and "SIGKILL" in lost.error
            with pytest.raises(AcceleratorError, match="SIGKILL"):
                await step
            for again in (MachineStep.RESET, MachineStep.START, MachineStep.POWER_DOWN):
                with pytest.raises(AcceleratorError, match="SIGKILL"):
                    await rig.do(RunMachineStep(again))
            assert rig.session.console is not None
            assert await rig.session.console.read() == b""
        assert [type(s) for s in rig.stimuli] == [Lost]
        assert not alive(pid)

    asyncio.run(run())


def test_power_down_ends_qemu_and_is_no_loss() -> None:
    async def run() -> None:
        async with session(1, 2) as rig:
            pid = await created(rig)
            await rig.machine_step(MachineStep.PAUSE)
            step = asyncio.create_task(rig.steps(1, *COLD_BUILD))
            await asyncio.sleep(0)
            await rig.machine_step(MachineStep.POWER_DOWN)
            assert not alive(pid)
            with pytest.raises(AcceleratorError, match="was ended"):
                await step
        await rig.session.close()
        assert rig.stimuli == []

    asyncio.run(run())


def test_kill_9_of_the_parent_leaves_no_qemu_and_no_directory() -> None:
    with subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE) as parent:
        try:
            assert parent.stdout is not None
            lines = iter(parent.stdout.readline, b"")
            pid = next(int(line) for line in lines if line.strip().isdigit())
            assert alive(pid)
            argv = Path(f"/proc/{pid}/cmdline").read_bytes().decode()
        finally:
            parent.kill()
    directories = {Path(d) for d in re.findall(r"path=([^,]*hpcore-[^,/]+)/", argv)}
    assert len(directories) == 1
    assert not any(d.exists() for d in directories)
    asyncio.run(until(lambda: not alive(pid), "QEMU is gone"))


def test_the_links_bytes_are_logged_where_the_variable_says(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    log = tmp_path / "link, all of it"
    monkeypatch.setenv("HPCORE_TCG_LINK_LOG", str(log))

    async def run() -> None:
        async with session(1, 2) as rig:
            await created(rig)

    asyncio.run(run())
    assert log.read_bytes()[0] == 0x80 | 0x40  # HELLO
