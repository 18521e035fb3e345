"""What a vCPU costs that may not run: nothing, whatever its guest has left in it."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from hpcore_kvm_qemu.session import KvmQemuSession

from hpcore.model.psci import PsciStatus
from tests.kvm_with_qemu import programs
from tests.kvm_with_qemu.puppet import Puppet, puppet

LOOK_SECONDS = 2.0
"""A stopped vCPU that its timer wakes makes hundreds of KVM_RUNs, or ticks, in that time."""

SETTLED_SECONDS = 30.0
"""`cont` is answered before each vCPU's thread is back in KVM_RUN; all are in this time."""


async def costs_nothing(rig: Puppet, *slots: int) -> None:
    """Their threads, once settled, use no ticks and make no KVM_RUN, while vCPU 0 runs."""
    before = await settled(rig, slots)
    running = cost(rig, 0)
    await asyncio.sleep(LOOK_SECONDS)
    assert [cost(rig, slot) for slot in slots] == before
    assert cost(rig, 0) > running, "vCPU 0 runs meanwhile"


async def settled(rig: Puppet, slots: tuple[int, ...]) -> list[tuple[int, int]]:
    """What each has cost, once a tenth of `LOOK_SECONDS` goes by without any of it growing."""
    async with asyncio.timeout(SETTLED_SECONDS):
        now = [cost(rig, slot) for slot in slots]
        while True:
            before = now
            await asyncio.sleep(LOOK_SECONDS / 10)
            now = [cost(rig, slot) for slot in slots]
            if now == before:
                return now


def cost(rig: Puppet, slot: int) -> tuple[int, int]:
    """The vCPU's KVM_RUNs, and the CPU time of its thread in ticks."""
    session = rig.core.session
    assert isinstance(session, KvmQemuSession) and session.machine is not None
    seen = session.machine.seen(slot)
    stat = Path(f"/proc/{session.process_id}/task/{seen.tid}/stat").read_text()
    user, system = stat.rpartition(")")[2].split()[11:13]
    return seen.runs, int(user) + int(system)


def test_a_vcpu_that_was_never_plugged_costs_nothing(tmp_path: Path) -> None:
    async def run() -> None:
        async with puppet(tmp_path, 1, 3) as rig:
            await rig.boot()
            assert await rig.cpu_on(1) == PsciStatus.DENIED
            await costs_nothing(rig, 1, 2)
            await rig.pause()
            await rig.resume()
            await costs_nothing(rig, 1, 2)

    asyncio.run(run())


def test_a_vcpu_that_went_off_with_a_timer_that_is_due_costs_nothing(tmp_path: Path) -> None:
    async def run() -> None:
        async with puppet(tmp_path, 1, 2) as rig:
            await rig.boot()
            await rig.plug(1)
            assert await rig.cpu_on(1) == PsciStatus.SUCCESS
            await rig.have(1, programs.TIMER)
            await rig.done(1)
            await rig.cpu_off(1)
            await costs_nothing(rig, 1)
            await rig.pause()
            await rig.resume()
            await costs_nothing(rig, 1)

    asyncio.run(run())


def test_a_vcpu_that_was_taken_with_a_timer_that_is_due_costs_nothing(tmp_path: Path) -> None:
    async def run() -> None:
        async with puppet(tmp_path, 1, 2) as rig:
            await rig.boot()
            for _ in range(2):
                await rig.plug(1)
                assert await rig.cpu_on(1) == PsciStatus.SUCCESS
                await rig.have(1, programs.TIMER)
                await rig.done(1)
                await rig.revoke(1)
                await costs_nothing(rig, 1)

    asyncio.run(run())


def test_nothing_runs_in_a_pause(tmp_path: Path) -> None:
    async def run() -> None:
        async with puppet(tmp_path, 2, 3) as rig:
            await rig.boot()
            assert await rig.cpu_on(1) == PsciStatus.SUCCESS
            await rig.pause()
            before = [cost(rig, slot)[0] for slot in range(3)]
            await asyncio.sleep(LOOK_SECONDS / 2)
            assert [cost(rig, slot)[0] for slot in range(3)] == before
            await rig.resume()
            await rig.echo()

    asyncio.run(run())


def test_the_threads_that_the_page_names_are_qemus(tmp_path: Path) -> None:
    async def run() -> None:
        async with puppet(tmp_path, 1, 3) as rig:
            await rig.boot()
            session = rig.core.session
            assert isinstance(session, KvmQemuSession) and session.machine is not None
            found = await session.machine.qmp.execute("query-cpus-fast")
            assert isinstance(found, list)
            threads = [cpu["thread-id"] for cpu in found]
            assert threads == [session.machine.seen(slot).tid for slot in range(3)]
            assert os.getpid() != session.process_id

    asyncio.run(run())
