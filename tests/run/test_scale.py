"""Target counts: what is planned, what is done, and what is said where it goes wrong."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

import attrs
import pytest

from hpcore.guest.played import Answers
from hpcore.log import Sync
from hpcore.model import events as ev
from hpcore.model import stimuli as st
from hpcore.model.acpi import Notification
from hpcore.model.config import MachineConfig
from hpcore.model.effects import MachineStep, Step
from hpcore.model.machines import SlotState
from hpcore.model.states import Owed, Slot, State, initial
from hpcore.run import (
    Change,
    Controller,
    GuestScript,
    LiveMachine,
    Patience,
    RunError,
    Scaled,
    ScaleFailed,
    ScaleRefused,
    open_machine,
)
from hpcore.run.scale_plan import count, free_id, next_change, plan
from tests.run.test_controller import SOON
from tests.support.command import records
from tests.support.logs import ListLog
from tests.support.paper import Behaviour, PaperAccelerator
from tests.support.played import found

CONFIG = MachineConfig.of(cpus=2, maxcpus=6)
SLOW = Patience(end=SOON, boot=SOON)

Script = Callable[[LiveMachine, list[ev.Event]], Awaitable[None]]


def on_paper(behaviour: Behaviour, script: Script, patience: Patience = SLOW) -> None:
    """Play `script` on a machine of 2 to 6 vCPUs on paper, booted; it is given every event."""
    accelerator, log = PaperAccelerator(behaviour), ListLog()
    controller = Controller(
        initial(CONFIG), lambda: log, lambda r: accelerator.open(CONFIG, None, r), patience
    )

    async def main() -> None:
        machine = LiveMachine(controller)
        async with controller:
            await machine.boot()
            await script(machine, log.events)

    asyncio.run(asyncio.wait_for(main(), 4 * SOON))


def on_played(
    script: Callable[[LiveMachine], Awaitable[None]], log: Path, answers: Answers | None = None
) -> None:
    """Play `script` on such a machine with a played Linux, booted."""
    guest = GuestScript(answers=answers or {})

    async def main() -> None:
        async with open_machine(found(), CONFIG, guest, log=log, sync=Sync.OS) as machine:
            await machine.boot()
            await script(machine)

    asyncio.run(asyncio.wait_for(main(), 4 * SOON))


def enabled(machine: LiveMachine) -> dict[int, str | None]:
    return {slot.index: slot.id for slot in machine.slots if slot.enabled}


COLD: Mapping[int, str] = {0: "cpu0", 1: "cpu1"}

# ------------------------------------------------------------------------- plans

FREE = Slot(cold=False)
PLUGGED = Slot(cold=False, lifecycle=SlotState.ENABLED, enabled=True, id="a")
BOOTED = attrs.evolve(PLUGGED, cold=True)
COMING = attrs.evolve(FREE, lifecycle=SlotState.REALIZED, command=Owed.PLUG, step=Step.WIRE, id="c")
ASKED = attrs.evolve(PLUGGED, command=Owed.UNPLUG, requested=True, id="asked")
LEAVING = attrs.evolve(FREE, lifecycle=SlotState.EJECTING, step=Step.STOP, id="leaving")
HALTED = attrs.evolve(LEAVING, step=None, stalled=True)


def state(*slots: Slot) -> State:
    config = MachineConfig.of(cpus=1, maxcpus=len(slots))
    return attrs.evolve(initial(config), slots=slots)


def planned(to: int, *slots: Slot) -> list[str]:
    return [str(change) for change in plan(state(*slots), to)]


def test_the_lowest_free_slots_are_plugged_from_the_lowest_up() -> None:
    assert planned(4, BOOTED, FREE, PLUGGED, FREE, FREE) == ["plug cpu1", "plug cpu3"]


def test_the_highest_plugged_are_unplugged_from_the_highest_down_and_no_cold_one() -> None:
    slots = (BOOTED, PLUGGED, FREE, attrs.evolve(PLUGGED, id="b"), BOOTED)
    assert planned(3, *slots) == ["unplug b"]
    assert planned(2, *slots) == ["unplug b", "unplug a"]


def test_what_is_owed_counts_as_done() -> None:
    slots = (BOOTED, COMING, ASKED, LEAVING, FREE)
    assert count(state(*slots)) == 2
    assert planned(2, *slots) == []
    assert planned(1, *slots) == ["unplug c"]
    assert planned(4, *slots) == ["plug cpu2", "plug cpu3"]


def test_only_a_slot_that_owes_nothing_is_begun_with() -> None:
    assert next_change(state(BOOTED, ASKED, LEAVING, FREE), 4) == Change(3, "cpu3", True)
    assert next_change(state(BOOTED, ASKED, LEAVING, FREE), 2) is None
    assert next_change(state(BOOTED, PLUGGED, COMING), 2) is None
    assert next_change(state(BOOTED, PLUGGED, COMING), 1) == Change(1, "a", False)


def test_a_slot_whose_eject_came_to_a_halt_is_neither_there_nor_free() -> None:
    assert count(state(BOOTED, HALTED, FREE)) == 1
    assert planned(3, BOOTED, HALTED, FREE) == ["plug cpu2"]


def test_an_id_is_cpu_and_the_index_or_the_first_beside_it_that_is_free() -> None:
    def named(*ids: str | None) -> State:
        return state(*(attrs.evolve(BOOTED, id=id_) for id_ in ids))

    assert free_id(named("cpu0", "a", None), 2) == "cpu2"
    assert free_id(named("cpu0", "cpu2", None), 2) == "cpu2-2"
    assert free_id(named("cpu2-2", "cpu2", None), 2) == "cpu2-3"
    assert free_id(named("cpu0", "cpu1", None), 1) == "cpu1"  # its own, which is being given up


# ------------------------------------------------------------------ up, down, same


def test_a_target_is_reached_from_below_and_above_and_once_more_does_nothing() -> None:
    async def script(m: LiveMachine, events: list[ev.Event]) -> None:
        up = await m.scale(5)
        assert up == Scaled(5, 5, done=tuple(Change(n, f"cpu{n}", True) for n in (2, 3, 4)))
        assert str(up) == "plugged cpu2, cpu3, cpu4"
        assert enabled(m) == {**COLD, 2: "cpu2", 3: "cpu3", 4: "cpu4"}
        assert all(slot.registered for slot in m.slots[2:5])
        before = len(events)
        assert str(await m.scale(5)) == "5 vCPUs are enabled already"
        assert all(isinstance(event, ev.Noted) for event in events[before:])
        down = await m.scale(3)
        assert (str(down), down.enabled) == ("unplugged cpu4, cpu3", 3)
        assert enabled(m) == {**COLD, 2: "cpu2"}
        assert [slot.state for slot in m.slots[3:]] == [SlotState.PARKED] * 3

    on_paper(Behaviour(), script)


def test_commands_are_given_in_order_and_the_work_on_their_slots_is_under_way_together() -> None:
    async def script(m: LiveMachine, events: list[ev.Event]) -> None:
        await m.scale(6)
        plugs = [n for n, e in enumerate(events) if isinstance(e, ev.PlugAccepted)]
        assert [ev.slot_of(events[n]) for n in plugs] == [2, 3, 4, 5]
        first = next(n for n, e in enumerate(events) if isinstance(e, ev.PlugCompleted))
        assert plugs[-1] < first
        await m.scale(2)
        unplugs = [n for n, e in enumerate(events) if isinstance(e, ev.UnplugAccepted)]
        assert [ev.slot_of(events[n]) for n in unplugs] == [5, 4, 3, 2]
        first = next(n for n, e in enumerate(events) if isinstance(e, ev.UnplugCompleted))
        assert unplugs[-1] < first

    on_paper(Behaviour(), script)


def test_a_guest_is_scaled_and_the_log_says_what_was_done(tmp_path: Path) -> None:
    async def script(m: LiveMachine) -> None:
        await m.scale(6)
        await m.guest.online(5)
        await m.scale(2)
        assert (await m.guest.masks()).enabled == frozenset({0, 1})

    on_played(script, tmp_path / "log")
    notes = [r.event.text for r in records(tmp_path / "log") if isinstance(r.event, ev.Noted)]
    assert notes == [
        "scale to 6: plugged cpu2, cpu3, cpu4, cpu5",
        "scale to 2: unplugged cpu5, cpu4, cpu3, cpu2",
    ]


def test_an_id_that_another_vcpu_has_is_not_taken() -> None:
    async def script(m: LiveMachine, _events: list[ev.Event]) -> None:
        await m.plug("cpu3", core_id=2)
        assert str(await m.scale(4)) == "plugged cpu3-2"
        assert enabled(m) == {**COLD, 2: "cpu3", 3: "cpu3-2"}
        assert str(await m.scale(2)) == "unplugged cpu3-2, cpu3"

    on_paper(Behaviour(), script)


# --------------------------------------------------------------------- what is refused


@pytest.mark.parametrize("to", [-1, 0, 1, 7, 512])
def test_a_target_out_of_bounds_is_refused_with_both_before_anything_is_done(to: int) -> None:
    async def script(m: LiveMachine, events: list[ev.Event]) -> None:
        before = len(events)
        with pytest.raises(ScaleRefused) as refused:
            await m.scale(to, undo=True)
        assert str(refused.value) == (
            f"scale to {to}: this machine can have 2 to 6 vCPUs enabled: 2 are cold-booted and "
            "stay, 6 are possible"
        )
        assert len(events) == before

    on_paper(Behaviour(), script)


def test_a_machine_that_does_not_run_is_not_scaled(tmp_path: Path) -> None:
    async def main() -> None:
        log = tmp_path / "log"
        async with open_machine(found(), CONFIG, GuestScript(), log=log) as machine:
            with pytest.raises(ScaleRefused, match="scale to 4: the machine is defined; boot it"):
                await machine.scale(4)
            await machine.boot()
            await machine.power_off()
            with pytest.raises(RunError, match="powered off by the guest"):
                await machine.scale(2)

    asyncio.run(main())


# ------------------------------------------------------- others at the same machine


def test_of_two_targets_the_last_one_asked_for_is_reached() -> None:
    async def script(m: LiveMachine, _events: list[ev.Event]) -> None:
        for first, last in ((6, 3), (2, 5), (6, 2)):
            one, other = await asyncio.gather(
                m.scale(first, undo=True), m.scale(last, undo=True), return_exceptions=True
            )
            assert isinstance(one, ScaleFailed)
            assert f"scale to {first}: another target, {last}, was asked for" in str(one)
            assert one.scaled.undone == ()  # the last one has the say
            assert isinstance(other, Scaled)
            assert len(enabled(m)) == last

    on_paper(Behaviour(), script)


def test_the_same_target_twice_is_reached_once() -> None:
    async def script(m: LiveMachine, events: list[ev.Event]) -> None:
        one, other = await asyncio.gather(m.scale(6), m.scale(6))
        assert {*one.plugged, *other.plugged} == {"cpu2", "cpu3", "cpu4", "cpu5"}
        assert one.enabled == other.enabled == 6
        assert sum(isinstance(e, ev.PlugAccepted) for e in events) == 4
        assert not any(isinstance(e, ev.Refused) and e.guard != "slot_vacant" for e in events)

    on_paper(Behaviour(), script)


def test_what_others_have_begun_is_waited_for() -> None:
    async def script(m: LiveMachine, _events: list[ev.Event]) -> None:
        await m.begin(st.DeviceAdd("x", (("core-id", 3),)))
        assert str(await m.scale(3)) == "3 vCPUs are enabled already"
        assert enabled(m) == {**COLD, 3: "x"}
        await m.begin(st.DeviceDel("x"))
        assert (await m.scale(2)).done == ()
        assert enabled(m) == COLD
        await m.begin(st.DeviceAdd("x", (("core-id", 3),)))
        assert str(await m.scale(2)) == "unplugged x"  # once its plug had ended
        assert enabled(m) == COLD

    on_paper(Behaviour(), script)


def test_a_slot_that_another_command_took_first_is_passed_over() -> None:
    async def script(m: LiveMachine, events: list[ev.Event]) -> None:
        plug, scaled = await asyncio.gather(m.plug("x", core_id=2), m.scale(4))
        assert plug.slot == 2
        assert [e.guard for e in events if isinstance(e, ev.Refused)] == ["slot_vacant"]
        assert scaled.plugged == ("cpu3",)
        assert len(enabled(m)) == 4

    on_paper(Behaviour(), script)


def test_a_vcpu_that_a_silent_guest_keeps_counts_again(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_machine(
            found(), CONFIG, GuestScript("silent"), log=tmp_path / "log", sync=Sync.OS,
            patience=Patience(guest=0.3),
        ) as machine:  # fmt: skip
            await machine.boot()
            await machine.plug("a", core_id=2)
            await machine.begin(st.DeviceDel("a"))
            scaled = await machine.scale(3)
            assert (scaled.done, scaled.enabled) == ((), 3)

    asyncio.run(asyncio.wait_for(main(), 4 * SOON))


def test_without_waiting_it_is_done_once_all_is_accepted(tmp_path: Path) -> None:
    async def script(m: LiveMachine) -> None:
        begun = await m.scale(5, waits=False)
        assert str(begun) == "accepted: plug cpu2, plug cpu3, plug cpu4"
        assert (await m.scale(5, waits=False)).pending == ()
        await m.scale(5)
        assert len(enabled(m)) == 5

    on_played(script, tmp_path / "log")


def test_in_a_pause_it_is_done_once_all_is_accepted(tmp_path: Path) -> None:
    async def script(m: LiveMachine) -> None:
        await m.scale(4)
        await m.pause()
        asked = await m.scale(2)
        assert str(asked) == "accepted: unplug cpu3, unplug cpu2"
        assert asked.enabled == 4
        await m.resume()
        await m.scale(2)
        assert enabled(m) == COLD

    on_played(script, tmp_path / "log")


# ------------------------------------------------------------------ what goes wrong


def test_a_failure_in_the_middle_says_what_was_done_and_what_was_not() -> None:
    async def script(m: LiveMachine, _events: list[ev.Event]) -> None:
        with pytest.raises(ScaleFailed) as failed:
            await m.scale(5)
        assert str(failed.value) == (
            "scale to 5: plug cpu3 failed: wire failed: as told. Done: plugged cpu2, cpu4. "
            "Failed: plug cpu3. 4 vCPUs are enabled now"
        )
        assert enabled(m) == {**COLD, 2: "cpu2", 4: "cpu4"}

    on_paper(Behaviour(fails={(Step.WIRE, 3)}), script)


def test_what_a_failed_target_had_done_is_taken_back_if_asked() -> None:
    async def script(m: LiveMachine, events: list[ev.Event]) -> None:
        await m.plug("mine", core_id=2)
        with pytest.raises(ScaleFailed) as failed:
            await m.scale(6, undo=True)
        scaled = failed.value.scaled
        assert [str(change) for change in scaled.undone] == ["plug cpu5", "plug cpu3"]
        assert "Done: plugged cpu3, cpu5. Failed: plug cpu4. Taken back: plug cpu5" in str(scaled)
        assert enabled(m) == {**COLD, 2: "mine"}
        await m.until(lambda _s: isinstance(events[-1], ev.Noted), "the note")
        assert events[-1] == ev.Noted(str(failed.value))

    on_paper(Behaviour(fails={(Step.WIRE, 4)}), script)


def test_what_a_guest_refuses_to_give_back_is_said_and_the_rest_is_plugged_again(
    tmp_path: Path,
) -> None:
    async def script(m: LiveMachine) -> None:
        await m.scale(5)
        with pytest.raises(ScaleFailed) as failed:
            await m.scale(2, undo=True)
        scaled = failed.value.scaled
        assert "failed: the guest refuses the eject: busy (0x82)" in str(scaled)
        assert len(scaled.failed) == 1
        assert set(scaled.done) == set(scaled.undone)
        assert len(scaled.done) == 2
        assert enabled(m) == {**COLD, 2: "cpu2", 3: "cpu3", 4: "cpu4"}

    on_played(script, tmp_path / "log", {Notification.EJECT_REQUEST: (0x82,)})


def test_a_vcpu_that_the_guest_does_not_know_is_none_that_was_plugged(tmp_path: Path) -> None:
    """A kernel before 6.11 answers with success, and never has the vCPU."""

    async def main() -> None:
        async with open_machine(
            found(), CONFIG, GuestScript("legacy"), log=tmp_path / "log", sync=Sync.OS
        ) as machine:
            await machine.boot()
            with pytest.raises(ScaleFailed) as failed:
                await machine.scale(4, undo=True)
            assert "plug cpu2 failed: vCPU 2 is plugged, and the guest answered with" in str(
                failed.value
            )
            scaled = failed.value.scaled
            assert [change.slot for change, _ in scaled.failed] == [2, 3]
            assert [change.slot for change in scaled.undone] == [3, 2]
            assert enabled(machine) == COLD

    asyncio.run(asyncio.wait_for(main(), 4 * SOON))


def test_what_cannot_be_taken_back_is_said_with_the_reason(tmp_path: Path) -> None:
    """The guest neither gives a vCPU back, nor those that were plugged meanwhile."""

    async def script(m: LiveMachine, _events: list[ev.Event]) -> None:
        with pytest.raises(ScaleFailed) as failed:
            await m.scale(4, undo=True)
        assert str(failed.value).endswith(
            "Done: plugged cpu2. Failed: plug cpu3. Not taken back: plug cpu2 (the guest refuses "
            "the eject: busy (0x82)). 3 vCPUs are enabled now"
        )

    on_paper(Behaviour(guest="refusing", fails={(Step.WIRE, 3)}), script)


def test_the_machines_end_ends_it_with_the_reason() -> None:
    async def script(m: LiveMachine, _events: list[ev.Event]) -> None:
        with pytest.raises(ScaleFailed, match=r"it died, as told\. Done: nothing\. Failed:"):
            await m.scale(4, undo=True)
        assert await m.ended() == "it died, as told"

    on_paper(Behaviour(dies_at=(Step.ENABLE, 2)), script)


def test_a_command_that_is_refused_leaves_the_rest_unbegun() -> None:
    async def script(m: LiveMachine, _events: list[ev.Event]) -> None:
        await m.begin(st.Migrate())
        with pytest.raises(ScaleFailed) as failed:
            await m.scale(4, undo=True)
        assert str(failed.value) == (
            "scale to 4: plug cpu2 failed: the machine is being migrated or saved; try again "
            "when that has ended. Done: nothing. Failed: plug cpu2. Not begun: plug cpu3. 2 vCPUs "
            "are enabled now"
        )

    on_paper(Behaviour(deaf_to={MachineStep.MIGRATE}), script)


def test_a_reset_ends_the_unplugs_that_wait_for_the_guest_and_the_target(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_machine(
            found(), CONFIG, GuestScript("silent"), log=tmp_path / "log", sync=Sync.OS
        ) as machine:
            await machine.boot()
            await machine.scale(4)
            scaling = asyncio.create_task(machine.scale(2))
            await machine.until(lambda s: count(s) == 2, "the requests")
            await machine.reset()
            with pytest.raises(ScaleFailed, match="unplug cpu3 failed: the machine was reset"):
                await scaling
            assert len(enabled(machine)) == 4

    asyncio.run(asyncio.wait_for(main(), 4 * SOON))
