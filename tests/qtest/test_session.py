"""Sessions: what they promise, what they refuse, and how they end."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from attrs import evolve
from hpcore_qtest import QtestAccelerator
from hpcore_qtest.machine import Machine
from hpcore_qtest.redistributor import ISPENDR0, WAKER, RedistributorError
from hpcore_qtest.session import QtestSession

from hpcore.model.effects import MachineStep, RunMachineStep, RunStep, Step
from hpcore.model.machine import MachineConfig
from hpcore.model.rules import BUILD
from hpcore.model.stimuli import Lost, PowerOffSeen, ResetSeen, ScanStarted, Stimulus
from hpcore.model.topology import Topology, mp_affinity
from hpcore.qemu import QemuError
from hpcore.run.accelerator import AcceleratorError, EffectError, GuestImages, GuestScript
from tests.qemu.support import alive, needs_qemu, program, until
from tests.support.command import refused

CONFIG = MachineConfig(Topology.resolve(cpus=1, maxcpus=3), memory=256)
ALONE = GuestScript(append="maxcpus=1")
"""A guest that asks for no CPU_ON at its boot, which nobody here would answer."""
WIRE = (Step.REALIZE, Step.BIND, Step.WIRE)

PARENT = """
import asyncio
from hpcore_qtest import QtestAccelerator
from hpcore.model.effects import MachineStep, RunMachineStep
from hpcore.model.machine import MachineConfig
from hpcore.model.topology import Topology

