"""The gate: what is taken, what waits, what counts as done, and that nobody waits in vain."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some

from hpcore.model.effects import NOTIFICATIONS, MachineStep, Step
from hpcore.run.accelerator import AcceleratorError, EffectError
from hpcore.run.gate import CREATED_ONCE, GIC_FIRST, GIC_ONCE, NO_MACHINE_YET, Gate, Stage

POSSIBLE = 4
OTHERS = sorted(set(Step) - NOTIFICATIONS)
PASSES = 3
"""Turns of the loop within which what is woken has had its say."""


def opened() -> Gate:
    gate = Gate(POSSIBLE)
    gate.created()
    gate.open()
    return gate


def shut() -> Gate:
    gate = opened()
    gate.shut()
    return gate


def gone() -> Gate:
    gate = opened()
    gate.end("it broke")
    return gate


async def passes() -> None:
    for _ in range(PASSES):
        await asyncio.sleep(0)


@pytest.mark.parametrize("step", Step)
def test_no_step_is_taken_before_the_gic_is_there(step: Step) -> None:
    async def run() -> None:
        gate = Gate(POSSIBLE)
        with pytest.raises(EffectError, match=NO_MACHINE_YET):
            await gate.admits(step, 1)
        gate.created()
        with pytest.raises(EffectError, match=f"{step.name} of vCPU 1 .*{GIC_FIRST}"):
            await gate.admits(step, 1)
        gate.open()
        assert await gate.admits(step, 1)

    asyncio.run(run())


@pytest.mark.parametrize("slot", [-1, POSSIBLE, 9999])
def test_a_step_of_a_vcpu_that_the_machine_has_not_is_refused(slot: int) -> None:
    async def run() -> None:
        for gate in (opened(), shut()):
            for step in Step:
                with pytest.raises(EffectError, match=f"no vCPU {slot}; the machine has 0 to 3"):
                    await gate.admits(step, slot)

    asyncio.run(run())


def test_an_open_gate_is_passed_without_giving_way() -> None:
    coroutine = opened().admits(Step.BIND, 0)
    with pytest.raises(StopIteration) as ended:
        coroutine.send(None)
    assert ended.value.value is True


@pytest.mark.parametrize("step", sorted(NOTIFICATIONS))
def test_a_notification_that_is_asked_for_during_a_reset_counts_as_done(step: Step) -> None:
    assert asyncio.run(shut().admits(step, 0)) is False


@pytest.mark.parametrize("step", OTHERS)
def test_any_other_step_waits_for_the_restart(step: Step) -> None:
    async def run() -> None:
        gate = shut()
        waiting = asyncio.create_task(gate.admits(step, 0))
        await passes()
        assert not waiting.done()
        gate.open()
        assert await waiting is True

    asyncio.run(run())


def test_a_reset_right_after_the_restart_has_the_steps_wait_on() -> None:
    async def run() -> None:
        gate = shut()
        waiting = asyncio.create_task(gate.admits(Step.WIRE, 0))
        await passes()
        gate.open()
        gate.shut()
        await passes()
        assert not waiting.done()
        gate.open()
        assert await waiting

    asyncio.run(run())


@pytest.mark.parametrize("step", Step)
def test_a_step_that_comes_in_a_pause_waits_for_its_end(step: Step) -> None:
    async def run() -> None:
        gate = opened()
        gate.pause()
        assert not gate.takes_steps and gate.is_open
        waiting = asyncio.create_task(gate.admits(step, 0))
        await passes()
        assert not waiting.done()
        gate.resume()
        assert await waiting is True
        assert gate.takes_steps

    asyncio.run(run())


def test_a_pause_outlasts_a_reset() -> None:
    async def run() -> None:
        gate = opened()
        gate.pause()
        notification, other = (
            asyncio.create_task(gate.admits(step, 0)) for step in (Step.NOTIFY_INSERT, Step.WIRE)
        )
        await passes()
        gate.shut()
        assert await notification is False
        gate.open()
        await passes()
        assert not other.done()
        gate.resume()
        assert await other is True

    asyncio.run(run())


def test_a_paused_machine_that_is_gone_wakes_all() -> None:
    async def run() -> None:
        gate = opened()
        gate.pause()
        waiting = asyncio.create_task(gate.admits(Step.WIRE, 0))
        await passes()
        gate.end("QEMU is gone")
        gate.pause()
        with pytest.raises(AcceleratorError, match="QEMU is gone"):
            await waiting
        with pytest.raises(AcceleratorError, match="QEMU is gone"):
            await gate.admits(Step.WIRE, 0)

    asyncio.run(run())


def test_steps_that_waited_go_on_in_the_order_in_which_they_came() -> None:
    async def run() -> None:
        gate, order = shut(), list[int]()

        async def step(slot: int) -> None:
            await gate.admits(Step.WIRE, slot)
            order.append(slot)

        waiting = [asyncio.create_task(step(slot)) for slot in (2, 0, 3, 1)]
        await passes()
        gate.open()
        await asyncio.gather(*waiting)
        assert order == [2, 0, 3, 1]

    asyncio.run(run())


def test_a_machine_that_is_gone_wakes_all_and_tells_everybody_the_first_reason() -> None:
    async def run() -> None:
        gate = shut()
        waiting = [asyncio.create_task(gate.admits(Step.WIRE, slot)) for slot in range(3)]
        await passes()
        assert gate.end("QEMU is gone") is True
        assert gate.end("the machine was ended") is False
        for task in waiting:
            with pytest.raises(AcceleratorError, match="QEMU is gone"):
                await task
        for step in Step:
            with pytest.raises(AcceleratorError, match="QEMU is gone"):
                await gate.admits(step, 0)
        assert gate.gone == "QEMU is gone"

    asyncio.run(run())


def test_a_machine_that_is_gone_does_not_come_back() -> None:
    gate = gone()
    gate.open()
    gate.shut()
    gate.created()
    assert gate.stage is Stage.GONE and not gate.is_open


def test_a_step_that_is_cancelled_while_it_waits_leaves_the_others_waiting() -> None:
    async def run() -> None:
        gate = shut()
        first, second = (asyncio.create_task(gate.admits(Step.BIND, slot)) for slot in (0, 1))
        await passes()
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        assert not second.done()
        gate.open()
        assert await second

    asyncio.run(run())


# ------------------------------------------------------------- steps of the machine

STAGES = {
    Stage.NEW: lambda: Gate(POSSIBLE),
    Stage.OPEN: opened,
    Stage.SHUT: shut,
}


def test_steps_of_the_machine_come_in_order() -> None:
    gate = Gate(POSSIBLE)
    for step in set(MachineStep) - {MachineStep.CREATE_VCPUS, MachineStep.POWER_DOWN}:
        with pytest.raises(EffectError, match=NO_MACHINE_YET):
            gate.check(step)
    gate.check(MachineStep.CREATE_VCPUS)
    gate.created()
    for step in (MachineStep.START, MachineStep.RESET, MachineStep.RESTART):
        with pytest.raises(EffectError, match=f"{step.name} is refused: {GIC_FIRST}"):
            gate.check(step)
    gate.check(MachineStep.INIT_GIC)


@pytest.mark.parametrize("stage", [Stage.OPEN, Stage.SHUT])
def test_vcpus_and_gic_are_made_once(stage: Stage) -> None:
    gate = STAGES[stage]()
    with pytest.raises(EffectError, match=CREATED_ONCE):
        gate.check(MachineStep.CREATE_VCPUS)
    with pytest.raises(EffectError, match=GIC_ONCE):
        gate.check(MachineStep.INIT_GIC)
    for step in set(MachineStep) - {MachineStep.CREATE_VCPUS, MachineStep.INIT_GIC}:
        gate.check(step)


@pytest.mark.parametrize("stage", STAGES)
def test_a_machine_can_be_ended_at_any_time_and_then_takes_no_step(stage: Stage) -> None:
    gate = STAGES[stage]()
    gate.check(MachineStep.POWER_DOWN)
    gate.end("the machine was ended")
    for step in MachineStep:
        with pytest.raises(AcceleratorError, match="was ended"):
            gate.check(step)


def test_a_reset_before_the_gic_is_there_changes_nothing() -> None:
    gate, stages = Gate(POSSIBLE), list[Stage]()
    for happens in (gate.shut, gate.created, gate.shut):
        happens()
        stages.append(gate.stage)
    assert stages == [Stage.NEW, Stage.CREATED, Stage.CREATED]


# --------------------------------------------------------------------- in any order


class Account:
    """A gate, and a plain account of it: a stage, and who waits."""

    def __init__(self) -> None:
        self.gate, self.stage = Gate(POSSIBLE), Stage.NEW
        self.waiting: list[asyncio.Task[bool]] = []

    async def ask(self, step: Step, slot: int) -> None:
        task = asyncio.create_task(self.gate.admits(step, slot))
        await passes()
        if self.stage is Stage.SHUT and step not in NOTIFICATIONS:
            assert not task.done()
            self.waiting.append(task)
        elif self.stage is Stage.GONE:
            assert isinstance(task.exception(), AcceleratorError)
        elif self.stage in (Stage.NEW, Stage.CREATED):
            assert isinstance(task.exception(), EffectError)
        else:
            assert task.result() is (self.stage is Stage.OPEN)

    async def created(self) -> None:
        self.gate.created()
        self.stage = Stage.CREATED if self.stage is Stage.NEW else self.stage

    async def open(self) -> None:
        if self.stage is not Stage.NEW:  # no session opens what was not created
            self.gate.open()
            self.stage = self.stage if self.stage is Stage.GONE else Stage.OPEN

    async def shut(self) -> None:
        self.gate.shut()
        self.stage = Stage.SHUT if self.stage is Stage.OPEN else self.stage

    async def end(self) -> None:
        assert self.gate.end("gone") is (self.stage is not Stage.GONE)
        self.stage = Stage.GONE

    async def cancel(self) -> None:
        if self.waiting:
            self.waiting.pop(0).cancel()

    async def look(self) -> None:
        """After some turns of the loop."""
        await passes()
        done = [task.done() for task in self.waiting]
        if self.stage is not Stage.SHUT:
            assert all(done)
        self.waiting = [task for task in self.waiting if not task.done()]
        assert self.gate.stage is self.stage


MOVES = (Account.created, Account.open, Account.shut, Account.end, Account.cancel, Account.look)
ASKED = some.tuples(some.sampled_from(Step), some.integers(0, POSSIBLE - 1))


@given(some.lists(ASKED | some.sampled_from(MOVES), max_size=40))
def test_in_any_order_who_waits_is_who_must(moves: list[Any]) -> None:
    async def run() -> None:
        account = Account()
        for move in moves:
            if isinstance(move, tuple):
                await account.ask(*move)
            else:
                await move(account)
        await account.look()
        waiting = account.waiting
        account.gate.end("the end")
        await passes()
        assert all(task.done() for task in waiting), "nobody waits for a machine that is gone"
        await asyncio.gather(*waiting, return_exceptions=True)

    asyncio.run(run())
