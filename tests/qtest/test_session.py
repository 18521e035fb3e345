"""Sessions: what their effects do to a real GIC, and when the guest's time passes."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import cast

import attrs
import pytest
from hpcore_qtest.power import ModelledPower
from hpcore_qtest.qemu.client import Qtest
from hpcore_qtest.virt.redistributor import (
    ASLEEP,
    ISPENDR0,
    WAKER,
    RedistributorError,
    Redistributors,
)

from hpcore.model.effects import MachineStep, RaiseGed, Step
from hpcore.model.rules import BUILD
from hpcore.model.stimuli import CpuOffSeen, PowerOffSeen, ResetSeen, ScanStarted, Stimulus
from hpcore.model.topology import Topology, mp_affinity
from hpcore.platform import virt
from hpcore.run.accelerator import EffectError
from tests.qemu.support import needs_qemu
from tests.qtest.sessions import ALONE, CONFIG, WIRE, rig
from tests.support.waits import until

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
        config = attrs.evolve(CONFIG, topology=Topology.resolve(cpus=1, maxcpus=possible))
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
            qtest = r.session.machine.qemu.qtest
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
                await r.machine_step(MachineStep.CREATE_VCPUS)

    asyncio.run(run())


@needs_qemu
def test_a_redistributor_that_is_not_as_it_must_be_stops_the_machine_before_it_starts() -> None:
    async def run() -> None:
        async with rig(created=False) as r:
            await r.machine_step(MachineStep.CREATE_VCPUS)
            assert r.session.machine is not None
            gicr = r.session.machine.gicr
            await gicr.wake(2)
            with pytest.raises(EffectError, match=r"GICR_WAKER of vCPU 2 reads 0x0, not 0x6"):
                await r.machine_step(MachineStep.INIT_GIC)

    asyncio.run(run())


class Frames:
    """Answers reads of TYPER and WAKER as QEMU does for 3 vCPUs, but for vCPU 1's TYPER."""

    def __init__(self, typer: int) -> None:
        self.typers = [0x000, typer, 2 << 32 | 0x210]

    async def read_all(self, addresses: Iterable[int], size: int) -> list[int]:
        offset = next(iter(addresses)) - virt.redistributor(0)
        return self.typers if size == 8 else [ASLEEP if offset == WAKER else 0] * 3


@pytest.mark.parametrize(("typer", "says"), [
    (2 << 32 | 0x100, "its affinity is 2, not 1"),
    (1 << 32 | 0x200, "its processor number is 2, not 1"),
    (1 << 32 | 0x110, "its Last is True, not False"),
    (1 << 32 | 0x100, None),
])  # fmt: skip
def test_every_part_of_a_typer_is_held_against_its_vcpu(typer: int, says: str | None) -> None:
    check = Redistributors(cast(Qtest, Frames(typer)), 3).check()
    if says is None:
        asyncio.run(check)
    else:
        with pytest.raises(RedistributorError, match=f"GICR_TYPER of vCPU 1 is .*: {says}"):
            asyncio.run(check)


# ------------------------------------------------------------------ the guest's time


@needs_qemu
def test_the_geds_interrupt_waits_in_the_gic_while_the_machine_is_paused() -> None:
    async def run() -> None:
        async with rig(script=ALONE) as r:
            await r.started(0)
            assert r.session.machine is not None
            ged = r.session.machine.ged
            await r.machine_step(MachineStep.PAUSE)
            await r.do(RaiseGed())
            assert await ged.pends()
            assert ScanStarted() not in r.stimuli
            await r.machine_step(MachineStep.MIGRATE)
            ged = r.session.machine.ged
            assert await ged.pends()
            await r.machine_step(MachineStep.RESUME)
            await until(lambda: ScanStarted() in r.stimuli, "the guest scans")
            assert not await ged.pends()

    asyncio.run(run())


@needs_qemu
def test_a_reset_ends_the_guest_and_restart_wires_what_is_plugged() -> None:
    async def run() -> None:
        async with rig(script=ALONE) as r:
            await r.started(0)
            await r.steps(2, *BUILD)
            await r.machine_step(MachineStep.RESET)
            assert r.stimuli[-1] == ResetSeen()
            assert await r.register(2, WAKER) == 6 and not r.session.device.enabled(2)
            assert not r.session.power.on
            await r.steps(2, Step.NOTIFY_REMOVE)  # answered as done, and not done
            late = asyncio.create_task(r.steps(1, *WIRE))  # waits for RESTART
            await r.machine_step(MachineStep.RESTART, (0, 2))
            assert await r.register(2, WAKER) == 0 and r.session.device.enabled(2)
            assert r.session.device.pending(2) == (False, False)
            await late
            assert await r.register(1, WAKER) == 0
            await r.steps(1, Step.UNWIRE)
            with pytest.raises(EffectError, match="vCPU 1 is to be enabled and was never wired"):
                await r.machine_step(MachineStep.RESTART, (0, 1))

    asyncio.run(run())


def test_only_a_vcpu_that_is_on_can_switch_itself_off() -> None:
    told: list[Stimulus] = []
    power = ModelledPower(2, told.append)
    power.cpu_off(1)
    assert not told
    power.on.add(1)
    power.cpu_off(1)
    assert told == [CpuOffSeen(1)] and not power.on


@needs_qemu
def test_a_guest_that_powers_the_machine_off_is_seen() -> None:
    async def run() -> None:
        async with rig(script=ALONE) as r:
            await r.started(0)
            assert r.session.played is not None
            await r.session.played.wait_ready(10)
            await r.session.played.power_off()
            assert r.stimuli[-1] == PowerOffSeen()

    asyncio.run(run())
