"""An unplug on a live machine: its end, and a guest that refuses, is silent, or is reset."""

from __future__ import annotations

from pathlib import Path

import pytest

from hpcore.model import events as ev
from hpcore.model import stimuli as st
from hpcore.model.machines import SlotState
from hpcore.run import CommandFailed, Controller, LiveMachine
from tests.run.live import guest_registers, on_paper, on_played
from tests.run.test_controller import QUICK
from tests.support.paper import Behaviour


def test_an_unplug_ends_when_the_vcpu_is_parked() -> None:
    async def script(m: LiveMachine, _c: Controller) -> None:
        await m.plug("core2", core_id=2)
        unplug = await m.begin(st.DeviceDel("core2"))
        assert unplug.ejected_after is None
        assert await unplug.ended()
        assert unplug.ejected_after is not None
        assert m.slot(2).state is SlotState.PARKED

    on_paper(Behaviour(), script)


def test_a_guest_that_refuses_ends_the_unplug_with_its_reason() -> None:
    async def script(m: LiveMachine, _c: Controller) -> None:
        await m.plug("core2", core_id=2)
        with pytest.raises(CommandFailed, match="busy") as failed:
            await m.unplug("core2")
        assert isinstance(failed.value.event, ev.UnplugFailed)
        assert not failed.value.event.still_asked
        assert m.slot("core2").enabled

    on_paper(Behaviour(guest="refusing"), script)


def test_a_guest_that_is_silent_may_still_eject_after_the_unplug_has_failed() -> None:
    async def script(m: LiveMachine, c: Controller) -> None:
        await (await m.begin(st.DeviceAdd("core2", (("core-id", 2),)))).ended()
        guest_registers(c, 2)
        with pytest.raises(CommandFailed, match="did not answer in time") as failed:
            await m.unplug("core2")
        assert isinstance(failed.value.event, ev.UnplugFailed)
        assert failed.value.event.still_asked
        seen: list[ev.Event] = []
        m.subscribe(lambda event, _state: seen.append(event))
        c.post(st.EjectCalled(2))
        await m.until(lambda _s: ev.UnplugCompleted(2, "core2") in seen, "the late eject")

    on_paper(Behaviour(guest="silent"), script, QUICK)


def test_an_unplug_in_a_pause_ends_once_the_guest_runs_again(tmp_path: Path) -> None:
    async def script(m: LiveMachine) -> None:
        await m.plug("core2", core_id=2)
        await m.pause()
        unplug = await m.unplug("core2")
        assert unplug.ejected_after is None
        await m.resume()
        assert await unplug.ended()

    on_played(script, tmp_path / "log")


def test_a_reset_ends_the_unplug_that_waits_for_the_guest() -> None:
    async def script(m: LiveMachine, c: Controller) -> None:
        await (await m.begin(st.DeviceAdd("core2", (("core-id", 2),)))).ended()
        guest_registers(c, 2)
        unplug = await m.begin(st.DeviceDel("core2"))
        await m.until(lambda s: s.slots[2].remove and s.slots[2].step is None, "the request")
        await m.reset()
        with pytest.raises(CommandFailed, match="the machine was reset"):
            await unplug.ended()
        assert m.slot("core2").enabled

    on_paper(Behaviour(guest="silent"), script)


def test_force_ends_the_unplug_that_a_silent_guest_left_waiting() -> None:
    async def script(m: LiveMachine, c: Controller) -> None:
        await (await m.begin(st.DeviceAdd("core2", (("core-id", 2),)))).ended()
        guest_registers(c, 2)
        asked = [await m.begin(st.DeviceDel("core2")) for _ in range(2)]
        await m.unplug("core2", force=True)
        assert [await unplug.ended() for unplug in asked] == [True, True]

    on_paper(Behaviour(guest="silent"), script)
