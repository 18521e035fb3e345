"""A core and a guest on the real KVM: who may run, what a thread lives for, resets, force."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from hpcore_kvm import smccc
from hpcore_kvm.gic import GICR_ISENABLER0
from hpcore_kvm.smccc import Function
from hpcore_kvm.uapi import REG_TIMER_CNT, MpState

from hpcore.model import stimuli
from hpcore.model.events import (
    CpuOnDenied,
    CpuOnGranted,
    CpuWentOff,
    MachinePoweredOff,
    MachineWasReset,
    Refused,
)
from hpcore.model.psci import PsciStatus
from hpcore.platform import virt
from hpcore.run.view import view
from tests.kvm.machines import (
    ENTRY,
    HVC,
    Whole,
    mailbox,
    open_files,
    thread_ids,
    whole,
)
from tests.kvm.programs import COUNTERS
from tests.support.waits import SECONDS, until

AFFINITY_INFO, SYSTEM_OFF, SYSTEM_RESET = 0xC400_0004, 0x8400_0008, 0x8400_0009
ON, OFF = 0, 1
PPI, SGIS = 1 << 20, 0xFFFF
"""In GICR_ISENABLER0; KVM's SGIs are enabled at reset."""


async def cpu_on(rig: Whole, slot: int, caller: int = 0) -> int:
    """The guest calls CPU_ON of `slot`, which is to begin with its mailbox in x0."""
    return await rig.order(caller, HVC, Function.CPU_ON_64, slot, ENTRY, mailbox(slot))


async def cpu_off(rig: Whole, cpu: int, seen_by: int) -> None:
    """The guest's `cpu` calls CPU_OFF, and `seen_by` waits until AFFINITY_INFO says so."""
    rig.boxes.order(cpu, HVC, Function.CPU_OFF)
    await rig.until(lambda s: not s.slots[cpu].powered)
    async with asyncio.timeout(SECONDS):
        while await rig.order(seen_by, HVC, AFFINITY_INFO, cpu) != OFF:
            pass


@pytest.mark.nvhe
def test_a_raw_cpu_on_of_a_parked_vcpu_is_denied_and_logged(tmp_path: Path) -> None:
    async def run() -> None:
        async with whole(tmp_path, 1, 3) as rig:
            await rig.boot()
            assert await cpu_on(rig, 1) == PsciStatus.DENIED
            assert rig.events[-1] == CpuOnDenied(1, 0, PsciStatus.DENIED)
            # by the 32-bit call, too
            got = await rig.order(0, HVC, Function.CPU_ON_32, 2, 0x4020_0000)
            assert got & 0xFFFF_FFFF == PsciStatus.DENIED & 0xFFFF_FFFF
            assert rig.events[-1] == CpuOnDenied(2, 0, PsciStatus.DENIED)
            assert rig.machine.vcpu(1).mp_state is MpState.STOPPED
            assert await rig.order(0, HVC, AFFINITY_INFO, 1) == OFF

    asyncio.run(run())


def test_cpu_on_of_what_no_vcpu_has_is_answered_without_the_core(tmp_path: Path) -> None:
    async def run() -> None:
        async with whole(tmp_path, 1, 3) as rig:
            await rig.boot()
            logged = len(rig.events)
            for affinity in (3, 0x10, 1 << 24, 1 << 32, 1 << 63):
                assert await cpu_on(rig, affinity) == PsciStatus.INVALID_PARAMETERS
            assert len(rig.events) == logged

    asyncio.run(run())


@pytest.mark.nvhe
def test_a_plugged_vcpu_is_granted_runs_goes_off_and_comes_back(tmp_path: Path) -> None:
    async def run() -> None:
        async with whole(tmp_path, 1, 2) as rig:
            await rig.boot()
            await rig.plug(1)
            for _ in range(3):
                assert await cpu_on(rig, 1) == PsciStatus.SUCCESS
                granted = [e for e in rig.events if isinstance(e, CpuOnGranted)]
                assert granted[-1] == CpuOnGranted(1, 0, ENTRY, mailbox(1))
                assert await rig.order(1, HVC, AFFINITY_INFO, 0) == ON
                assert await cpu_on(rig, 1) == PsciStatus.ALREADY_ON
                assert await cpu_on(rig, 0, caller=1) == PsciStatus.ALREADY_ON
                await cpu_off(rig, 1, seen_by=0)
            assert sum(isinstance(e, CpuWentOff) for e in rig.events) == 3
            # vCPU 0 is one like any other
            assert await cpu_on(rig, 1) == PsciStatus.SUCCESS
            await cpu_off(rig, 0, seen_by=1)
            assert await rig.order(1, HVC, Function.CPU_ON_64, 0, ENTRY, mailbox(0)) == 0
            assert await rig.order(0, HVC, AFFINITY_INFO, 1) == ON

    asyncio.run(run())


