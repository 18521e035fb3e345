"""What the property-based tests would find: faults planted in the accelerator, one at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
from hpcore_qtest.power import ModelledPower
from hpcore_qtest.virt.machine import VirtMachine
from hpcore_qtest.virt.redistributor import (
    EVERY,
    ICENABLER0,
    PROCESSOR_SLEEP,
    WAKER,
    Redistributors,
)
from hpcore_qtest.virt.session import VirtSession
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from hpcore.model.effects import NOTIFICATIONS, Step
from hpcore.run.gate import Gate
from hpcore.scenario import values as sc
from hpcore.scenario.read import parse
from tests.qemu.support import needs_qemu
from tests.qtest.rehearsal import Disagreement, Rehearsal
from tests.qtest.test_properties import AnyOrder
from tests.support.command import hpcore

pytestmark = needs_qemu

Plant = Callable[[pytest.MonkeyPatch], None]


def _left_awake(patch: pytest.MonkeyPatch) -> None:
    """UNWIRE and UNBIND let go of a redistributor that is still awake."""

    async def nothing(_self: Redistributors, _index: int) -> None:
        pass

    patch.setattr(Redistributors, "sleep", nothing)
    patch.setattr(Redistributors, "clear", nothing)


def _put_to_sleep_alone(patch: pytest.MonkeyPatch) -> None:
    """The redistributor sleeps, but keeps what was enabled and what pends."""

    async def sleep(self: Redistributors, index: int) -> None:
        await self._run(index, ((WAKER, PROCESSOR_SLEEP),), ())

    patch.setattr(Redistributors, "sleep", sleep)
    patch.setattr(Redistributors, "clear", sleep)


def _lost_by_migration(patch: pytest.MonkeyPatch) -> None:
    """A migration drops which SGIs and PPIs are enabled."""
    moved = VirtMachine.moved

    async def lossy(self: VirtMachine) -> VirtMachine:
        there = await moved(self)
        for index in range(len(there.gicr.frames)):
            await there.gicr._run(index, ((ICENABLER0, EVERY),), ())
        return there

    patch.setattr(VirtMachine, "moved", lossy)


def _not_restored(patch: pytest.MonkeyPatch) -> None:
    """After a reset, what is plugged is enabled but not wired."""

    async def restore(self: VirtSession, enabled: tuple[int, ...]) -> None:
        for slot in enabled:
            self.device.apply(Step.ENABLE, slot)

    patch.setattr(VirtSession, "_restore", restore)


def _lost_while_paused(patch: pytest.MonkeyPatch) -> None:
    """A notification that is asked for in a pause counts as given, and never is."""
    admits = Gate.admits

    async def lossy(self: Gate, step: Step, slot: int) -> bool:
        if self.is_open and not self.takes_steps and step in NOTIFICATIONS:
            return False
        return await admits(self, step, slot)

    patch.setattr(Gate, "admits", lossy)


def _off_is_not_told(patch: pytest.MonkeyPatch) -> None:
    """The core does not hear of a vCPU that the guest has switched off."""
    patch.setattr(ModelledPower, "cpu_off", lambda self, cpu: self.on.discard(cpu))


FAULTS: tuple[tuple[Plant, str], ...] = (
    (_left_awake, r"GICR_(WAKER|ISENABLER0|IGROUPR0|ISPENDR0) of vCPU [23] is"),
    (_put_to_sleep_alone, r"GICR_(ISENABLER0|IGROUPR0|ISPENDR0) of vCPU [23] is"),
    (_lost_by_migration, "GICR_ISENABLER0 of vCPU 0 is 0, not"),
    (_not_restored, "GICR_WAKER of vCPU 0 is 6, not 0"),
    (_lost_while_paused, "the GED's event is False, not True"),
    (_off_is_not_told, "the power of vCPU [0123] is False, not True"),
)
"""Each with what it is known by."""


@pytest.mark.parametrize(("fault", "says"), FAULTS, ids=[f.__name__ for f, _ in FAULTS])
def test_a_planted_fault_is_found(
    fault: Plant, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fault(monkeypatch)
    monkeypatch.setattr("tests.qtest.rehearsal.AGREE_SECONDS", 0.0)
    with pytest.raises(Disagreement, match=says):
        run_state_machine_as_test(AnyOrder, settings=settings(
            max_examples=200, stateful_step_count=30, derandomize=True,
            phases=[Phase.generate], suppress_health_check=list(HealthCheck),
        ))  # fmt: skip


def test_a_failure_shrinks_to_a_scenario_that_hpcore_run_repeats(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("tests.qtest.rehearsal.AGREE_SECONDS", 0.0)
    with monkeypatch.context() as planted:
        _not_restored(planted)
        with pytest.raises(Disagreement) as found:
            run_state_machine_as_test(AnyOrder, settings=settings(
                max_examples=100, stateful_step_count=5, derandomize=True,
                phases=[Phase.generate, Phase.shrink], report_multiple_bugs=False,
            ))  # fmt: skip
        says, _, text = str(found.value).partition(
            "\n\nTo repeat it, `hpcore run FILE --accel qtest` with this in FILE:\n\n"
        )
        assert "GICR_WAKER of vCPU 0 is 6, not 0" in says
        scenario = parse(text)
        steps = [line.step for line in scenario.steps if line.text != "settle"]
        assert len(steps) == 2 and isinstance(steps[1], sc.ResetStep | sc.RebootStep), text
        with pytest.raises(Disagreement, match="GICR_WAKER of vCPU 0 is 6, not 0"):
            asyncio.run(again(scenario))
    file = tmp_path / "found.yaml"
    file.write_text(text)
    ended = hpcore("run", file, "--accel", "qtest", "--log", tmp_path / "log.jsonl", "--json")
    assert ended.code == 0, ended  # the fault is not in it


async def again(scenario: sc.Scenario) -> None:
    """Take a scenario's steps once more."""
    rehearsal = await Rehearsal(scenario.machine, scenario.kind).start()
    try:
        for line in scenario.steps[1:]:
            await rehearsal.take(line.step)
    finally:
        await rehearsal.close()
