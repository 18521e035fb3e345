"""Sessions without a core: the second lock, what waits for a reset, and how they end."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from hpcore_kvm import KvmAccelerator
from hpcore_kvm.gic import GICR_ISENABLER0

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
from hpcore.model.stimuli import CpuOnCalled, Lost, ResetSeen
from hpcore.model.topology import mp_affinity
from hpcore.promises.rig import COLD_BUILD
from hpcore.run.accelerator import AcceleratorError, EffectError, GuestImages, GuestScript
from tests.kvm.machines import bare, config, flat, open_files
from tests.kvm.programs import CALL_FOR_VCPU_1, SPIN
from tests.support.waits import until


def test_what_cannot_run_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    async def refused(match: str, machine: MachineConfig, guest: object = None) -> None:
        with pytest.raises(AcceleratorError, match=match):
            await KvmAccelerator().open(machine, guest, print)  # type: ignore[arg-type]

    async def run() -> None:
        gicv2 = MachineConfig.of(cpus=1, gic_version=2)
        await refused("gic-version 2; use 3", gicv2)
        await refused("give it a kernel", config(1, 2), GuestScript())
        (tmp_path / "kernel").write_bytes(b"not a kernel" * 100)
        (tmp_path / "initrd").write_bytes(b"")
        images = GuestImages(tmp_path / "kernel", tmp_path / "initrd")
        await refused("not an arm64 kernel", config(1, 2), images)

    asyncio.run(run())


def test_each_vcpu_gets_its_own_interface_and_all_go_in_order() -> None:
    async def run() -> None:
        async with bare(1, 18) as rig:
            await rig.created()

            async def plug(slot: int) -> int | None:
                await rig.steps(slot, Step.REALIZE)
                affinity = await rig.do(RunStep(Step.BIND, slot))
                await rig.steps(slot, Step.WIRE, Step.ENABLE)
                return affinity

            found = await asyncio.gather(*(plug(slot) for slot in range(18)))
            assert found == [mp_affinity(slot) for slot in range(18)]
            await asyncio.gather(*(rig.steps(slot, *TEARDOWN) for slot in range(1, 18)))
            assert rig.machine.vgic.bound == {0}
            assert set(rig.machine.threads.ids()) == {0}
            assert rig.stimuli == []

    asyncio.run(run())


WRONG = [
    ([], Step.BIND, "the vCPU is parked; it must be realized first"),
    ([], Step.DISABLE, "the vCPU is parked"),
    (COLD_BUILD[:1], Step.REALIZE, "the vCPU is realized already"),
    (COLD_BUILD[:1], Step.WIRE, "the CPU interface is not bound"),
    (COLD_BUILD[:2], Step.BIND, "the CPU interface is still bound"),
    (COLD_BUILD[:2], Step.ENABLE, "the CPU interface is not wired"),
    (COLD_BUILD[:2], Step.STOP, "the CPU interface is still bound"),
    (COLD_BUILD[:3], Step.UNBIND, "the CPU interface is still wired"),
    (COLD_BUILD[:3], Step.NOTIFY_INSERT, "the vCPU is not enabled"),
    (COLD_BUILD[:3], Step.NOTIFY_REMOVE, "the vCPU is not enabled"),
    (COLD_BUILD, Step.ENABLE, "the vCPU is still enabled"),
    (COLD_BUILD, Step.UNWIRE, "the vCPU is still enabled"),
    (COLD_BUILD, Step.POWER_OFF, "the vCPU is still enabled"),
    ((*COLD_BUILD, *TEARDOWN[:4]), Step.RELEASE, "the vCPU's thread is not stopped"),
    ((*COLD_BUILD, *TEARDOWN[:4]), Step.PARK, "the vCPU's thread is not stopped"),
    ((*COLD_BUILD, *TEARDOWN[:5]), Step.PARK, "the vCPU's address space is not released"),
    ((*COLD_BUILD, *TEARDOWN[:5]), Step.STOP, "the vCPU has no thread any more"),
]


def test_a_step_out_of_order_is_refused_with_the_reason() -> None:
    async def run() -> None:
        async with bare(1, len(WRONG) + 1) as rig:
            with pytest.raises(EffectError, match="CREATE_VCPUS comes first"):
                await rig.machine_step(MachineStep.INIT_GIC)
            await rig.machine_step(MachineStep.CREATE_VCPUS)
            with pytest.raises(EffectError, match="created once"):
                await rig.machine_step(MachineStep.CREATE_VCPUS)
            with pytest.raises(EffectError, match="INIT_GIC comes first"):
                await rig.steps(1, Step.REALIZE)
            await rig.machine_step(MachineStep.INIT_GIC)
            with pytest.raises(EffectError, match="initialised once"):
                await rig.machine_step(MachineStep.INIT_GIC)
            for slot, (before, step, says) in enumerate(WRONG, start=1):
                await rig.steps(slot, *before)
                with pytest.raises(EffectError, match=f"{step.name} of vCPU {slot} .*{says}"):
                    await rig.steps(slot, step)
            await rig.steps(0, *COLD_BUILD)
            for step in (Step.DISABLE, Step.NOTIFY_REMOVE, Step.POWER_OFF):
                with pytest.raises(EffectError, match="cold-booted"):
                    await rig.steps(0, step)
            with pytest.raises(EffectError, match="there is no vCPU 99"):
                await rig.steps(99, Step.REALIZE)

    asyncio.run(run())


def test_steps_of_the_machine_out_of_order_are_refused() -> None:
    async def run() -> None:
        async with bare(1, 2) as rig:
            await rig.created()
            with pytest.raises(EffectError, match="no guest"):
                await rig.machine_step(MachineStep.START)
            with pytest.raises(EffectError, match="there was no reset"):
                await rig.machine_step(MachineStep.RESTART)
            with pytest.raises(AcceleratorError, match="granted, which is not realized"):
                await rig.do(AnswerCpuOn(1, 0, True, 0))
            await rig.do(AnswerCpuOn(1, 0, False, -3))  # nobody asks: nothing happens
            await rig.do(RaiseGed())
            await rig.do(Reassert(1))
            await rig.do(Reassert(99))

    asyncio.run(run())


def test_a_running_vcpu_is_not_unwired_and_force_takes_it_off(tmp_path: Path) -> None:
    async def run() -> None:
        async with bare(1, 2, flat(tmp_path, SPIN)) as rig:
            await rig.created()
            machine = rig.machine
            for slot in (0, 1):
                await rig.steps(slot, *COLD_BUILD)
            await rig.machine_step(MachineStep.START, (0, 1))
            await rig.do(AnswerCpuOn(1, 0, True, 0, 0x4020_0000, 0))
            with pytest.raises(EffectError, match="START is refused: the guest runs already"):
                await rig.machine_step(MachineStep.START, (0, 1))
            await rig.steps(1, Step.DISABLE)
            with pytest.raises(EffectError, match=r"UNWIRE of vCPU 1 .* still powered on"):
                await rig.steps(1, Step.UNWIRE)
            assert machine.on(1)
            await rig.steps(1, *TEARDOWN[1:])
            assert not machine.on(1)
            assert rig.stimuli == []

    asyncio.run(run())


def test_a_reset_ends_notifications_and_keeps_steps_until_restart(tmp_path: Path) -> None:
    async def run() -> None:
        async with bare(1, 4, flat(tmp_path, SPIN)) as rig:
            await rig.created()
            machine = rig.machine
            for slot in (0, 1):
                await rig.steps(slot, *COLD_BUILD)
            await rig.machine_step(MachineStep.START, (0, 1))
            await rig.machine_step(MachineStep.RESET)
            under_way = [
                asyncio.create_task(rig.steps(1, Step.NOTIFY_INSERT)),
                asyncio.create_task(rig.steps(2, *COLD_BUILD)),
            ]
            await until(lambda: rig.stimuli == [ResetSeen()])
            await under_way[0]
            assert not machine.hotplug.pending(1)[0]
            assert not under_way[1].done()
            with pytest.raises(EffectError, match="vCPU 3 is to be enabled and was never wired"):
                await rig.machine_step(MachineStep.RESTART, (0, 3))
            await rig.machine_step(MachineStep.RESTART, (0, 1))
            await under_way[1]
            assert [machine.hotplug.enabled(slot) for slot in range(4)] == [1, 1, 1, 0]
            with pytest.raises(EffectError, match="still enabled"):
                await rig.steps(1, Step.ENABLE)
            assert rig.stimuli == [ResetSeen()]

    asyncio.run(run())


def test_resets_at_any_moment_leave_every_slot_as_it_was_asked_for(tmp_path: Path) -> None:
    """Workers plug and unplug all the time; a reset comes in between any two instructions."""

    async def run() -> None:
        async with bare(1, 6, flat(tmp_path, SPIN)) as rig:
            await rig.created()
            machine = rig.machine
            enabled: set[int] = {0}
            ending = False
            await rig.steps(0, *COLD_BUILD)
            await rig.machine_step(MachineStep.START, (0,))

            async def worker(slot: int) -> None:
                while not ending:
                    await rig.steps(slot, *COLD_BUILD)
                    enabled.add(slot)
                    await rig.steps(slot, Step.NOTIFY_INSERT, Step.DISABLE)
                    enabled.discard(slot)
                    await rig.steps(slot, *TEARDOWN[1:])

            workers = [asyncio.create_task(worker(slot)) for slot in range(1, 6)]
            for resets in range(1, 16):
                await asyncio.sleep(0.01 * (resets % 4))
                await rig.machine_step(MachineStep.RESET)
                await until(lambda: rig.stimuli.count(ResetSeen()) == resets)  # noqa: B023
                await rig.machine_step(MachineStep.RESTART, tuple(sorted(enabled)))
            ending = True
            await asyncio.wait_for(asyncio.gather(*workers), 60)
            assert machine.vgic.bound == {0}
            assert set(machine.threads.ids()) == {0}
            assert machine.on(0)
            assert len(rig.stimuli) == 15

    asyncio.run(run())


def test_power_down_ends_the_threads_and_is_no_loss(tmp_path: Path) -> None:
    async def run() -> None:
        async with bare(1, 2, flat(tmp_path, SPIN)) as rig:
            await rig.created()
            machine = rig.machine
            await rig.steps(0, *COLD_BUILD)
            await rig.machine_step(MachineStep.START, (0,))
            await rig.machine_step(MachineStep.RESET)
            waiting = asyncio.create_task(rig.steps(1, *COLD_BUILD))
            await asyncio.sleep(0)
            await rig.machine_step(MachineStep.POWER_DOWN)
            assert machine.threads.ids() == {}
            with pytest.raises(AcceleratorError, match="was ended"):
                await waiting
            with pytest.raises(AcceleratorError, match="was ended"):
                await rig.do(RunMachineStep(MachineStep.PAUSE))
            assert rig.session.console is not None
            assert await rig.session.console.read() == b""
            await rig.session.close()
            assert not any(isinstance(s, Lost) for s in rig.stimuli)

    asyncio.run(run())


@pytest.mark.parametrize("passes", [1, 3, 10])
def test_a_session_closed_in_the_middle_of_a_step_leaves_nothing_behind(
    tmp_path: Path, passes: int
) -> None:
    async def run(step: MachineStep) -> None:
        async with bare(1, 32, flat(tmp_path, SPIN)) as rig:
            if step is not MachineStep.CREATE_VCPUS:
                await rig.machine_step(MachineStep.CREATE_VCPUS)
            if step is MachineStep.START:
                await rig.machine_step(MachineStep.INIT_GIC)
                await rig.steps(0, *COLD_BUILD)
            under_way = asyncio.create_task(rig.machine_step(step))
            for _ in range(passes):
                await asyncio.sleep(0)
            under_way.cancel()

    files = open_files()
    for step in (MachineStep.CREATE_VCPUS, MachineStep.INIT_GIC, MachineStep.START):
        asyncio.run(run(step))
        assert open_files() == files, step


def test_a_cpu_on_that_nobody_answers_holds_nothing_up(tmp_path: Path) -> None:
    """No core is there to answer: pause, steps, a reset and the end go on all the same."""

    async def run() -> None:
        async with bare(1, 3, flat(tmp_path, CALL_FOR_VCPU_1)) as rig:
            await rig.created()
            await rig.steps(0, *COLD_BUILD)
            await rig.machine_step(MachineStep.START, (0,))
            await until(lambda: CpuOnCalled(1, 0) in rig.stimuli)
            await rig.machine_step(MachineStep.PAUSE)
            steps = asyncio.create_task(rig.steps(2, *COLD_BUILD))  # they wait for RESUME
            await rig.machine_step(MachineStep.RESUME)
            await steps
            await rig.machine_step(MachineStep.RESET)
            await until(lambda: ResetSeen() in rig.stimuli)
            await rig.machine_step(MachineStep.RESTART, (0, 2))
            await until(lambda: rig.stimuli.count(CpuOnCalled(1, 0)) == 2)

    asyncio.run(run())


def test_unwired_is_quiet_and_bound_anew_is_reset() -> None:
    async def run() -> None:
        async with bare(1, 2) as rig:
            await rig.created()
            machine = rig.machine
            await rig.steps(1, *COLD_BUILD)
            machine.vgic.write_redistributor(1, GICR_ISENABLER0, 0xFFFF)
            await rig.steps(1, *TEARDOWN[:3])
            assert machine.vgic.read_redistributor(1, GICR_ISENABLER0) == 0
            await rig.steps(1, *TEARDOWN[3:])
            assert machine.vgic.bound == set()

    asyncio.run(run())