async def main():
    config = MachineConfig(Topology.resolve(cpus=1, maxcpus=2))
    session = await QtestAccelerator().open(config, None, print)
    await session.execute(RunMachineStep(MachineStep.CREATE_VCPUS))
    print(session.process_id, flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


class Rig:
    """A session and what it has reported."""

    def __init__(self, session: QtestSession, told: list[Stimulus]) -> None:
        self.session, self.told = session, told

    async def whole(self, step: MachineStep, *enabled: int) -> None:
        await self.session.execute(RunMachineStep(step, enabled))

    async def steps(self, slot: int, *steps: Step) -> int | None:
        value = None
        for step in steps:
            value = await self.session.execute(RunStep(step, slot))
        return value

    @property
    def pid(self) -> int:
        assert self.session.process_id is not None
        return self.session.process_id

    async def register(self, slot: int, offset: int) -> int:
        machine = self.session.machine
        assert machine is not None
        return await machine.machine.qtest.read(machine.gicr.frames[slot] + offset, 4)


@asynccontextmanager
async def rig(
    config: MachineConfig = CONFIG, script: GuestScript | None = None, created: bool = True
) -> AsyncIterator[Rig]:
    """A session with a started QEMU; it leaves none behind."""
    told: list[Stimulus] = []
    session = await QtestAccelerator().open(config, script, told.append)
    assert isinstance(session, QtestSession)
    made = Rig(session, told)
    try:
        if created:
            await made.whole(MachineStep.CREATE_VCPUS)
            await made.whole(MachineStep.INIT_GIC)
        yield made
    finally:
        pid = session.process_id
        await session.close()
        assert pid is None or not alive(pid)


async def booted(rig: Rig) -> None:
    """vCPU 0 is there and the guest runs."""
    await rig.steps(0, *WIRE, Step.ENABLE)
    await rig.whole(MachineStep.START, 0)


# ------------------------------------------------------------------------ the GIC


@needs_qemu
def test_binding_finds_the_redistributor_and_wiring_wakes_it() -> None:
    async def run() -> None:
        async with rig() as r:
            assert await r.steps(2, Step.REALIZE, Step.BIND) == mp_affinity(2)
            assert await r.register(2, WAKER) == 6
            await r.steps(2, Step.WIRE)
            assert await r.register(2, WAKER) == 0
            assert await r.register(1, WAKER) == 6
            await r.steps(2, Step.UNWIRE, Step.UNBIND, Step.STOP, Step.RELEASE, Step.PARK)
            assert await r.register(2, WAKER) == 6

    asyncio.run(run())


@needs_qemu
@pytest.mark.parametrize("possible", [17, 130])
def test_every_frame_is_where_it_must_be_on_large_machines(possible: int) -> None:
    """17 vCPUs have a second Aff1 group; 130 do not fit into the first redistributor region."""

    async def run() -> None:
        config = evolve(CONFIG, topology=Topology.resolve(cpus=1, maxcpus=possible))
        async with rig(config) as r:
            last = possible - 1
            assert await r.steps(last, *WIRE[:2]) == mp_affinity(last)
            await r.steps(last, Step.WIRE)
            assert await r.register(last, WAKER) == 0

    asyncio.run(run())


@needs_qemu
def test_what_a_guest_left_in_a_parked_vcpus_redistributor_is_gone_when_it_is_bound() -> None:
    async def run() -> None:
        async with rig() as r:
            assert r.session.machine is not None
            gicr = r.session.machine.gicr
            qtest = r.session.machine.machine.qtest
            await qtest.write(gicr.frames[1] + WAKER, 4, 0)
            await qtest.write(gicr.frames[1] + ISPENDR0, 4, 1 << 5)
            with pytest.raises(RedistributorError, match=r"GICR_.* of vCPU 1 reads"):
                await gicr.hold_clear(1)
            await r.steps(1, Step.BIND)
            await gicr.hold_clear(1)

    asyncio.run(run())


@needs_qemu
def test_steps_out_of_order_are_refused_and_leave_all_as_it_was() -> None:
    async def run() -> None:
        async with rig() as r:
            for step in (Step.WIRE, Step.UNWIRE, Step.UNBIND):
                with pytest.raises(EffectError, match="vCPU 1 is not bound"):
                    await r.steps(1, step)
            await r.steps(1, *WIRE)
            with pytest.raises(EffectError, match="vCPU 1 is still wired"):
                await r.steps(1, Step.UNBIND)
            with pytest.raises(EffectError, match="vCPU 1 is still bound"):
                await r.steps(1, Step.PARK)
            with pytest.raises(EffectError, match="created once"):
                await r.whole(MachineStep.CREATE_VCPUS)

    asyncio.run(run())


@needs_qemu
def test_a_redistributor_that_is_not_as_it_must_be_stops_the_machine_before_it_starts() -> None:
    async def run() -> None:
        async with rig(created=False) as r:
            await r.whole(MachineStep.CREATE_VCPUS)
            assert r.session.machine is not None
            gicr = r.session.machine.gicr
            await gicr.wake(2)
            with pytest.raises(EffectError, match=r"GICR_WAKER of vCPU 2 reads 0x0, not 0x6"):
                await r.whole(MachineStep.INIT_GIC)

    asyncio.run(run())


# ------------------------------------------------------------------ the guest's time


@needs_qemu
def test_the_geds_interrupt_waits_in_the_gic_while_the_machine_is_paused() -> None:
    async def run() -> None:
        async with rig(script=ALONE) as r:
            await booted(r)
            assert r.session.machine is not None
            ged = r.session.machine.ged
            await r.whole(MachineStep.PAUSE)
            await r.steps(1, *BUILD)
            assert await ged.pends()
            assert ScanStarted() not in r.told
            await r.whole(MachineStep.MIGRATE)
            ged = r.session.machine.ged
            assert await ged.pends()
            await r.whole(MachineStep.RESUME)
            await until("the guest scans", lambda: ScanStarted() in r.told)
            assert not await ged.pends()

    asyncio.run(run())


@needs_qemu
def test_a_reset_ends_the_guest_and_restart_wires_what_is_plugged() -> None:
    async def run() -> None:
        async with rig(script=ALONE) as r:
            await booted(r)
            await r.steps(2, *BUILD)
            await r.whole(MachineStep.RESET)
            assert r.told[-1] == ResetSeen()
            assert await r.register(2, WAKER) == 6 and not r.session.device.enabled(2)
            await r.steps(2, Step.NOTIFY_REMOVE)  # answered as done, and not done
            late = asyncio.create_task(r.steps(1, *WIRE))  # waits for RESTART
            await r.whole(MachineStep.RESTART, 0, 2)
            assert await r.register(2, WAKER) == 0 and r.session.device.enabled(2)
            assert r.session.device.pending(2) == (False, False)
            await late
            assert await r.register(1, WAKER) == 0
            await r.steps(1, Step.UNWIRE)
            with pytest.raises(EffectError, match="vCPU 1 is to be enabled and was never wired"):
                await r.whole(MachineStep.RESTART, 0, 1)

    asyncio.run(run())


@needs_qemu
def test_a_guest_that_powers_the_machine_off_is_seen() -> None:
    async def run() -> None:
        async with rig(script=ALONE) as r:
            await booted(r)
            assert r.session.played is not None
            await r.session.played.wait_ready(10)
            await r.session.played.power_off()
            assert r.told[-1] == PowerOffSeen()

    asyncio.run(run())


# ------------------------------------------------------------------------- endings


@needs_qemu
def test_a_qemu_that_dies_is_reported_once_with_its_end_and_everything_else_fails() -> None:
    async def run() -> None:
        async with rig(script=ALONE) as r:
            await booted(r)
            os.kill(r.pid, signal.SIGKILL)
            await until("it is reported", lambda: any(isinstance(s, Lost) for s in r.told))
            with pytest.raises(AcceleratorError, match="SIGKILL"):
                await r.steps(1, *WIRE)
            with pytest.raises(AcceleratorError, match="SIGKILL"):
                await r.steps(1, Step.NOTIFY_INSERT)
            assert sum(isinstance(s, Lost) for s in r.told) == 1

    asyncio.run(run())


@needs_qemu
def test_a_destination_that_dies_leaves_the_machine_where_it_was(
    monkeypatch: pytest.MonkeyPatch
) -> None:
    pids: list[int] = []
    move = Machine.move_to

    async def killed(self: Machine, other: Machine, seconds: float = 5.0) -> None:
        pids.append(other.process.pid)
        os.kill(other.process.pid, signal.SIGKILL)
        await move(self, other, seconds)

    monkeypatch.setattr(Machine, "move_to", killed)

    async def run() -> None:
        async with rig(script=ALONE) as r:
            await booted(r)
            before = r.pid
            with pytest.raises(EffectError):
                await r.whole(MachineStep.MIGRATE)
            assert r.pid == before and not alive(pids[0])
            await r.steps(1, *BUILD)
            await until("the guest scans", lambda: ScanStarted() in r.told)
            assert not any(isinstance(s, Lost) for s in r.told)

    asyncio.run(run())


@needs_qemu
def test_a_migration_that_loses_a_register_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    move = Machine.move_to

    async def lossy(self: Machine, other: Machine, seconds: float = 5.0) -> None:
        await move(self, other, seconds)
        await other.qtest.write(0x080B_0400, 4, 0x10)  # IPRIORITYR of vCPU 0

    monkeypatch.setattr(Machine, "move_to", lossy)

    async def run() -> None:
        async with rig(script=ALONE) as r:
            await booted(r)
            with pytest.raises(EffectError, match=r"1 GIC registers did not arrive: .*0x80b0400"):
                await r.whole(MachineStep.MIGRATE)

    asyncio.run(run())


@needs_qemu
def test_no_qemu_outlives_hpcore() -> None:
    with subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE) as parent:
        try:
            assert parent.stdout is not None
            lines = iter(parent.stdout.readline, b"")  # diagnostics may stand before it
            pid = next(int(line) for line in lines if line.strip().isdigit())
            assert alive(pid)
        finally:
            parent.kill()
    asyncio.run(until("QEMU is gone", lambda: not alive(pid)))


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
    (GuestScript(), evolve(CONFIG, gic_version=2), "needs a GICv3"),
])  # fmt: skip
def test_what_cannot_run_is_refused_before_anything_starts(
    guest: GuestImages | GuestScript, config: MachineConfig, says: str
) -> None:
    with pytest.raises(AcceleratorError, match=says):
        asyncio.run(QtestAccelerator().open(config, guest, print))


