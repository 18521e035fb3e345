"""A guest that calls PSCI as it likes, in an unpatched QEMU: who may run, and what is logged."""

from __future__ import annotations

import asyncio
from pathlib import Path

from hpcore_kvm.smccc import Function

from hpcore.model import stimuli
from hpcore.model.effects import Step
from hpcore.model.events import (
    CpuOnDenied,
    CpuOnGranted,
    CpuWentOff,
    MachinePoweredOff,
    Refused,
    StepDone,
)
from hpcore.model.psci import PsciStatus
from hpcore.run.view import view
from tests.kvm_with_qemu import programs
from tests.kvm_with_qemu.puppet import Puppet, puppet
from tests.kvm_with_qemu.strings import OFF, ON, SYSTEM_OFF, SYSTEM_RESET, mailbox
from tests.support.waits import until

CALLS = 400
"""CPU_ONs that the guest makes while a vCPU comes and goes."""


def denied(slot: int) -> CpuOnDenied:
    """By the policy page, when vCPU 0 called."""
    return CpuOnDenied(slot, 0, PsciStatus.DENIED, delegated=True)


def test_a_raw_cpu_on_of_a_parked_vcpu_is_denied_and_logged(tmp_path: Path) -> None:
    async def run() -> None:
        async with puppet(tmp_path, 1, 3) as rig:
            await rig.boot()
            assert await rig.cpu_on(1) == PsciStatus.DENIED
            await until(lambda: rig.events[-1] == denied(1))
            # by the 32-bit call, too
            got = await rig.call(Function.CPU_ON_32, 2, programs.ENTRY, mailbox(2))
            assert got & 0xFFFF_FFFF == PsciStatus.DENIED & 0xFFFF_FFFF
            await until(lambda: rig.events[-1] == denied(2))
            assert await rig.affinity_info(1) == await rig.affinity_info(2) == OFF

    asyncio.run(run())


def test_cpu_on_of_what_no_vcpu_has_is_a_wrong_parameter_and_no_event(tmp_path: Path) -> None:
    async def run() -> None:
        async with puppet(tmp_path, 1, 3) as rig:
            await rig.boot()
            logged = len(rig.events)
            for affinity in (3, 0x10, 1 << 24, 1 << 32, 1 << 63):
                asked = rig.call(Function.CPU_ON_64, affinity, programs.ENTRY)
                assert await asked == PsciStatus.INVALID_PARAMETERS
            assert await rig.cpu_on(0) == PsciStatus.ALREADY_ON
            assert len(rig.events) == logged

    asyncio.run(run())


def test_a_plugged_vcpu_runs_goes_off_and_is_denied_once_it_is_taken(tmp_path: Path) -> None:
    async def run() -> None:
        async with puppet(tmp_path, 1, 3) as rig:
            await rig.boot()
            for _ in range(2):  # the second plug finds it as good as new
                await rig.plug(1)
                assert await rig.affinity_info(1) == OFF
                assert await rig.cpu_on(1) == PsciStatus.SUCCESS
                assert await rig.affinity_info(1) == ON
                assert await rig.cpu_on(1) == PsciStatus.ALREADY_ON
                await rig.have(1, programs.STORE_64, 0, mailbox(1) + 0x400, 0xFEED)
                assert await rig.done(1) == 0xFEED
                await rig.cpu_off(1)
                await until(lambda: not rig.state.slots[1].powered)
                assert await rig.cpu_on(1) == PsciStatus.SUCCESS
                await rig.revoke(1)  # while it runs
                assert await rig.affinity_info(1) == OFF
                assert await rig.cpu_on(1) == PsciStatus.DENIED
            kinds = [type(e) for e in rig.events if isinstance(
                e, CpuOnGranted | CpuWentOff | CpuOnDenied)]  # fmt: skip
            assert kinds[:4] == [CpuOnGranted, CpuWentOff, CpuOnGranted, CpuOnDenied]
            assert not any(isinstance(e, Refused) for e in rig.events)

    asyncio.run(run())


