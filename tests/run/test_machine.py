"""The live machine: what a command comes to, whoever else is at the machine meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from hpcore.errors import HpcoreError
from hpcore.guest.errors import GuestError
from hpcore.guest.kernel import KernelImage
from hpcore.log import Sync, read
from hpcore.model import events as ev
from hpcore.model import stimuli as st
from hpcore.model.config import MachineConfig
from hpcore.model.effects import Effect, MachineStep, RunStep, Step
from hpcore.model.machines import Phase, SlotState
from hpcore.model.states import State, initial
from hpcore.run import (
    AcceleratorError,
    Capabilities,
    CommandFailed,
    CommandRefused,
    Controller,
    EffectError,
    Found,
    GuestImages,
    GuestScript,
    LiveMachine,
    NeverRegistered,
    Patience,
    Plug,
    PlugStage,
    RunError,
    find,
    fit,
    open_machine,
)
from hpcore.triage.replay import replay
from tests.qemu.support import needs_qemu
from tests.run.test_controller import QUICK, SOON
from tests.support.logs import ListLog
from tests.support.paper import Behaviour, PaperAccelerator
from tests.support.played import PlayedAccelerator, found

CONFIG = MachineConfig.of(cpus=2, maxcpus=4)
CORE2 = {"core-id": 2}
SLOW = Patience(end=SOON, boot=SOON)

Script = Callable[[LiveMachine, Controller], Awaitable[None]]


def on_paper(
    behaviour: Behaviour, script: Script, patience: Patience = SLOW, *, booted: bool = True
) -> None:
    """Play `script` on a machine whose accelerator and guest are on paper."""
    accelerator = PaperAccelerator(behaviour)
    controller = Controller(
        initial(CONFIG), ListLog, lambda r: accelerator.open(CONFIG, None, r), patience
    )

    async def main() -> None:
        machine = LiveMachine(controller)
        async with controller:
            if booted:
                await machine.boot()
            await script(machine, controller)

    asyncio.run(asyncio.wait_for(main(), 4 * SOON))


def on_played(script: Callable[[LiveMachine], Awaitable[None]], log: Path) -> None:
    """Play `script` on a machine with a played Linux, booted."""

    async def main() -> None:
        async with open_machine(found(), CONFIG, GuestScript(), log=log, sync=Sync.OS) as machine:
            await machine.boot()
            await script(machine)

    asyncio.run(asyncio.wait_for(main(), 4 * SOON))


def found_paper(capabilities: Capabilities | None = None) -> Found:
    paper = PaperAccelerator()
    return Found("paper", "tests", paper, capabilities or paper.probe())


def guest_registers(controller: Controller, slot: int) -> None:
    """What a silent guest did not do when it was notified."""
    for call in (
        st.ScanStarted(), st.InsertAcked(slot), st.ScanEnded(), st.OstReported(slot, 1, 0),
    ):  # fmt: skip
        controller.post(call)


def plugged_and_silent(machine: LiveMachine) -> Awaitable[None]:
    return machine.until(
        lambda s: s.slots[2].insert and s.slots[2].step is None, "the notification"
    )


# ------------------------------------------------------------- stages of a plug


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


def test_a_machine_is_not_at_rest_while_a_command_is_owed_an_end() -> None:
    async def script(m: LiveMachine, c: Controller) -> None:
        await (await m.begin(st.DeviceAdd("core2", (("core-id", 2),)))).ended()
        guest_registers(c, 2)
        await m.until(lambda _s: m.at_rest, "rest after the plug")
        unplug = await m.begin(st.DeviceDel("core2"))
        await m.until(lambda s: s.slots[2].requested and s.slots[2].step is None, "the request")
        for call in (st.ScanStarted(), st.RemoveAcked(2), st.ScanEnded()):
            c.post(call)
        await m.until(lambda s: not s.slots[2].remove and not s.shared.scanning, "the scan")
        assert not m.at_rest, "the unplug has not ended"
        c.post(st.EjectCalled(2))
        assert await unplug.ended()
        assert not m.at_rest, "the guest has not said how its eject went"
        c.post(st.OstReported(2, 3, 0))
        await m.until(lambda _s: m.at_rest, "rest after the guest's word")

    on_paper(Behaviour(guest="silent"), script)


def test_a_machine_says_how_it_runs() -> None:
    async def script(m: LiveMachine, _c: Controller) -> None:
        assert m.config == m.state.config
        assert (m.config.topology.cpus, m.config.possible) == (2, 4)

    on_paper(Behaviour(), script)


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


# ----------------------------------------------------------------------- unplug


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


# ----------------------------------------------------------- several at a time


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


def test_force_ends_the_unplug_that_a_silent_guest_left_waiting() -> None:
    async def script(m: LiveMachine, c: Controller) -> None:
        await (await m.begin(st.DeviceAdd("core2", (("core-id", 2),)))).ended()
        guest_registers(c, 2)
        asked = [await m.begin(st.DeviceDel("core2")) for _ in range(2)]
        await m.unplug("core2", force=True)
        assert [await unplug.ended() for unplug in asked] == [True, True]

    on_paper(Behaviour(guest="silent"), script)


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


# -------------------------------------------------------------- the whole machine


def test_a_device_may_be_named_migration(tmp_path: Path) -> None:
    async def script(m: LiveMachine) -> None:
        await m.plug("migration", core_id=2)
        with pytest.raises(CommandFailed, match="there is nowhere to go") as failed:
            await m.migrate()
        assert isinstance(failed.value.event, ev.MachineStepFailed)
        assert failed.value.event.step is MachineStep.MIGRATE
        await m.unplug("migration")

    on_played(script, tmp_path / "log")


def test_a_plug_that_failed_under_the_name_migration_fails_no_migration() -> None:
    async def script(m: LiveMachine, _c: Controller) -> None:
        with pytest.raises(CommandFailed):
            await m.plug("migration", core_id=2)
        await m.until(lambda s: not s.slots[2].busy, "the way back")
        await m.migrate()

    on_paper(Behaviour(fails={(Step.WIRE, 2)}), script)


def test_a_pause_of_what_is_paused_and_a_resumption_of_what_runs_change_nothing() -> None:
    async def script(m: LiveMachine, _c: Controller) -> None:
        await m.resume()
        running = m.last_seq
        await m.pause()
        assert m.state.shared.paused
        paused = m.last_seq
        await m.pause()
        assert (running, paused, m.last_seq) == (running, running + 2, running + 2)
        await m.resume()
        assert not m.state.shared.paused

    on_paper(Behaviour(), script)


def test_a_pause_that_is_given_twice_at_once_is_waited_for_twice() -> None:
    async def script(m: LiveMachine, _c: Controller) -> None:
        await asyncio.gather(m.pause(), m.pause())
        assert m.state.shared.paused
        await asyncio.gather(m.resume(), m.resume())
        assert not m.state.shared.paused

    on_paper(Behaviour(), script)


def test_a_reset_in_a_pause_starts_the_guest_when_it_is_resumed() -> None:
    async def script(m: LiveMachine, _c: Controller) -> None:
        await m.pause()
        await m.reset()
        await m.reset()
        assert m.state.shared.phase is Phase.RESETTING and m.state.shared.paused
        await m.resume()
        await m.until(lambda s: s.shared.phase is Phase.RUNNING, "the restart", SOON)

    on_paper(Behaviour(), script)


def test_a_reset_returns_when_the_guest_has_booted_again(tmp_path: Path) -> None:
    async def script(m: LiveMachine) -> None:
        await m.plug("core2", core_id=2)
        await m.guest.online(2)
        await m.reset()
        masks = await m.guest.masks()
        assert masks.enabled == frozenset({0, 1, 2})
        assert m.at_rest

    on_played(script, tmp_path / "log")


def test_a_start_that_fails_says_why() -> None:
    accelerator = PaperAccelerator(Behaviour(fails={(Step.WIRE, 1)}))
    controller = Controller(
        initial(CONFIG), ListLog, lambda r: accelerator.open(CONFIG, None, r), SLOW
    )

    async def main() -> None:
        machine = LiveMachine(controller)
        async with controller:
            with pytest.raises(RunError, match="cold-booted vCPU 1: wire failed: as told"):
                await machine.boot()

    asyncio.run(asyncio.wait_for(main(), SOON))


def test_a_machine_without_a_guest_has_none_to_ask() -> None:
    async def script(m: LiveMachine, _c: Controller) -> None:
        with pytest.raises(RunError, match="no guest that could do that"):
            await m.power_off()
        await m.power_down()
        assert await m.ended() == "the machine was powered off by the user"

    on_paper(Behaviour(), script)


def test_before_the_boot_there_is_no_guest_to_ask(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_machine(found(), CONFIG, GuestScript(), log=tmp_path / "log") as machine:
            with pytest.raises(RunError, match="boot the machine first"):
                await machine.guest.online(1)

    asyncio.run(main())


def test_the_guest_powers_the_machine_off(tmp_path: Path) -> None:
    async def script(m: LiveMachine) -> None:
        await m.power_off()
        assert await m.ended() == "the machine was powered off by the guest"
        with pytest.raises(CommandRefused, match="the machine is off"):
            await m.plug("core2", core_id=2)
        with pytest.raises(GuestError):
            await m.guest.online(1)

    on_played(script, tmp_path / "log")


def test_a_machine_that_is_off_is_reset_and_boots_when_it_is_resumed(tmp_path: Path) -> None:
    async def script(m: LiveMachine) -> None:
        await m.plug("core2", core_id=2)
        await m.power_off()
        with pytest.raises(CommandRefused, match="Resetting the Virtual Machine is required"):
            await m.resume()
        await m.pause()  # it stands still already
        await m.reset()
        assert m.state.shared.phase is Phase.RESETTING
        await m.resume()
        await m.guest_ready()
        assert (await m.guest.masks()).enabled == frozenset({0, 1, 2})
        assert m.why_ended() == "the machine has ended"
        await m.unplug("core2")

    on_played(script, tmp_path / "log")
    assert replay(tmp_path / "log").ok


def test_what_is_plugged_before_the_boot_is_there_when_the_guest_has_booted() -> None:
    async def script(m: LiveMachine, _c: Controller) -> None:
        plug = await m.plug("core2", core_id=2)
        assert plug.stage is PlugStage.ACCEPTED
        await m.start()
        assert await plug.registered()
        assert m.state.enabled == (0, 1, 2)

    on_paper(Behaviour(), script, booted=False)


def test_an_accelerator_that_dies_ends_all_that_is_waited_for() -> None:
    async def script(m: LiveMachine, _c: Controller) -> None:
        never: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        guest_work = asyncio.create_task(m.unless_ended(never))
        with pytest.raises(CommandFailed, match="it died, as told"):
            await m.plug("core2", core_id=2)
        with pytest.raises(RunError, match="it died, as told"):
            await guest_work
        assert await m.ended() == "it died, as told"
        with pytest.raises(RunError, match="it died, as told"):
            await m.reset()
        assert m.state.shared.phase is Phase.FAILED

    on_paper(Behaviour(dies_at=(Step.ENABLE, 2)), script)


def test_what_is_asked_of_the_guest_may_take_longer_than_its_last_words(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("hpcore.run.waiting.LAST_WORDS_SECONDS", 0.01)

    async def script(m: LiveMachine, _c: Controller) -> None:
        assert await m.unless_ended(asyncio.sleep(0.2, "done")) == "done"

    on_paper(Behaviour(), script)


@pytest.mark.parametrize("ends", [LiveMachine.power_off, LiveMachine.power_down])
def test_an_end_that_does_not_come_is_said_to_be_missing(
    ends: Callable[[LiveMachine], Awaitable[None]],
) -> None:
    class StaysOn:
        async def wait_ready(self, seconds: float) -> None:
            pass

        async def power_off(self) -> None:
            pass

    async def script(m: LiveMachine, c: Controller) -> None:
        c.session.played = StaysOn()  # type: ignore[misc, assignment]
        await m.guest_ready()
        with pytest.raises(RunError, match=r"^the machine's end did not come within 0\.3 s"):
            await ends(m)
        c.post(st.Lost("enough"))

    on_paper(Behaviour(deaf_to={MachineStep.POWER_DOWN}), script, Patience(end=0.3, boot=SOON))


# ------------------------------------------------------ what is seen from outside


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


# ---------------------------------------------------------------------- opening


def test_what_an_accelerator_cannot_run_is_refused_before_there_is_a_log(tmp_path: Path) -> None:
    log = tmp_path / "log"

    async def opened(capabilities: Capabilities) -> None:
        async with open_machine(found_paper(capabilities), CONFIG, log=log):
            raise AssertionError("it was opened")

    with pytest.raises(AcceleratorError, match="'paper' cannot run here: no luck"):
        asyncio.run(opened(Capabilities(unavailable="no luck")))
    with pytest.raises(AcceleratorError, match=r"4 possible vCPUs; 'paper' can run 3 here"):
        asyncio.run(opened(Capabilities(max_vcpus=3)))
    assert not log.exists()


def test_a_machine_is_capped_to_what_its_accelerator_can_do() -> None:
    fitted = fit(found_paper(Capabilities(no_hotplug="it is on paper")), CONFIG)
    assert (fitted.possible, fitted.no_hotplug) == (2, "it is on paper")
    assert fit(found_paper(), CONFIG) == CONFIG


def test_the_logs_head_says_that_a_guest_was_played(tmp_path: Path) -> None:
    async def script(_m: LiveMachine) -> None:
        pass

    on_played(script, tmp_path / "log")
    assert read(tmp_path / "log")[0].versions["kernel"] == "linux (played)"


@pytest.mark.parametrize("version", ["6.12.9", None])
def test_the_logs_head_names_what_ran(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str | None
) -> None:
    kernel = KernelImage("kernel", b"", packed=False, version=version, memory_size=0)
    monkeypatch.setattr("hpcore.run.open.load_kernel", lambda path: kernel)
    monkeypatch.setattr("hpcore.guest.boot.prepare", lambda *_: None)
    capabilities = Capabilities(
        versions={"paper": "A4"}, modelled={"time": "by hand"}, differs={"ink": "blue"}
    )
    images = GuestImages(tmp_path / "kernel", tmp_path / "initrd")

    async def main() -> None:
        async with open_machine(found_paper(capabilities), CONFIG, images, log=tmp_path / "log"):
            pass

    asyncio.run(asyncio.wait_for(main(), SOON))
    header = read(tmp_path / "log")[0]
    assert header.versions.get("kernel") == version
    assert (header.accelerator, header.versions["paper"]) == ("paper", "A4")
    assert (header.modelled, header.differs) == ({"time": "by hand"}, {"ink": "blue"})


def test_all_that_happened_is_in_the_log_once_the_machine_is_left(tmp_path: Path) -> None:
    log = tmp_path / "log"

    async def main() -> LiveMachine:
        async with open_machine(found_paper(), CONFIG, log=log, sync=Sync.OS) as machine:
            await machine.boot()
            machine.note("a word")
            await machine.plug("core2", core_id=2)
        return machine

    machine = asyncio.run(main())
    header, records = read(log)
    with records:
        logged = [record.event for record in records]
    assert (header.accelerator, header.machine) == ("paper", CONFIG)
    assert len(logged) == machine.last_seq
    assert ev.Noted("a word") in logged
    assert logged[-1] == ev.MachinePoweredOff("user")
    assert machine.why_ended() == "the machine was powered off by the user"


def test_a_body_that_raises_ends_the_machine_and_is_heard(tmp_path: Path) -> None:
    log, accelerator = tmp_path / "log", PlayedAccelerator()

    async def main() -> None:
        async with open_machine(found(accelerator), CONFIG, GuestScript(), log=log) as machine:
            await machine.boot()
            raise HpcoreError("enough")

    with pytest.raises(HpcoreError, match="enough"):
        asyncio.run(main())
    assert replay(log).ok


@needs_qemu
def test_a_real_qemu_is_driven_from_python(tmp_path: Path) -> None:
    log = tmp_path / "log"

    async def main() -> None:
        async with open_machine(
            find("qtest"), MachineConfig.of(2, 4, memory=256), GuestScript(), log=log, sync=Sync.OS
        ) as machine:
            await machine.boot()
            await asyncio.gather(machine.plug("core2", core_id=2), machine.plug("x", core_id=3))
            await machine.guest.online(2)
            await machine.until(lambda s: s.slots[2].powered, "vCPU 2")
            await machine.migrate()
            assert machine.slot("core2").state is SlotState.ONLINE
            await machine.guest.offline(2)
            await machine.unplug("core2")
            await machine.pause()
            plug = await machine.plug("core2", core_id=2)
            assert plug.stage is PlugStage.ACCEPTED
            await machine.resume()
            assert await plug.registered()
            await machine.reset()
            assert (await machine.guest.masks()).enabled == frozenset({0, 1, 2, 3})
            with pytest.raises(CommandRefused, match="cold-booted"):
                await machine.unplug("cpu0")
            await machine.power_off()

    asyncio.run(asyncio.wait_for(main(), 8 * SOON))
    assert replay(log).ok