@needs_qemu
def test_what_qemu_says_of_a_machine_that_it_cannot_make_is_in_the_error() -> None:
    async def run() -> None:
        async with rig(evolve(CONFIG, cpu_model="z80"), created=False) as r:
            with pytest.raises(EffectError, match="unable to find CPU model 'z80'"):
                await r.whole(MachineStep.CREATE_VCPUS)

    asyncio.run(run())


def test_a_machine_without_qemu_or_with_an_old_one_is_told_so(tmp_path: Path) -> None:
    old = program(tmp_path / "old", "echo QEMU emulator version 6.2.0")
    run = ("run", "plug-unplug", "--accel", "qtest", "--log", tmp_path / "log")
    assert "6.2.0; 7.2 or newer" in refused(*run, env={"HPCORE_QEMU": str(old)})
    assert "is no program that can be run" in refused(*run, env={"HPCORE_QEMU": "/nothing"})
    assert not (tmp_path / "log").exists()


@needs_qemu
def test_a_qemu_that_ends_in_the_middle_is_told_and_leaves_nothing(tmp_path: Path) -> None:
    """It is the real one, killed by whoever started it after a moment."""
    dying = program(
        tmp_path / "dying",
        'case "$*" in *" -qtest "*) (sleep 0.6; kill -9 $$) & ;; esac\n'
        'exec qemu-system-aarch64 "$@"',
    )
    said = refused(
        "run", "cycles", "--accel", "qtest", "--log", tmp_path / "log",
        env={"HPCORE_QEMU": str(dying)},
    )  # fmt: skip
    assert "SIGKILL" in said


@needs_qemu
def test_the_error_of_a_missing_device_names_it() -> None:
    async def run() -> None:
        async with rig() as r:
            assert r.session.machine is not None
            with pytest.raises(QemuError, match="no arm-gicv9"):
                await r.session.machine.machine.device("arm-gicv9")

    asyncio.run(run())