def test_no_call_is_granted_before_or_after_while_a_vcpu_comes_and_goes(tmp_path: Path) -> None:
    """The guest calls CPU_ON all the time; what it is granted lies between ENABLE and DISABLE."""

    async def run() -> None:
        async with puppet(tmp_path, 1, 2) as rig:
            await rig.boot()
            calls = (programs.CHURN, Function.CPU_ON_64, 1, programs.ENTRY, mailbox(1), CALLS)
            for _ in range(3):
                rig.send(*calls)
                await rig.plug(1)
                await until(lambda: rig.state.slots[1].powered)
                await rig.revoke(1)
                assert await rig.result() < CALLS  # the failed ones; some were granted
                await rig.forget(1)
            granted_while_enabled(rig)

    asyncio.run(run())


def granted_while_enabled(rig: Puppet) -> None:
    """The log's own order of it; the model holds each event against its invariants as well."""
    enabled = False
    seen = {True: 0, False: 0}
    for event in rig.events:
        if isinstance(event, StepDone) and event.slot == 1:
            if event.step in (Step.ENABLE, Step.DISABLE):
                enabled = event.step is Step.ENABLE
        elif isinstance(event, CpuOnGranted) and event.slot == 1:
            assert enabled, event
            seen[True] += 1
        elif isinstance(event, CpuOnDenied) and event.slot == 1:
            seen[False] += 1
    assert seen[True] and seen[False]


def test_the_guests_resets_and_the_users_keep_what_is_plugged(tmp_path: Path) -> None:
    async def run() -> None:
        async with puppet(tmp_path, 1, 4) as rig:
            await rig.boot()
            await rig.plug(2)
            for resets in range(1, 7):
                assert await rig.cpu_on(2) == PsciStatus.SUCCESS
                # either vCPU may reset the machine, while the other runs; or the user does
                if resets % 3 == 0:
                    await rig.core.submit(stimuli.Reset())
                elif resets % 3 == 1:
                    await rig.have(2, programs.CALL, SYSTEM_RESET, lasts=False)
                else:
                    rig.send(programs.CALL, SYSTEM_RESET)
                await rig.reset_is_over(resets)
                assert await rig.affinity_info(2) == OFF
                assert await rig.cpu_on(3) == PsciStatus.DENIED
            assert not any(isinstance(e, Refused) for e in rig.events)

    asyncio.run(run())


def test_a_plug_waits_for_the_end_of_a_pause_and_nothing_runs_in_it(tmp_path: Path) -> None:
    async def run() -> None:
        async with puppet(tmp_path, 2, 3) as rig:
            await rig.boot()
            assert await rig.cpu_on(1) == PsciStatus.SUCCESS
            await rig.pause()
            logged = len(rig.events)
            await rig.core.submit(stimuli.DeviceAdd("cpu2", (("core-id", 2),)))
            rig.send(programs.CALL, Function.CPU_ON_64, 2, programs.ENTRY, mailbox(2))
            await asyncio.sleep(0.2)  # time in which a vCPU that ran would be heard of
            assert not view(rig.state)[2].enabled
            assert not any(isinstance(e, CpuOnGranted | CpuOnDenied) for e in rig.events[logged:])
            await rig.resume()
            # it may have called before the plug was done
            if await rig.result() != PsciStatus.SUCCESS:
                await rig.until(lambda s: view(s)[2].enabled)
                assert await rig.cpu_on(2) == PsciStatus.SUCCESS

    asyncio.run(run())


def test_a_power_off_of_the_guest_ends_the_machine(tmp_path: Path) -> None:
    async def run() -> None:
        async with puppet(tmp_path, 1, 2) as rig:
            await rig.boot()
            rig.send(programs.CALL, SYSTEM_OFF)
            await rig.core.ended()
            assert rig.events[-1] == MachinePoweredOff("guest")

    asyncio.run(run())