def test_only_realized_vcpus_have_a_thread_and_a_run_page(tmp_path: Path) -> None:
    async def run() -> None:
        async with whole(tmp_path, 2, 16) as rig:
            await rig.boot()
            before = thread_ids()
            ids = rig.machine.threads.ids()
            assert set(ids) == {0, 1}
            assert set(ids.values()) <= before
            assert [v.index for v in rig.machine.vm.vcpus if v.mapped] == [0, 1]
            files = open_files()
            await rig.plug(5)
            new = rig.machine.threads.ids()[5]
            assert new in thread_ids() and new not in before
            assert rig.machine.vcpu(5).mapped
            fd = rig.machine.vcpu(5).fd
            assert await cpu_on(rig, 5) == PsciStatus.SUCCESS
            await rig.revoke(5)
            await until(lambda: new not in thread_ids())  # joined, and gone soon after
            assert set(rig.machine.threads.ids()) == {0, 1}
            assert not rig.machine.vcpu(5).mapped
            # the vCPU itself is kept, by the same file, for the next plug
            assert rig.machine.vcpu(5).fd == fd
            assert open_files() == files
            assert await cpu_on(rig, 5) == PsciStatus.DENIED
            await rig.plug(5)
            assert await cpu_on(rig, 5) == PsciStatus.SUCCESS

    asyncio.run(run())


@pytest.mark.nvhe
def test_a_vcpu_is_born_anew_at_each_plug_whatever_the_guest_left(tmp_path: Path) -> None:
    async def run() -> None:
        async with whole(tmp_path, 1, 3) as rig:
            await rig.boot()
            # the guest reaches the redistributor of a vCPU that was never plugged
            for slot in (1, 2):
                enable = virt.redistributor(slot) + GICR_ISENABLER0
                await rig.store(0, enable, PPI)
                assert await rig.load(0, enable) == PPI | SGIS
                await rig.plug(slot)
                assert await rig.load(0, enable) == SGIS
                await rig.store(0, enable, PPI)
                await rig.revoke(slot)
                assert await rig.load(0, enable) == 0  # unwired: nothing is enabled
                await rig.plug(slot)
                assert await rig.load(0, enable) == SGIS

    asyncio.run(run())


@pytest.mark.nvhe
def test_the_guests_resets_keep_what_is_plugged(tmp_path: Path) -> None:
    async def run() -> None:
        async with whole(tmp_path, 1, 4) as rig:
            await rig.boot()
            await rig.plug(2)
            ids = rig.machine.threads.ids()
            for resets in range(1, 6):
                assert await cpu_on(rig, 2) == PsciStatus.SUCCESS
                # either vCPU may reset the machine, while the other runs
                rig.boxes.order(2 * (resets % 2), HVC, SYSTEM_RESET)
                await until(lambda: sum(
                    isinstance(e, MachineWasReset) for e in rig.events) == resets)  # noqa: B023
                await rig.until(lambda s: s.shared.phase.value == "running")
                assert await rig.order(0, HVC, AFFINITY_INFO, 2) == OFF
                assert rig.machine.threads.ids() == ids
                assert await cpu_on(rig, 3) == PsciStatus.DENIED
            assert not any(isinstance(e, Refused) for e in rig.events)

    asyncio.run(run())


def test_a_reset_of_the_user_reaches_a_guest_that_only_spins(tmp_path: Path) -> None:
    async def run() -> None:
        async with whole(tmp_path, 1, 2) as rig:
            await rig.boot()
            await rig.plug(1)
            assert await cpu_on(rig, 1) == PsciStatus.SUCCESS
            await rig.core.submit(stimuli.Reset())
            await rig.until(lambda s: s.shared.phase.value == "running" and s.shared.step is None)
            assert await rig.order(0, HVC, AFFINITY_INFO, 1) == OFF
            assert await cpu_on(rig, 1) == PsciStatus.SUCCESS

    asyncio.run(run())


