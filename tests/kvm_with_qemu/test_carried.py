"""A machine in an unpatched QEMU under KVM is saved, restored and migrated: nobody gains a vCPU."""

from __future__ import annotations

import asyncio
import os
import signal
from functools import partial
from pathlib import Path

import attrs
import pytest
from hpcore_kvm_qemu.build import ensure_interposer
from hpcore_kvm_qemu.machine import DEAF, KvmQemuMachine
from hpcore_kvm_qemu.session import KvmQemuSession

from hpcore.guest.images import fetch_guest
from hpcore.model import stimuli
from hpcore.model.config import MachineConfig
from hpcore.model.events import MachineStepFailed
from hpcore.model.machines import Phase
from hpcore.model.psci import PsciStatus
from hpcore.qemu.find import find_qemu
from hpcore.run.accelerator import AcceleratorError, EffectError, GuestImages
from hpcore.run.discovery import find
from hpcore.session.carrying import QEMU
from tests.kvm_with_qemu import programs
from tests.kvm_with_qemu.puppet import Puppet, puppet, restored
from tests.kvm_with_qemu.strings import OFF, ON, mailbox
from tests.kvm_with_qemu.test_parked import costs_nothing
from tests.support.saved import Kept, goes_on_with_what_was_plugged

WORD_AT = mailbox(8)


def session_of(rig: Puppet) -> KvmQemuSession:
    assert isinstance(rig.core.session, KvmQemuSession)
    return rig.core.session


async def with_vcpu_1(rig: Puppet) -> None:
    """Booted, with vCPU 1 plugged and on; vCPU 2 is parked."""
    await rig.boot()
    await rig.plug(1)
    assert await rig.cpu_on(1) == PsciStatus.SUCCESS
    await rig.order(programs.STORE_64, 0, WORD_AT, 0x600D)
    assert await rig.cpu_on(2) == PsciStatus.DENIED


async def it_is_as_it_was(rig: Puppet) -> None:
    """In what has come from elsewhere: memory, vCPU 1 that runs, vCPU 2 that is parked."""
    await rig.echo()
    assert await rig.order(programs.LOAD_64, 0, WORD_AT) == 0x600D
    assert await rig.cpu_on(2) == PsciStatus.DENIED
    assert await rig.affinity_info(1) == ON
    assert await rig.affinity_info(2) == OFF
    await rig.have(1, programs.LOAD_64, 0, WORD_AT)
    assert await rig.done(1) == 0x600D


async def it_hotplugs(rig: Puppet) -> None:
    """vCPU 1 goes off and on, vCPU 2 comes; both are taken, and DENIED from then on."""
    await rig.cpu_off(1)
    assert await rig.cpu_on(1) == PsciStatus.SUCCESS
    await rig.plug(2)
    assert await rig.cpu_on(2) == PsciStatus.SUCCESS
    for slot in (1, 2):
        await rig.revoke(slot)
        assert await rig.cpu_on(slot) == PsciStatus.DENIED
        await rig.forget(slot)


@pytest.mark.each_qemu
def test_a_machine_of_a_file_has_what_was_plugged_and_grants_nothing_else(
    tmp_path: Path,
) -> None:
    async def run() -> None:
        kept = Kept(tmp_path / "stream")
        async with puppet(tmp_path, 1, 3) as rig:
            await with_vcpu_1(rig)
            state = await rig.save(kept)
            await it_is_as_it_was(rig)  # the one that was saved goes on
        async with restored(state, kept) as rig:
            await it_is_as_it_was(rig)
            await costs_nothing(rig, 2)
            await it_hotplugs(rig)
            await rig.core.submit(stimuli.Reset())
            await rig.reset_is_over(1)
            assert await rig.cpu_on(1) == PsciStatus.DENIED

    asyncio.run(run())


@pytest.mark.each_qemu
def test_a_machine_that_moves_has_what_was_plugged_and_grants_nothing_else(
    tmp_path: Path,
) -> None:
    async def run() -> None:
        async with puppet(tmp_path, 1, 3) as rig:
            await with_vcpu_1(rig)
            for _ in range(2):
                before = session_of(rig).process_id
                await rig.migrate()
                assert session_of(rig).process_id != before
                await it_is_as_it_was(rig)
            await it_hotplugs(rig)

    asyncio.run(run())


