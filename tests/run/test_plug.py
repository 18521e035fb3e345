"""A plug on a live machine: its stages, and what keeps it from its end."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from hpcore.model import events as ev
from hpcore.model import stimuli as st
from hpcore.model.effects import Step
from hpcore.run import (
    CommandFailed,
    CommandRefused,
    Controller,
    LiveMachine,
    NeverRegistered,
    Patience,
    PlugStage,
    RunError,
)
from tests.run.live import guest_registers, on_paper, on_played, plugged_and_silent
from tests.run.test_controller import SOON
from tests.support.paper import Behaviour

CORE2 = {"core-id": 2}


def test_a_plug_is_accepted_then_notified_then_registered() -> None:
    async def script(m: LiveMachine, c: Controller) -> None:
        plug = await m.begin(st.DeviceAdd("core2", (("core-id", 2),)))
        assert (plug.slot, plug.id) == (2, "core2")
        stages = [plug.stage]
        await plug.ended()
        stages.append(plug.stage)
        guest_registers(c, 2)
        assert await plug.registered()
        stages.append(plug.stage)
        assert stages == [PlugStage.ACCEPTED, PlugStage.NOTIFIED, PlugStage.REGISTERED]
        assert plug.notified_after is not None and plug.registered_after is not None
        assert 0 < plug.notified_after < plug.registered_after

    on_paper(Behaviour(guest="silent"), script)


def test_plug_returns_once_the_guest_has_registered_the_vcpu() -> None:
    async def script(m: LiveMachine, _c: Controller) -> None:
        plug = await m.plug("core2", core_id=2)
        assert plug.stage is PlugStage.REGISTERED
        assert m.slot("core2").registered

    on_paper(Behaviour(), script)


def test_a_plug_that_fails_says_so_with_its_event() -> None:
    async def script(m: LiveMachine, _c: Controller) -> None:
        plug = await m.begin(st.DeviceAdd("core2", (("core-id", 2),)))
        with pytest.raises(CommandFailed, match="wire failed: as told") as failed:
            await plug.registered()
        assert plug.stage is PlugStage.FAILED
        assert failed.value.event is plug.failure
        assert plug.failure == ev.PlugFailed(2, "core2", "wire failed: as told")

    on_paper(Behaviour(fails={(Step.WIRE, 2)}), script)


def test_a_plug_that_is_refused_has_begun_nothing() -> None:
    async def script(m: LiveMachine, _c: Controller) -> None:
        with pytest.raises(CommandRefused, match="with arch-id 1 exist") as refused:
            await m.plug("core1", core_id=1)
        assert refused.value.event.guard == "slot_vacant"
        with pytest.raises(CommandRefused, match=r"'cortex-a57-arm-cpu\.colour' not found"):
            await m.plug("core2", colour=2)
        await m.plug("core2", CORE2)

    on_paper(Behaviour(), script)


def test_a_plug_in_a_pause_is_registered_once_the_guest_runs_again(tmp_path: Path) -> None:
    async def script(m: LiveMachine) -> None:
        await m.pause()
        plug = await m.plug("core2", core_id=2)
        assert plug.stage is PlugStage.ACCEPTED
        assert not await plug.ended()
        assert not await plug.registered()
        await m.resume()
        assert await plug.registered()

    on_played(script, tmp_path / "log")


def test_a_pause_ends_the_waiting_for_a_guest_that_has_not_registered() -> None:
    async def script(m: LiveMachine, _c: Controller) -> None:
        plugging = asyncio.create_task(m.plug("core2", core_id=2))
        await plugged_and_silent(m)
        await m.pause()
        assert (await plugging).stage is PlugStage.NOTIFIED

    on_paper(Behaviour(guest="silent"), script)


def test_a_guest_that_is_reset_before_it_has_registered_boots_with_the_vcpu() -> None:
    async def script(m: LiveMachine, _c: Controller) -> None:
        plugging = asyncio.create_task(m.plug("core2", core_id=2))
        await plugged_and_silent(m)
        await m.reset()
        assert (await plugging).stage is PlugStage.REGISTERED
        assert m.slot("core2").enabled

    on_paper(Behaviour(guest="silent"), script)


@pytest.mark.parametrize(
    ("status", "words"), [(0x1, r"failure \(0x1\)"), (0x81, r"no such device \(0x81\)"),
                          (0x1234, "0x1234")],
)  # fmt: skip
def test_a_guest_that_cannot_register_the_vcpu_ends_the_plug_with_its_word(
    status: int, words: str
) -> None:
    async def script(m: LiveMachine, c: Controller) -> None:
        plugging = asyncio.create_task(m.plug("core2", core_id=2))
        await plugged_and_silent(m)
        c.post(st.OstReported(2, 1, 0x84))  # in progress
        c.post(st.OstReported(2, 1, status))
        with pytest.raises(NeverRegistered, match=f"vCPU 2 is plugged, but .* with {words}$"):
            await plugging
        assert m.slot("core2").enabled

    on_paper(Behaviour(guest="silent"), script)


def test_a_vcpu_taken_before_the_guest_has_registered_it_is_not_waited_for() -> None:
    async def script(m: LiveMachine, _c: Controller) -> None:
        plugging = asyncio.create_task(m.plug("core2", core_id=2))
        await plugged_and_silent(m)
        await m.unplug("core2", force=True)
        with pytest.raises(NeverRegistered, match="vCPU 2 was unplugged before"):
            await plugging

    on_paper(Behaviour(guest="silent"), script)


def test_waiting_stops_when_patience_does_and_the_plug_goes_on() -> None:
    async def script(m: LiveMachine, c: Controller) -> None:
        plug = await m.begin(st.DeviceAdd("core2", (("core-id", 2),)))
        with pytest.raises(RunError, match=r"registered vCPU 2 did not come within 0\.3 s"):
            await plug.registered()
        guest_registers(c, 2)
        assert await plug.registered()

    on_paper(Behaviour(guest="silent"), script, Patience(end=0.3, boot=SOON))


def test_what_is_plugged_before_the_boot_is_there_when_the_guest_has_booted() -> None:
    async def script(m: LiveMachine, _c: Controller) -> None:
        plug = await m.plug("core2", core_id=2)
        assert plug.stage is PlugStage.ACCEPTED
        await m.start()
        assert await plug.registered()
        assert m.state.enabled == (0, 1, 2)

    on_paper(Behaviour(), script, booted=False)
