"""An unmodified Linux on unpatched QEMU: plugged, onlined, unplugged, reset, revoked."""

from __future__ import annotations

import asyncio

import pytest

from hpcore.guest.images import FetchedGuest
from hpcore.guest.shell import GuestTimeoutError
from hpcore.model.effects import MachineStep, RunStep, Step
from hpcore.model.stimuli import (
    CpuOffSeen,
    CpuOnCalled,
    EjectCalled,
    InsertAcked,
    OstReported,
    PowerOffSeen,
    RemoveAcked,
    ResetSeen,
    ScanEnded,
    ScanStarted,
    Stimulus,
)
from tests.qemu.support import needs_qemu
from tests.support.guests import guest_or_skip
from tests.tcg.rig import EJECTING, TcgRig, session

pytestmark = needs_qemu


@pytest.fixture(scope="module")
def guest() -> FetchedGuest:
    return guest_or_skip()


def cpu_on(rig: TcgRig, slot: int, since: int = 0) -> list[bool | None]:
    """The verdicts on CPU_ON of `slot`."""
    return [
        s.verdict for s in rig.stimuli[since:] if isinstance(s, CpuOnCalled) and s.slot == slot
    ]


def test_a_vcpu_is_plugged_onlined_and_unplugged_and_every_step_is_told(
    guest: FetchedGuest,
) -> None:
    async def run() -> None:
        async with session(2, 4, guest) as rig:
            await rig.created()
            await rig.started(0, 1)
            await rig.linux()
            assert (cpu_on(rig, 1), cpu_on(rig, 2)) == ([True], [False])
            masks = await rig.masks()
            assert masks.possible == {0, 1, 2, 3}
            assert masks.online == {0, 1}
            assert masks.enabled in (None, {0, 1})

            since = len(rig.stimuli)
            assert await rig.plug(2) == 0
            assert rig.stimuli[since:] == [
                ScanStarted(), InsertAcked(2), ScanEnded(), OstReported(2, 1, 0),
            ]  # fmt: skip
            assert (await rig.online(2)).status == 0
            assert (await rig.masks()).online == {0, 1, 2}
            assert cpu_on(rig, 2, since) == [True]
            ran = await rig.shell.run("taskset 4 cut -d' ' -f39 /proc/self/stat")
            assert ran.output.strip() == "2"

            since = len(rig.stimuli)
            assert await rig.unplug(2) == 0
            told: list[Stimulus] = [
                ScanStarted(), RemoveAcked(2), ScanEnded(), OstReported(2, 3, EJECTING),
                CpuOffSeen(2), EjectCalled(2), OstReported(2, 3, 0),
            ]  # fmt: skip
            assert rig.stimuli[since:] == told
            assert (await rig.masks()).online == {0, 1}
            assert (await rig.online(2)).status != 0

            for _ in range(3):  # the slot is as good as new
                assert await rig.plug(2) == 0
                assert (await rig.online(2)).status == 0
                assert await rig.unplug(2) == 0

            await rig.shell.send("poweroff -f")
            await rig.heard(PowerOffSeen())
            await rig.machine_step(MachineStep.POWER_DOWN)

    asyncio.run(run())


def test_a_plugged_vcpu_survives_a_reset_and_can_be_unplugged_after_it(guest: FetchedGuest) -> None:
    async def run() -> None:
        async with session(1, 3, guest) as rig:
            await rig.created()
            await rig.started(0)
            await rig.linux()
            assert await rig.plug(2) == 0
            for how in ("the guest reboots", "the host resets"):
                since = len(rig.stimuli)
                if how == "the guest reboots":
                    await rig.shell.send("reboot -f")
                else:
                    await rig.machine_step(MachineStep.RESET)
                await rig.heard(ResetSeen(), since)
                await rig.machine_step(MachineStep.RESTART, (0, 2))
                await rig.linux()
                assert (await rig.masks()).online == {0, 2}, how
            assert await rig.unplug(2) == 0
            assert (await rig.masks()).online == {0}

    asyncio.run(run())


def test_an_eject_that_the_guest_refuses_leaves_the_vcpu_as_it_was(guest: FetchedGuest) -> None:
    async def run() -> None:
        async with session(1, 2, guest) as rig:
            await rig.created()
            await rig.started(0)
            await rig.linux()
            assert await rig.plug(1) == 0
            assert (await rig.online(1)).status == 0
            assert (await rig.online(0, 0)).status == 0  # vCPU 1 is the last one online
            since = len(rig.stimuli)
            await rig.steps(1, Step.NOTIFY_REMOVE)
            assert await rig.ost(1, 3, since) == 0x82
            assert EjectCalled(1) not in rig.stimuli[since:]
            # vCPU 0 sits in EL3, off, and still serves the link and the doorbell
            assert (await rig.online(0)).status == 0
            assert await rig.unplug(1) == 0

    asyncio.run(run())


def test_a_busy_vcpu_is_taken_by_force(guest: FetchedGuest) -> None:
    async def run() -> None:
        async with session(1, 2, guest) as rig:
            await rig.created()
            await rig.started(0)
            await rig.linux()
            assert await rig.plug(1) == 0
            assert (await rig.online(1)).status == 0
            await rig.shell.run("{ taskset 2 sh -c 'while :; do :; done' & }")
            since = len(rig.stimuli)
            await rig.steps(1, Step.DISABLE, Step.POWER_OFF)
            assert CpuOffSeen(1) not in rig.stimuli[since:]
            await rig.steps(
                1, Step.UNWIRE, Step.UNBIND, Step.STOP, Step.RELEASE, Step.PARK, Step.REALIZE)
            assert await rig.do(RunStep(Step.BIND, 1)) == 1

    asyncio.run(run())


def test_the_shell_outlives_its_background_jobs_and_what_is_interrupted(
    guest: FetchedGuest,
) -> None:
    async def run() -> None:
        async with session(1, 1, guest) as rig:
            await rig.created()
            await rig.started(0)
            await rig.linux()
            shell = rig.shell
            await shell.run("kept=here; cd /tmp")
            for _ in range(10):
                await shell.run("sleep 0.1 & true")
                await asyncio.sleep(0.3)  # it ends while the shell waits for a line
            await shell.run("for i in $(seq 60); do sleep 0.$i & done")
            await asyncio.sleep(2)
            for endless in ("sleep 1000", "while :; do :; done"):
                with pytest.raises(GuestTimeoutError):
                    await shell.run(endless, within=0.5)
                # the same shell: what it was told is still known to it
                assert (await shell.run('echo "$kept $PWD"')).output == "here /tmp\n"

    asyncio.run(run())
