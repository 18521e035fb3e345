"""How effects become QEMU's own hotplug: each done once, when the core means it to be."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import pytest
from hpcore_qtest.native.session import NativeSession

from hpcore.guest.played import Hardware
from hpcore.model.config import MachineConfig
from hpcore.model.effects import MachineStep, RaiseGed, Reassert, RunStep, Step
from hpcore.model.machines import Phase
from hpcore.model.stimuli import (
    EjectCalled,
    InsertAcked,
    OstReported,
    ResetSeen,
    ScanEnded,
    ScanStarted,
    Stimulus,
)
from hpcore.model.topology import mp_affinity
from hpcore.platform import hotplug_registers
from hpcore.platform.hotplug_registers import Flag
from hpcore.platform.virt import CPU_HOTPLUG_BASE as BLOCK
from hpcore.promises.rig import COLD_BUILD, SessionRig
from hpcore.qemu.errors import QemuError
from hpcore.run.accelerator import AcceleratorError, EffectError, GuestScript
from hpcore.scenario import values as sc
from tests.qemu.support import alive, needs_qemu
from tests.qtest.native import ACCELERATORS, NativeRehearsal, needs_hotplugging
from tests.support.waits import until

pytestmark = [needs_qemu, needs_hotplugging]

SELECTOR, FLAGS, COMMAND, DATA = (
    BLOCK + offset
    for offset in (
        hotplug_registers.SELECTOR, hotplug_registers.FLAGS, hotplug_registers.COMMAND,
        hotplug_registers.DATA,
    )
)  # fmt: skip

CONFIG = MachineConfig.of(cpus=2, maxcpus=4)
ON_BOTH = pytest.mark.parametrize("accel", ACCELERATORS)


class NativeRig(SessionRig[NativeSession]):
    """A session whose guest has booted."""

    @property
    def hardware(self) -> Hardware:
        return self.session.hardware

    async def occupied(self, slot: int = 2) -> bool:
        assert self.session.machine is not None
        return await self.session.machine.occupied(slot)


@asynccontextmanager
async def played(accel: str) -> AsyncIterator[NativeRig]:
    stimuli: list[Stimulus] = []
    script = GuestScript("linux", "maxcpus=1")  # it calls no CPU_ON, which nobody answers
    session = await ACCELERATORS[accel]().open(CONFIG, script, stimuli.append)
    async with NativeRig(session, stimuli) as it:
        await it.created()
        await it.started(0, 1)
        assert session.played is not None
        await session.played.wait_ready(30)
        yield it


@ON_BOTH
def test_the_guest_is_held_back_from_a_vcpu_until_it_is_notified(accel: str) -> None:
    async def scene() -> None:
        async with played(accel) as it:
            await it.steps(2, Step.REALIZE)
            assert await it.occupied(), "it is added at the first step"
            load = asyncio.ensure_future(it.hardware.read(FLAGS, 1))
            await it.steps(2, Step.BIND, Step.WIRE, Step.ENABLE)
            assert await it.session.block.flags(2) == Flag.ENABLED | Flag.INSERT
            assert not load.done()
            assert not it.stimuli
            await it.steps(2, Step.NOTIFY_INSERT)
            await asyncio.wait_for(load, 20)
            success = OstReported(2, 1, 0)
            await until(lambda: success in it.stimuli, "the guest has registered it")
            assert it.stimuli[:4] == [ScanStarted(), InsertAcked(2), ScanEnded(), success]

    asyncio.run(scene())


@ON_BOTH
def test_bind_gives_the_models_affinity(accel: str) -> None:
    async def scene() -> None:
        async with played(accel) as it:
            await it.steps(2, Step.REALIZE)
            assert await it.session.execute(RunStep(Step.BIND, 2)) == mp_affinity(2)

    asyncio.run(scene())


@ON_BOTH
def test_a_vcpu_that_qemu_refuses_leaves_nothing_and_the_guest_goes_on(accel: str) -> None:
    async def scene() -> None:
        async with played(accel) as it:
            assert it.session.machine is not None
            await it.session.machine.add(2)
            with pytest.raises(EffectError, match="Duplicate device ID 'slot2'"):
                await it.steps(2, Step.REALIZE)
            await asyncio.wait_for(it.hardware.read(FLAGS, 1), 20)

    asyncio.run(scene())


@ON_BOTH
def test_a_plug_that_is_undone_takes_the_vcpu_away_unseen(accel: str) -> None:
    async def scene() -> None:
        async with played(accel) as it:
            await it.steps(2, *COLD_BUILD[:2], Step.UNBIND, Step.STOP, Step.RELEASE, Step.PARK)
            assert not await it.occupied()
            assert await it.session.block.flags(2) == 0
            await asyncio.wait_for(it.hardware.read(FLAGS, 1), 20)
            assert not {type(s) for s in it.stimuli} & {InsertAcked, OstReported}

    asyncio.run(scene())


@ON_BOTH
def test_a_plug_goes_on_over_a_reset_in_the_middle(accel: str) -> None:
    async def scene() -> None:
        async with played(accel) as it:
            await it.steps(2, Step.REALIZE, Step.BIND)
            await it.machine_step(MachineStep.RESET)
            assert it.stimuli[-1:] == [ResetSeen()]
            wire = asyncio.ensure_future(it.steps(2, Step.WIRE, Step.ENABLE, Step.NOTIFY_INSERT))
            await it.machine_step(MachineStep.RESTART, (0, 1))
            await wire
            success = OstReported(2, 1, 0)
            await until(lambda: success in it.stimuli, "the guest has registered it")

    asyncio.run(scene())


@ON_BOTH
def test_a_line_raised_again_has_the_guest_scan_again(accel: str) -> None:
    async def scene() -> None:
        async with played(accel) as it:
            await it.session.execute(RaiseGed())
            await until(lambda: it.stimuli == [ScanStarted(), ScanEnded()], "a scan")

    asyncio.run(scene())


@ON_BOTH
def test_the_guest_sees_its_own_slots_alone_and_its_selection_stays(accel: str) -> None:
    async def scene() -> None:
        async with played(accel) as it:
            hardware, block = it.hardware, it.session.block
            for selector, flags in ((1, 1), (2, 0), (CONFIG.possible, 0), (200, 0), (0, 1)):
                await hardware.write(SELECTOR, 4, selector)
                await block.flags(1)
                assert await hardware.read(FLAGS, 1) == flags, selector
                assert await hardware.read(BLOCK, 8) == flags << 32
            await hardware.write(SELECTOR, 4, 3)
            await hardware.write(COMMAND, 1, 0)
            assert await hardware.read(DATA, 4) == 3
            await hardware.write(SELECTOR, 4, CONFIG.possible)
            await hardware.write(DATA, 4, 5)
            assert await hardware.read(DATA, 4) == 0

    asyncio.run(scene())


@ON_BOTH
def test_the_guest_goes_on_once_its_ost_is_told_and_its_eject_is_decided(
    accel: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scene() -> None:
        async with played(accel) as it:
            hardware, events = it.session.hardware, list[Mapping[str, object]]()
            tell = hardware.ost_seen
            monkeypatch.setattr(hardware, "ost_seen", events.append)
            await hardware.write(SELECTOR, 4, 1)
            await hardware.write(COMMAND, 1, hotplug_registers.RegisterCommand.OST_STATUS)
            ost = asyncio.ensure_future(hardware.write(DATA, 4, 0x84))
            await until(lambda: len(events) == 1, "QEMU tells of it")
            assert not ost.done() and not it.stimuli
            tell(events[0])
            await asyncio.wait_for(ost, 20)
            eject = asyncio.ensure_future(hardware.write(FLAGS, 1, hotplug_registers.Store.EJECT))
            await until(lambda: EjectCalled(1) in it.stimuli, "it is told")
            await hardware.read(FLAGS, 1)
            assert not eject.done()
            await it.session.execute(Reassert(1))
            await asyncio.wait_for(eject, 20)
            assert it.stimuli == [OstReported(1, 0, 0x84), EjectCalled(1)]

    asyncio.run(scene())


@ON_BOTH
def test_steps_that_qemu_contradicts_fail(accel: str) -> None:
    async def scene() -> None:
        async with played(accel) as it:
            with pytest.raises(EffectError, match="do not say that vCPU 2 is enabled"):
                await it.steps(2, Step.ENABLE)
            with pytest.raises(EffectError, match="no insert event for vCPU 2"):
                await it.steps(2, Step.NOTIFY_INSERT)
            with pytest.raises(EffectError, match="Device 'slot2' not found"):
                await it.steps(2, Step.NOTIFY_REMOVE)
            with pytest.raises(EffectError, match="still has a vCPU in slot 1"):
                await it.steps(1, Step.RELEASE)

    asyncio.run(scene())


@ON_BOTH
def test_a_qemu_that_dies_ends_the_machine_and_whoever_waits(accel: str) -> None:
    async def scene() -> None:
        rehearsal = NativeRehearsal(CONFIG)
        rehearsal.accel = accel
        try:
            await rehearsal.start()
            await rehearsal.take(sc.PlugStep("core2", dict(CONFIG.topology.props(2))))
            pid = rehearsal.session.process_id
            assert pid is not None
            load = asyncio.ensure_future(rehearsal.session.hardware.read(FLAGS, 1))
            os.kill(pid, signal.SIGKILL)
            await until(lambda: rehearsal.state.shared.phase is Phase.FAILED, "the end")
            assert not alive(pid)
            with pytest.raises((AcceleratorError, QemuError)) as caught:
                await asyncio.wait_for(load, 20)
                await rehearsal.session.hardware.read(FLAGS, 1)
            assert "SIGKILL" in str(caught.value)
        finally:
            await rehearsal.close()

    asyncio.run(scene())
