"""The protocol `deferred` on a real KVM: a vCPU has no thread before its first CPU_ON."""

from __future__ import annotations

import asyncio
from pathlib import Path

import attrs
import pytest
from hpcore_kvm import KvmAccelerator
from hpcore_kvm.session import KvmSession
from hpcore_kvm.smccc import Function

from hpcore.model.effects import AnswerCpuOn, MachineStep, Step
from hpcore.model.rules import RULES, TEARDOWN, Trait
from hpcore.model.stimuli import CpuOffSeen, CpuOnCalled, ResetSeen, Stimulus
from hpcore.promises.rig import COLD_BUILD
from hpcore.protocols import load as protocol
from hpcore.run.accelerator import AcceleratorError, EffectError
from hpcore.scenario.play import StepResult
from hpcore.scenario.read import parse
from hpcore.scenario.values import BootStep, Line, OnlineStep, PlugStep, ShellStep
from hpcore.triage.replay import replay
from tests.kvm.machines import ENTRY, HVC, KvmRig, Mailboxes, bare, config, flat, mailbox
from tests.kvm.programs import CALLER
from tests.kvm.scenarios import ran
from tests.kvm.test_linux import vcpu_threads
from tests.kvm.test_migration import carried
from tests.kvm.test_saving import answer, running
from tests.support.saved import Kept
from tests.support.waits import until

WITHOUT_A_THREAD = tuple(step for step in TEARDOWN if step not in (Step.POWER_OFF, Step.STOP))
"""How a vCPU that was never on is taken apart."""


async def on(rig: KvmRig, boxes: Mailboxes, slot: int) -> None:
    """Have the guest's vCPU 0 call CPU_ON of `slot`, and grant it, as a core would."""
    heard = len(rig.stimuli)
    boxes.order(0, HVC, Function.CPU_ON_64, slot, ENTRY, mailbox(slot))
    call = await rig.heard(CpuOnCalled, heard)
    assert isinstance(call, CpuOnCalled)
    await rig.do(AnswerCpuOn(slot, 0, True, 0, call.entry, call.context))
    assert await until(lambda: boxes.result(0)) == 0
    await until(lambda: boxes.polls.get(slot))


async def off(rig: KvmRig, boxes: Mailboxes, slot: int) -> None:
    """Have vCPU `slot` call CPU_OFF."""
    heard = len(rig.stimuli)
    boxes.order(slot, HVC, Function.CPU_OFF)
    await rig.heard(CpuOffSeen(slot), heard)


def threads(rig: KvmRig) -> set[int]:
    """The vCPUs that have one."""
    assert {f"vCPU {index}" for index in rig.machine.threads.ids()} == vcpu_threads()
    return set(rig.machine.threads.ids())


def test_a_vcpu_has_no_thread_before_its_first_cpu_on(tmp_path: Path) -> None:
    async def run() -> None:
        async with bare(3, 5, flat(tmp_path, CALLER), deferred=True) as rig:
            await rig.created()
            boxes = Mailboxes()
            answer(rig.machine, boxes, 5)
            for slot in (0, 1, 2):
                await rig.steps(slot, *COLD_BUILD)
            assert threads(rig) == set(), "all three are enabled"
            await rig.machine_step(MachineStep.START, (0, 1, 2))
            assert threads(rig) == {0}
            await on(rig, boxes, 1)
            await rig.steps(3, *COLD_BUILD)
            assert threads(rig) == {0, 1}
            await on(rig, boxes, 3)
            await off(rig, boxes, 3)
            assert threads(rig) == {0, 1, 3}, "one that was on keeps its thread"
            await rig.steps(3, *TEARDOWN)
            await rig.steps(4, *COLD_BUILD)
            with pytest.raises(EffectError, match="STOP of vCPU 4 is refused"):
                await rig.steps(4, Step.DISABLE, Step.UNWIRE, Step.UNBIND, Step.STOP)
            await rig.steps(4, Step.RELEASE, Step.PARK)
            assert threads(rig) == {0, 1}
            with pytest.raises(AcceleratorError, match="granted, which is not realized"):
                await rig.do(AnswerCpuOn(4, 0, True, 0))

    asyncio.run(run())


def test_a_reset_a_migration_and_a_restore_make_no_thread(tmp_path: Path) -> None:
    """And what is on goes on; what was never on is powered on there."""

    async def run() -> None:
        kept = Kept(tmp_path / "stream")
        async with bare(2, 4, flat(tmp_path, CALLER), deferred=True) as rig:
            await rig.created()
            boxes = Mailboxes()
            answer(rig.machine, boxes, 4)
            await rig.started(0, 1)
            await rig.steps(2, *COLD_BUILD)
            await carried(rig, boxes)
            assert threads(rig) == {0}
            await rig.steps(2, *WITHOUT_A_THREAD)
            await rig.steps(2, *COLD_BUILD)
            await on(rig, boxes, 1)
            await carried(rig, boxes)
            assert threads(rig) == {0, 1}
            await rig.session.save(kept.keep)
            await rig.machine_step(MachineStep.RESET)
            await rig.heard(ResetSeen())
            await rig.machine_step(MachineStep.RESTART, (0, 1, 2))
            assert threads(rig) == {0, 1}
            boxes.polls.clear()
            await on(rig, boxes, 2)
        stimuli: list[Stimulus] = []
        session = await KvmAccelerator(deferred=True).restore(
            running(config(2, 4)), kept.belongings, kept.stream, stimuli.append
        )
        assert isinstance(session, KvmSession)
        async with KvmRig(session, stimuli) as rig:
            boxes = Mailboxes()
            answer(rig.machine, boxes, 4)
            assert threads(rig) == {0, 1}
            await rig.machine_step(MachineStep.RESUME)
            await on(rig, boxes, 2)
            await off(rig, boxes, 1)

    asyncio.run(run())


def test_the_accelerator_defers_threads_where_the_protocol_says_so() -> None:
    accelerator = KvmAccelerator()
    assert Trait.THREAD_AT_CPU_ON not in accelerator.probe().lacks
    late = attrs.evolve(RULES, traits=frozenset({Trait.THREAD_AT_CPU_ON}))
    assert accelerator.by(late) == attrs.evolve(accelerator, deferred=True)
    assert accelerator.by(RULES) == accelerator


LINUX = """\
machine: {cpus: 3, maxcpus: 4, memory: 256}
guest: {append: maxcpus=1}
steps:
  - boot
  - online: 1
  - plug: {id: core3, core-id: 3}
  - online: core3
  - unplug: core3
  - reset
  - shell: {line: cat /sys/devices/system/cpu/online, prints: "0"}
"""


@pytest.mark.long
def test_a_linux_has_a_thread_for_each_vcpu_that_it_has_had_online(tmp_path: Path) -> None:
    seen: list[tuple[type, set[str]]] = []

    def watch(line: Line, result: StepResult | None) -> None:
        if result is not None:
            seen.append((type(line.step), vcpu_threads()))

    log = tmp_path / "run.jsonl"
    ran("kvm", parse(LINUX), log, watch, protocol("deferred"))
    of = {kind: {int(name.split()[-1]) for name in names} for kind, names in seen}
    assert of[BootStep] == {0}, "of three that are enabled"
    assert of[PlugStep] == {0, 1}
    assert of[OnlineStep] == {0, 1, 3}
    assert of[ShellStep] == {0, 1}
    replayed = replay(log)
    assert replayed.ok and replayed.decided_again
