"""A live machine with several commands under way, and clients who want the same."""

from __future__ import annotations

import asyncio

import pytest

from hpcore.model import events as ev
from hpcore.model import stimuli as st
from hpcore.model.effects import Effect, RunStep, Step
from hpcore.model.machines import Phase, SlotState
from hpcore.model.states import State
from hpcore.run import (
    CommandFailed,
    CommandRefused,
    Controller,
    EffectError,
    LiveMachine,
    Plug,
    PlugStage,
)
from tests.run.live import on_paper
from tests.support.paper import Behaviour


def test_a_command_during_a_reset_is_taken_and_carried_out_after_it() -> None:
    async def script(m: LiveMachine, _c: Controller) -> None:
        given: list[asyncio.Task[object]] = []

        def watch(event: ev.Event, state: State) -> None:
            if isinstance(event, ev.MachineWasReset):
                assert state.shared.phase is Phase.RESETTING
                given.append(asyncio.create_task(m.plug("core3", core_id=3)))
                given.append(asyncio.create_task(m.unplug("core2")))

        await m.plug("core2", core_id=2)
        m.subscribe(watch)
        await m.reset()
        await asyncio.gather(*given)
        assert [slot.state for slot in m.slots[2:]] == [SlotState.PARKED, SlotState.ENABLED]

    on_paper(Behaviour(), script)


def test_a_command_on_the_machine_during_a_reset_waits_for_its_end() -> None:
    async def script(m: LiveMachine, _c: Controller) -> None:
        given: list[asyncio.Task[None]] = []

        def watch(event: ev.Event, _state: State) -> None:
            if isinstance(event, ev.MachineWasReset):
                given.append(asyncio.create_task(m.pause()))

        m.subscribe(watch)
        await m.reset()
        await asyncio.gather(*given)
        assert m.state.shared.paused

    on_paper(Behaviour(), script)


def test_several_slots_are_plugged_at_once() -> None:
    async def script(m: LiveMachine, _c: Controller) -> None:
        two, three = await asyncio.gather(m.plug("a", core_id=2), m.plug("b", core_id=3))
        assert (two.slot, three.slot) == (2, 3)
        assert {two.stage, three.stage} == {PlugStage.REGISTERED}
        await asyncio.gather(m.unplug("a"), m.unplug("b"))
        assert [slot.state for slot in m.slots[2:]] == [SlotState.PARKED] * 2

    on_paper(Behaviour(), script)


def test_of_two_clients_who_want_one_slot_one_is_refused() -> None:
    async def script(m: LiveMachine, _c: Controller) -> None:
        first, second = await asyncio.gather(
            m.plug("a", core_id=2), m.plug("b", core_id=2), return_exceptions=True
        )
        assert not isinstance(first, BaseException)
        assert first.stage is PlugStage.REGISTERED
        assert isinstance(second, CommandRefused)

    on_paper(Behaviour(), script)


def test_an_end_that_comes_before_the_answer_is_not_missed() -> None:
    """Nor does who plugs the slot in the very moment in which that failed take it for its own."""
    failed: list[Effect] = []

    def fail_once(effect: Effect) -> None:
        if effect == RunStep(Step.REALIZE, 2) and not failed:
            failed.append(effect)
            raise EffectError("as told")

    async def script(m: LiveMachine, _c: Controller) -> None:
        again: list[asyncio.Task[Plug]] = []

        def watch(event: ev.Event, _state: State) -> None:
            if isinstance(event, ev.PlugFailed):
                again.append(asyncio.create_task(m.plug("b", core_id=2)))

        m.subscribe(watch)
        first = await m.begin(st.DeviceAdd("a", (("core-id", 2),)))
        assert first.stage is PlugStage.FAILED, "the answer was to come later"
        with pytest.raises(CommandFailed, match="realize failed: as told"):
            await first.ended()
        second = await again[0]
        assert (second.id, second.stage) == ("b", PlugStage.REGISTERED)
        assert first.failure == ev.PlugFailed(2, "a", "realize failed: as told")

    on_paper(Behaviour(before=fail_once), script)


def test_a_client_that_went_away_leaves_its_command_to_end_by_itself() -> None:
    async def script(m: LiveMachine, _c: Controller) -> None:
        plugging = asyncio.create_task(m.plug("core2", core_id=2))
        await asyncio.sleep(0)
        plugging.cancel()
        await m.until(lambda s: s.slots[2].registered, "the plug of nobody")
        await m.unplug("core2")

    on_paper(Behaviour(), script)