def test_no_vcpu_runs_while_the_machine_is_paused(tmp_path: Path) -> None:
    async def run() -> None:
        async with whole(tmp_path, 2, 3) as rig:
            await rig.boot()
            assert await cpu_on(rig, 1) == PsciStatus.SUCCESS
            await until(lambda: rig.boxes.polls.get(1))
            await rig.core.submit(stimuli.Pause())
            await rig.until(lambda s: s.shared.paused)
            exits = [rig.machine.threads[n].exits for n in (0, 1)]
            polls = dict(rig.boxes.polls)
            await rig.core.submit(stimuli.DeviceAdd("cpu2", (("core-id", 2),)))
            await asyncio.sleep(0.1)  # time in which a vCPU that ran would be seen to
            assert [rig.machine.threads[n].exits for n in (0, 1)] == exits
            assert rig.boxes.polls == polls
            assert not rig.live.slot(2).enabled  # the plug waits for the pause's end
            await rig.core.submit(stimuli.Resume())
            await rig.until(lambda s: view(s)[2].enabled)
            assert await cpu_on(rig, 2, caller=1) == PsciStatus.SUCCESS

    asyncio.run(run())


def test_the_guests_counter_stands_still_while_the_machine_is_paused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def run() -> None:
        async with whole(tmp_path, 1, 1, COUNTERS) as rig:
            said: list[int] = []  # the virtual counter, then the physical one, and so on
            monkeypatch.setattr(rig.boxes, "write", lambda _at, _size, value: said.append(value))

            async def apart(start: int) -> int:
                """How far apart the two counters are, in what is said from `start` on."""
                await until(lambda: len(said) > start + 20)
                pairs = zip(said[start::2], said[start + 1 :: 2], strict=False)
                return min(physical - virtual for virtual, physical in pairs)

            def now() -> int:  # goes on until the resume writes it back
                return rig.machine.vcpu(0).get_register(REG_TIMER_CNT)

            await rig.boot()
            before = await apart(0)
            await rig.core.submit(stimuli.Pause())
            await rig.until(lambda s: s.shared.paused)
            start, paused_at = len(said) + len(said) % 2, now()
            await asyncio.sleep(0.02)  # time that the guest must not see
            length = now() - paused_at
            await rig.core.submit(stimuli.Resume())
            assert await apart(start) - before >= length > 0
            assert said[0::2] == sorted(said[0::2])

    asyncio.run(run())


def test_a_power_off_of_the_guest_ends_the_machine(tmp_path: Path) -> None:
    async def run() -> None:
        async with whole(tmp_path, 1, 2) as rig:
            await rig.boot()
            rig.boxes.order(0, HVC, SYSTEM_OFF)
            await rig.core.ended()
            assert rig.events[-1] == MachinePoweredOff("guest")
    asyncio.run(run())


def test_machines_come_and_go_and_leave_nothing_behind(tmp_path: Path) -> None:
    async def one() -> None:
        async with whole(tmp_path, 2, 8) as rig:
            await rig.boot()
            await rig.plug(3)
            await cpu_on(rig, 3)
            await cpu_on(rig, 1)

    async def gone(before: set[int]) -> None:
        await until(lambda: thread_ids() <= before)

    threads = thread_ids()
    asyncio.run(one())
    files = open_files()
    for _ in range(5):
        asyncio.run(one())
        assert open_files() == files
        asyncio.run(gone(threads))


def test_without_a_filter_the_kernel_powers_the_vcpus_that_boot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a kernel before 6.4, where no vCPU can be plugged."""
    monkeypatch.setattr(smccc, "has_filter", lambda _vm: False)

    async def run() -> None:
        async with whole(tmp_path, 2, 2) as rig:
            await rig.boot()
            logged = len(rig.events)
            assert await rig.order(0, HVC, AFFINITY_INFO, 1) == OFF
            assert await cpu_on(rig, 1) == PsciStatus.SUCCESS
            assert await rig.order(1, HVC, AFFINITY_INFO, 0) == ON
            assert len(rig.events) == logged
            await rig.core.submit(stimuli.Reset())
            await rig.until(lambda s: s.shared.phase.value == "running" and s.shared.step is None)
            assert await rig.order(0, HVC, AFFINITY_INFO, 1) == OFF

    asyncio.run(run())


def test_what_pends_at_a_vcpu_is_gone_with_it(tmp_path: Path) -> None:
    async def run() -> None:
        async with whole(tmp_path, 1, 2) as rig:
            await rig.boot()
            await rig.plug(1)
            pending = virt.redistributor(1) + 0x1_0200  # GICR_ISPENDR0
            await rig.store(0, pending, 1 << 3)
            assert await rig.load(0, pending) == 1 << 3
            await rig.revoke(1)
            assert await rig.load(0, pending) == 0

    asyncio.run(run())

