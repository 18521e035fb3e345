"""What a live machine shows: its slots, how it runs, and every event to who subscribes."""

from __future__ import annotations

import pytest

from hpcore.model import events as ev
from hpcore.model.effects import Step
from hpcore.model.machines import SlotState
from hpcore.model.states import State
from hpcore.run import Controller, LiveMachine, RunError
from tests.run.live import on_paper
from tests.support.paper import Behaviour


def test_a_machine_says_how_it_runs() -> None:
    async def script(m: LiveMachine, _c: Controller) -> None:
        assert m.config == m.state.config
        assert (m.config.topology.cpus, m.config.possible) == (2, 4)

    on_paper(Behaviour(), script)


def test_who_subscribes_is_told_every_event_with_the_state_after_it() -> None:
    async def script(m: LiveMachine, _c: Controller) -> None:
        seen: list[ev.Event] = []
        ids: list[str | None] = []

        def watch(event: ev.Event, state: State) -> None:
            seen.append(event)
            ids.append(state.slots[2].id)

        unsubscribe = m.subscribe(watch)
        also: list[ev.Event] = []
        m.subscribe(lambda event, _state: also.append(event))
        await m.plug("core2", core_id=2)
        accepted = seen.index(ev.PlugAccepted(2, "core2"))
        assert ids[accepted:] == ["core2"] * len(ids[accepted:])
        assert seen[accepted + 1] == ev.StepBegun(2, Step.REALIZE)
        assert seen == also
        unsubscribe()
        unsubscribe()  # twice does no harm
        told = len(seen)
        await m.unplug("core2")
        assert len(seen) == told
        assert ev.UnplugCompleted(2, "core2") in also

    on_paper(Behaviour(), script)


def test_a_watcher_that_raises_is_told_no_more_and_the_machine_goes_on() -> None:
    async def script(m: LiveMachine, c: Controller) -> None:
        calls: list[ev.Event] = []

        def broken(event: ev.Event, _state: State) -> None:
            calls.append(event)
            raise ValueError("a fault of this client")

        m.subscribe(broken)
        await m.plug("core2", core_id=2)
        assert len(calls) == 1
        assert c.failure is None

    on_paper(Behaviour(), script)


def test_a_watcher_may_end_its_own_subscription_and_anothers() -> None:
    async def script(m: LiveMachine, _c: Controller) -> None:
        first: list[ev.Event] = []
        second: list[ev.Event] = []

        def once(event: ev.Event, _state: State) -> None:
            first.append(event)
            for unsubscribe in ends:
                unsubscribe()

        ends = [m.subscribe(once), m.subscribe(lambda event, _state: second.append(event))]
        await m.plug("core2", core_id=2)
        assert (len(first), second) == (1, [])

    on_paper(Behaviour(), script)


def test_the_slots_as_they_are_seen_from_outside() -> None:
    async def script(m: LiveMachine, _c: Controller) -> None:
        await m.plug("core2", core_id=2)
        boot, _, core2, vacant = m.slots
        assert (boot.index, boot.id, boot.state) == (0, "cpu0", SlotState.ONLINE)
        assert boot.cold and boot.enabled and boot.powered
        assert (core2.index, core2.id, core2.state) == (2, "core2", SlotState.ENABLED)
        assert core2.enabled and core2.registered and not core2.powered and not core2.cold
        assert (vacant.id, vacant.state) == (None, SlotState.PARKED)
        assert core2.driver == "cortex-a57-arm-cpu"
        assert core2.props == {"socket-id": 0, "cluster-id": 0, "core-id": 2, "thread-id": 0}
        assert m.slot("core2") == m.slot(2) == core2
        with pytest.raises(RunError, match="no vCPU is plugged under the id 'core3'"):
            m.slot("core3")
        with pytest.raises(RunError, match="there is no vCPU 4; the machine has 0 to 3"):
            m.slot(4)
        plug = await m.plug("core3", vacant.props, driver=vacant.driver)
        assert plug.slot == vacant.index

    on_paper(Behaviour(), script)
