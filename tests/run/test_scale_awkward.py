"""Target counts at awkward moments: who was quicker, who waits too long, what is said of it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from hpcore.guest.played import Answers
from hpcore.log import Sync
from hpcore.model import events as ev
from hpcore.model import stimuli as st
from hpcore.model.acpi import Notification
from hpcore.model.effects import Step
from hpcore.run import Change, GuestScript, LiveMachine, Patience, ScaleFailed, open_machine
from hpcore.run.commands import Asked, Plug, Unplug
from hpcore.run.scale import _Begun
from tests.run.test_controller import SOON
from tests.run.test_scale import COLD, CONFIG, enabled, on_paper, on_played
from tests.support.paper import Behaviour
from tests.support.played import found

SHORT = Patience(end=0.3, boot=SOON)
PLUG2, PLUG3, PLUG4 = (Change(n, f"cpu{n}", True) for n in (2, 3, 4))
NOBODY: Any = None


def test_a_slot_that_was_taken_first_is_passed_over_without_waiting_as_well() -> None:
    async def script(m: LiveMachine, events: list[ev.Event]) -> None:
        plug, scaled = await asyncio.gather(m.plug("x", core_id=2), m.scale(4, waits=False))
        assert [e.guard for e in events if isinstance(e, ev.Refused)] == ["slot_vacant"]
        assert scaled.pending == (PLUG3,)
        assert plug.slot == 2
        await m.scale(4)
        assert enabled(m) == {**COLD, 2: "x", 3: "cpu3"}

    on_paper(Behaviour(), script)


def test_a_guest_that_registers_nothing_in_time_is_said_to_be_waited_for() -> None:
    async def script(m: LiveMachine, _events: list[ev.Event]) -> None:
        with pytest.raises(ScaleFailed) as failed:
            await m.scale(4)
        why = "the end of what was begun did not come within 0.3 s"
        assert failed.value.scaled.failed == ((PLUG2, why), (PLUG3, why))
        assert str(failed.value) == (
            f"scale to 4: plug cpu2 failed: {why}. Done: nothing. Failed: plug cpu2, plug cpu3. "
            "4 vCPUs are enabled now"
        )

    on_paper(Behaviour(guest="silent"), script, SHORT)


def test_what_has_ended_by_then_is_done_though_another_is_waited_for_too_long() -> None:
    async def script(m: LiveMachine, _events: list[ev.Event]) -> None:
        with pytest.raises(ScaleFailed) as failed:
            await m.scale(5)
        why = "the end of what was begun did not come within 0.3 s"
        scaled = failed.value.scaled
        assert (scaled.done, scaled.failed) == ((PLUG2, PLUG4), ((PLUG3, why),))
        assert scaled.not_begun == scaled.pending == ()

    on_paper(Behaviour(hangs={(Step.WIRE, 3)}), script, SHORT)


def begun(accepted: Plug | Unplug, **fields: Any) -> _Begun:
    return _Begun(Change(2, "cpu2", isinstance(accepted, Plug)), accepted, **fields)


def test_the_first_reason_for_which_a_change_was_given_up_stays() -> None:
    failed = Plug(Asked(NOBODY, 1), 2, "cpu2")
    failed.follow(ev.PlugFailed(2, "cpu2", "later"))
    assert begun(failed).failure == "later"
    assert begun(failed, error="first").failure == "first"
    assert begun(Plug(Asked(NOBODY, 1), 2, "cpu2"), error="first").failure == "first"
    assert begun(Plug(Asked(NOBODY, 1), 2, "cpu2")).failure is None
    refused = Unplug(Asked(NOBODY, 1), 2, "cpu2")
    refused.follow(ev.UnplugFailed(2, "cpu2", "busy"))
    assert begun(refused).failure == "busy"


def test_a_target_that_is_overtaken_begins_nothing_more_and_takes_nothing_back() -> None:
    async def script(m: LiveMachine, _events: list[ev.Event]) -> None:
        first = asyncio.create_task(m.scale(6, undo=True))
        await m.until(lambda s: s.slots[2].id is not None, "the first plug")
        await m.scale(3)
        with pytest.raises(ScaleFailed, match="another target, 3, was asked for") as failed:
            await first
        scaled = failed.value.scaled
        assert not (scaled.undone or scaled.not_undone or scaled.failed)
        assert len(scaled.done) + len(scaled.not_begun) == 4
        assert enabled(m) == {**COLD, 2: "cpu2"}

    on_paper(Behaviour(), script)


def test_a_pause_in_the_middle_leaves_what_is_accepted_pending(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_machine(
            found(), CONFIG, GuestScript("silent"), log=tmp_path / "log", sync=Sync.OS
        ) as m:
            await m.boot()
            await m.scale(4)
            down = asyncio.create_task(m.scale(2))
            await m.until(lambda s: s.slots[2].requested and s.slots[3].requested, "the requests")
            await m.until(lambda s: not s.slots[2].step and not s.slots[3].step, "their steps")
            await m.pause()
            scaled = await down
            assert str(scaled) == "accepted: unplug cpu3, unplug cpu2"
            assert (scaled.enabled, scaled.to, scaled.why) == (4, 2, None)

    asyncio.run(asyncio.wait_for(main(), 4 * SOON))


REFUSES: Answers = {Notification.EJECT_REQUEST: (0x82,)}


def test_without_undo_what_a_failed_target_did_stays(tmp_path: Path) -> None:
    async def script(m: LiveMachine) -> None:
        await m.scale(4)
        with pytest.raises(ScaleFailed) as failed:
            await m.scale(2)
        scaled = failed.value.scaled
        ((stays, why),), (gone,) = scaled.failed, scaled.done
        assert {stays, gone} == {PLUG2.reverse, PLUG3.reverse}
        assert why == "the guest refuses the eject: busy (0x82)"
        assert not (scaled.undone or scaled.not_undone)
        assert enabled(m) == {**COLD, stays.slot: stays.id}

    on_played(script, tmp_path / "log", REFUSES)


def test_an_unplug_that_failed_is_no_change_to_be_taken_back(tmp_path: Path) -> None:
    async def script(m: LiveMachine) -> None:
        await m.scale(4)
        with pytest.raises(ScaleFailed) as failed:
            await m.scale(2, undo=True)
        scaled = failed.value.scaled
        assert len(scaled.done) == 1
        assert (scaled.undone, scaled.not_undone) == (scaled.done, ())
        assert enabled(m) == {**COLD, 2: "cpu2", 3: "cpu3"}

    on_played(script, tmp_path / "log", REFUSES)


def test_what_cannot_be_taken_back_at_once_is_said_to_have_not_ended() -> None:
    """A plug that the guest never registers is given up, and its unplug waits for the guest."""

    async def script(m: LiveMachine, _events: list[ev.Event]) -> None:
        with pytest.raises(ScaleFailed) as failed:
            await m.scale(3, undo=True)
        scaled = failed.value.scaled
        why = "the end of what was begun did not come within 0.3 s"
        assert (scaled.undone, scaled.not_undone) == ((), ((PLUG2, why),))
        assert scaled.failed == ((PLUG2, why),)
        await m.begin(st.DeviceDel("cpu2", force=True))
        await m.until(lambda s: s.slots[2].id is None, "the end of the vCPU")

    on_paper(Behaviour(guest="silent"), script, SHORT)