@pytest.mark.long
def test_one_that_moves_in_a_pause_stands_still_and_may_be_reset_there(tmp_path: Path) -> None:
    async def run() -> None:
        async with puppet(tmp_path, 1, 3) as rig:
            await with_vcpu_1(rig)
            await rig.pause()
            await rig.migrate()
            machine = session_of(rig).machine
            assert machine is not None and machine.silent
            await rig.resume()
            await it_is_as_it_was(rig)
            await rig.pause()
            await rig.migrate()
            await rig.core.submit(stimuli.Reset())
            await rig.until(lambda s: s.shared.phase is Phase.RESETTING)
            await rig.resume()
            await rig.reset_is_over(1)
            assert await rig.affinity_info(1) == OFF
            assert await rig.cpu_on(1) == PsciStatus.SUCCESS
            assert await rig.cpu_on(2) == PsciStatus.DENIED

    asyncio.run(run())


@pytest.mark.long
@pytest.mark.each_qemu
def test_a_linux_that_was_saved_goes_on_with_what_was_plugged(tmp_path: Path) -> None:
    guest = fetch_guest()
    images = GuestImages(guest.kernel, guest.initramfs())
    machine = MachineConfig.of(cpus=2, maxcpus=4, memory=256)

    async def run() -> None:
        await goes_on_with_what_was_plugged(find("kvm-qemu"), machine, images, tmp_path, clones=1)

    asyncio.run(run())


@pytest.mark.long
@pytest.mark.parametrize("status", ["setup", "active", "pre-switchover", "completed"])
def test_where_the_other_qemu_dies_the_machine_goes_on_and_the_next_try_works(
    tmp_path: Path, status: str
) -> None:
    async def run() -> None:
        async with puppet(tmp_path, 1, 3) as rig:
            await with_vcpu_1(rig)
            session = session_of(rig)
            before, elsewhere = session.process_id, session._elsewhere
            dies_at(session, status)
            await rig.core.submit(stimuli.Migrate())
            await rig.until(lambda s: not s.shared.migrating and s.shared.step is None)
            failed = [e.error for e in rig.events if isinstance(e, MachineStepFailed)]
            assert len(failed) == 1 and "SIGKILL" in failed[0]
            assert session.process_id == before
            await it_is_as_it_was(rig)
            session._elsewhere = elsewhere
            rig.events.clear()
            await rig.migrate()
            await it_is_as_it_was(rig)

    asyncio.run(run())


def dies_at(session: KvmQemuSession, at: str) -> None:
    """The QEMU that the machine is carried to next dies when the source says `at`."""
    elsewhere, here = session._elsewhere, session.machine
    assert elsewhere is not None and here is not None
    begin, hear = elsewhere.begin, here.migration.hear

    async def begun() -> KvmQemuMachine:
        there = await begin()

        def heard(status: str) -> None:
            if status == at:
                here.migration.hear = hear  # type: ignore[method-assign]
                os.kill(there.process.pid, signal.SIGKILL)
            hear(status)

        here.migration.hear = heard  # type: ignore[method-assign]
        return there

    session._elsewhere = attrs.evolve(elsewhere, begin=begun)


@pytest.mark.long
def test_a_qemu_of_other_memory_and_a_file_of_another_qemu_are_refused(tmp_path: Path) -> None:
    async def run() -> None:
        kept = Kept(tmp_path / "stream")
        async with puppet(tmp_path, 1, 3) as rig:
            await with_vcpu_1(rig)
            session = session_of(rig)
            assert session._elsewhere is not None
            other = MachineConfig.of(cpus=1, maxcpus=3, memory=512)
            begin = partial(
                KvmQemuMachine.start, other, session._elsewhere.boot, find_qemu(),
                ensure_interposer(), DEAF, incoming=True,
            )  # fmt: skip
            session._elsewhere = attrs.evolve(session._elsewhere, begin=begin)
            await rig.core.submit(stimuli.Migrate())
            await rig.until(lambda s: not s.shared.migrating and s.shared.step is None)
            (failed,) = [e.error for e in rig.events if isinstance(e, MachineStepFailed)]
            assert "the other QEMU" in failed
            await it_is_as_it_was(rig)
            kept.full_after = 50_000
            with pytest.raises(EffectError, match="takes no more: No space left on device"):
                await session.save(kept.keep)
            kept = Kept(tmp_path / "stream")
            state = await rig.save(kept)
        facts = {**kept.belongings.facts, QEMU: "9.9.9"}
        kept.belongings = attrs.evolve(kept.belongings, facts=facts)
        with pytest.raises(AcceleratorError, match=r"saved with qemu 9\.9\.9, and here it is"):
            async with restored(state, kept):
                pass

    asyncio.run(run())
