"""The loop: logged before done, nothing waited for in vain, every end a clear one."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from hpcore.log import Header, LogWriter, read
from hpcore.model import events as ev
from hpcore.model import stimuli as st
from hpcore.model.config import MachineConfig
from hpcore.model.decide import Decision, decide
from hpcore.model.effects import AnswerCpuOn, Effect, MachineStep, RunStep, Step
from hpcore.model.fold import Folded
from hpcore.model.machines import Phase, SlotState
from hpcore.model.properties import Violation
from hpcore.model.rules import Rules
from hpcore.model.states import Owed, State, initial
from hpcore.run import controller as room
from hpcore.run import turns
from hpcore.run.accelerator import AcceleratorError
from hpcore.run.controller import TICK, Controller
from hpcore.run.deadlines import Patience
from hpcore.run.errors import CommandRefused, ProtocolBroken, RunError
from tests.support.logs import ListLog
from tests.support.paper import Behaviour, PaperAccelerator, PaperSession

CONFIG = MachineConfig.of(cpus=2, maxcpus=4)
SOON = 15.0
"""Seconds within which what must come comes, on however busy a machine."""

QUICK = Patience(guest=0.4, step=0.4, machine=0.4)
CORE2 = st.DeviceAdd("core2", (("core-id", 2),))


def play(
    behaviour: Behaviour,
    script: Callable[[Controller], Coroutine[Any, Any, None]],
    log: Any = None,
    patience: Patience = QUICK,
) -> tuple[Controller, PaperAccelerator]:
    accelerator = PaperAccelerator(behaviour)
    controller = Controller(
        initial(CONFIG),
        lambda: log or ListLog(),
        lambda r: accelerator.open(CONFIG, None, r),
        patience,
    )

    async def main() -> None:
        async with controller as c:
            await script(c)

    asyncio.run(asyncio.wait_for(main(), 4 * SOON))
    assert accelerator.sessions[0].closed
    return controller, accelerator


async def booted(c: Controller) -> None:
    await c.submit(st.Boot())
    await c.until(lambda s: s.shared.phase is Phase.RUNNING, SOON, "boot")


def slot_is(slot: int, state: SlotState) -> Callable[[State], bool]:
    return lambda s: s.slots[slot].lifecycle is state and s.slots[slot].command is Owed.NONE


async def plugged(c: Controller) -> None:
    await booted(c)
    await c.submit(CORE2)
    await c.until(slot_is(2, SlotState.ENABLED), SOON, "plug")


async def registered(c: Controller) -> None:
    await booted(c)
    await c.submit(CORE2)
    await c.until(lambda s: s.slots[2].registered, SOON, "registration")


async def asked_back(c: Controller) -> None:
    """Of a silent guest, which has done no more than read of the plug."""
    c.post(st.ScanStarted())
    c.post(st.InsertAcked(2))
    await c.submit(st.DeviceDel("core2"))


def given_up(log: ListLog) -> bool:
    return any(isinstance(e, ev.UnplugFailed) for e in log.events)


def test_a_vcpu_is_plugged_and_unplugged() -> None:
    log = ListLog()

    async def script(c: Controller) -> None:
        await registered(c)
        await c.submit(st.DeviceDel("core2"))
        await c.until(slot_is(2, SlotState.PARKED), SOON, "eject")

    play(Behaviour(), script, log)
    assert ev.PlugCompleted(2, "core2") in log.events
    assert ev.UnplugCompleted(2, "core2") in log.events


def test_every_effect_is_in_the_log_before_it_is_executed(tmp_path: Path) -> None:
    path = tmp_path / "log"
    begun_at_execution: list[tuple[Effect, bool]] = []

    def before(effect: Effect) -> None:
        if isinstance(effect, RunStep):
            with read(path)[1] as records:
                begun = [r.event for r in records]
            wanted = ev.StepBegun(effect.slot, effect.step)
            begun_at_execution.append((effect, wanted in begun))

    async def script(c: Controller) -> None:
        await registered(c)

    with LogWriter.create(path, Header(CONFIG, "paper")) as log:
        play(Behaviour(before=before), script, log)
    assert len(begun_at_execution) == 4 + 4 + 5
    assert all(was_logged for _, was_logged in begun_at_execution)


@pytest.mark.parametrize(
    "step", [Step.REALIZE, Step.BIND, Step.WIRE, Step.ENABLE, Step.NOTIFY_INSERT]
)
def test_a_plug_whose_step_fails_is_taken_back_and_reported(step: Step) -> None:
    log = ListLog()

    async def script(c: Controller) -> None:
        await booted(c)
        await c.submit(CORE2)
        await c.until(slot_is(2, SlotState.PARKED), SOON, "the way back")

    _, accelerator = play(Behaviour(fails={(step, 2)}), script, log)
    failed = [e for e in log.events if isinstance(e, ev.PlugFailed)]
    assert [e.error for e in failed] == [f"{step} failed: as told"]
    done = [e.step for e in accelerator.sessions[0].executed
            if isinstance(e, RunStep) and e.slot == 2]  # fmt: skip
    undone = {Step.REALIZE: Step.STOP, Step.BIND: Step.UNBIND, Step.WIRE: Step.UNWIRE,
              Step.ENABLE: Step.DISABLE}  # fmt: skip
    assert all(undone[s] in done for s in done if s in undone)


@pytest.mark.parametrize("step", [Step.DISABLE, Step.UNWIRE, Step.STOP, Step.PARK])
def test_an_eject_whose_step_fails_is_reported_and_can_be_retried(step: Step) -> None:
    behaviour = Behaviour(fails={(step, 2)})
    log = ListLog()

    async def script(c: Controller) -> None:
        await registered(c)
        await c.submit(st.DeviceDel("core2"))
        await c.until(lambda s: s.slots[2].stalled, SOON, "the failure")
        behaviour.fails.clear()
        await c.submit(st.DeviceDel("core2"))
        await c.until(slot_is(2, SlotState.PARKED), SOON, "the eject")

    play(behaviour, script, log)
    ends = [e for e in log.events if isinstance(e, ev.UnplugFailed | ev.UnplugCompleted)]
    assert [type(e) for e in ends] == [ev.UnplugFailed, ev.UnplugCompleted]


def test_a_guest_that_never_answers_ends_the_unplug_with_an_error() -> None:
    log = ListLog()

    async def script(c: Controller) -> None:
        await plugged(c)
        await c.submit(st.DeviceDel("core2"))
        await c.until(lambda _: given_up(log), SOON, "end")

    play(Behaviour(guest="silent"), script, log)
    (failed,) = [e for e in log.events if isinstance(e, ev.UnplugFailed)]
    assert "did not answer" in failed.error


def test_a_guest_has_all_the_time_that_it_is_given() -> None:
    log = ListLog()
    given = 10 * TICK

    async def script(c: Controller) -> None:
        await plugged(c)
        await asked_back(c)
        began = time.monotonic()
        await c.until(lambda _: given_up(log), SOON, "end")
        assert time.monotonic() - began > given - 2 * TICK

    play(Behaviour(guest="silent"), script, log, Patience(guest=given))


def test_a_guest_that_answers_after_its_deadline_still_ejects() -> None:
    log = ListLog()

    async def script(c: Controller) -> None:
        await plugged(c)
        await asked_back(c)
        await c.until(lambda _: given_up(log), SOON, "end")
        c.post(st.EjectCalled(2))
        await c.until(slot_is(2, SlotState.PARKED), SOON, "the late eject")

    play(Behaviour(guest="silent"), script, log)
    assert ev.UnplugCompleted(2, "core2") in log.events


def test_time_stands_still_for_deadlines_while_paused() -> None:
    log = ListLog()

    async def script(c: Controller) -> None:
        await plugged(c)
        await c.submit(st.Pause())
        await c.until(lambda s: s.shared.paused, SOON, "pause")
        await c.submit(st.DeviceDel("core2"))
        with pytest.raises(RunError, match="did not come within"):
            await c.until(lambda s: s.slots[2].command is Owed.NONE, 1.0, "an end")

    play(Behaviour(guest="silent"), script, log)


def test_a_silent_guest_is_given_up_after_a_pause_as_before_it() -> None:
    log = ListLog()

    async def script(c: Controller) -> None:
        await plugged(c)
        await c.submit(st.Pause())
        await c.until(lambda s: s.shared.paused, SOON, "pause")
        await asyncio.sleep(3 * TICK)
        await c.submit(st.Resume())
        await c.until(lambda s: not s.shared.paused, SOON, "resume")
        await asked_back(c)
        await c.until(lambda _: given_up(log), SOON, "an end")

    play(Behaviour(guest="silent"), script, log)


def test_hpcore_standing_still_is_not_the_guests_silence() -> None:
    log = ListLog()

    async def script(c: Controller) -> None:
        await plugged(c)
        await asked_back(c)
        await c.until(lambda s: s.slots[2].requested, SOON, "the request")
        time.sleep(3 * QUICK.guest)  # noqa: ASYNC251 - the loop itself is what stands still
        await asyncio.sleep(TICK / 2)  # and looks at the deadlines before the guest is heard
        c.post(st.EjectCalled(2))
        await c.until(slot_is(2, SlotState.PARKED), SOON, "the eject")

    play(Behaviour(guest="silent"), script, log)
    assert ev.UnplugCompleted(2, "core2") in log.events
    assert not given_up(log)


def test_a_guest_that_refuses_ends_the_unplug_at_once_with_its_reason() -> None:
    log = ListLog()

    async def script(c: Controller) -> None:
        await registered(c)
        await c.submit(st.DeviceDel("core2"))
        await c.until(slot_is(2, SlotState.ENABLED), SOON, "the refusal")

    play(Behaviour(guest="refusing"), script, log, Patience())
    assert any(isinstance(e, ev.UnplugFailed) and "busy" in e.error for e in log.events)


def test_an_accelerator_that_does_not_answer_is_given_up_by_name() -> None:
    log = ListLog()

    async def script(c: Controller) -> None:
        await booted(c)
        await c.submit(CORE2)
        await c.until(lambda s: s.shared.phase is Phase.FAILED, SOON, "the end")

    play(Behaviour(hangs={(Step.WIRE, 2)}), script, log)
    assert ev.MachineLost("the accelerator did not end wire of vCPU 2 in 0.4 s") in log.events
    assert any(isinstance(e, ev.PlugFailed) for e in log.events)


@pytest.mark.parametrize(
    ("step", "command", "says"),
    [
        (MachineStep.RESET, st.Reset(), "the machine was not reset within 0.4 s"),
        (MachineStep.RESTART, st.Reset(), "the accelerator did not end restart in 0.4 s"),
        (MachineStep.PAUSE, st.Pause(), "the accelerator did not end pause in 0.4 s"),
        (MachineStep.POWER_DOWN, st.PowerDown(), "the accelerator did not end power_down in 0.4 s"),
    ],
)
def test_a_step_of_the_machine_that_never_ends_is_given_up_by_name(
    step: MachineStep, command: st.Stimulus, says: str
) -> None:
    log = ListLog()

    async def script(c: Controller) -> None:
        await booted(c)
        await c.submit(command)
        with pytest.raises(RunError, match=says):
            await c.until(lambda _: False, SOON, "what never comes")

    controller, _ = play(Behaviour(deaf_to={step}), script, log)
    assert controller.state.shared.phase is Phase.FAILED
    assert log.events[-1] == ev.MachineLost(says)


def test_a_reset_that_comes_in_time_is_waited_for_no_more() -> None:
    log = ListLog()

    async def script(c: Controller) -> None:
        await booted(c)
        await c.submit(st.Reset())
        await c.until(lambda s: s.shared.phase is Phase.RUNNING, SOON, "the restart")
        await asyncio.sleep(2 * QUICK.machine)

    controller, _ = play(Behaviour(), script, log)
    assert controller.state.shared.phase is Phase.ENDED
    assert log.events[-1] == ev.MachinePoweredOff("user")


# ------------------------------------------------------------------ its end


ENDS = [
    (st.PowerOffSeen(), "the machine was powered off by the guest"),
    (st.PowerDown(), "the machine was powered off by the user"),
    (st.Lost("the board is on fire"), "the board is on fire"),
]


@pytest.mark.parametrize(("end", "says"), ENDS)
def test_what_is_waited_for_is_given_up_with_the_machines_end(end: st.Stimulus, says: str) -> None:
    async def script(c: Controller) -> None:
        await booted(c)
        waiting = asyncio.ensure_future(c.until(lambda _: False, 3 * SOON, "what never comes"))
        await asyncio.sleep(0)  # it waits
        c.post(end)
        for late in (waiting, c.until(lambda _: False, 3 * SOON, "what never comes")):
            with pytest.raises(RunError, match=says):
                await late

    play(Behaviour(), script)


def test_what_is_waited_for_is_given_up_when_the_loop_fails_then_and_later() -> None:
    log = ListLog()

    async def script(c: Controller) -> None:
        await booted(c)
        waiting = asyncio.ensure_future(c.until(lambda _: False, 3 * SOON, "what never comes"))
        await asyncio.sleep(0)  # it waits
        log.room = 0
        c.post(st.Note("one too many"))
        for late in (waiting, c.until(lambda _: False, 3 * SOON, "what never comes")):
            with pytest.raises(RunError, match="No space left"):
                await late
        with pytest.raises(RunError, match="No space left"):
            await c.submit(st.Note("and another"))

    controller, _ = play(Behaviour(), script, log)
    assert isinstance(controller.failure, OSError)
    assert not controller.state.shared.ended  # nobody knows of it: the log has no room


def test_a_machine_that_is_off_is_left_as_it_is_and_logs_no_other_end() -> None:
    log = ListLog()

    async def script(c: Controller) -> None:
        await booted(c)
        c.post(st.PowerOffSeen())
        await c.ended()

    controller, accelerator = play(Behaviour(), script, log)
    assert controller.state.shared.phase is Phase.OFF
    assert log.events[-1] == ev.MachinePoweredOff("guest")
    steps = [getattr(e, "step", None) for e in accelerator.sessions[0].executed]
    assert MachineStep.POWER_DOWN not in steps


def test_what_a_machine_that_is_off_still_owes_ends_when_it_is_left() -> None:
    log = ListLog()

    async def script(c: Controller) -> None:
        await booted(c)
        await c.submit(st.DeviceAdd("core2", (("core-id", 2),)))
        c.post(st.PowerOffSeen())
        await c.until(lambda s: s.shared.phase is Phase.OFF, SOON, "the power-off")

    controller, _ = play(Behaviour(hangs={(Step.REALIZE, 2)}), script, log)
    assert controller.state.shared.phase is Phase.ENDED
    assert ev.PlugFailed(2, "core2", "the machine was powered off") in log.events


def test_a_machine_that_is_off_goes_on_taking_commands() -> None:
    async def script(c: Controller) -> None:
        await booted(c)
        for _ in range(2):
            session = accelerator_of(c)
            session.powers_itself_off()
            await c.until(lambda s: s.shared.phase is Phase.OFF, SOON, "the power-off")
            await c.submit(st.Reset())
            await c.until(lambda s: s.shared.phase is Phase.RESETTING, SOON, "the reset")
            await c.submit(st.Resume())
            await c.until(lambda s: s.shared.phase is Phase.RUNNING, SOON, "the restart")
        assert c.why_ended() == "the machine has ended"

    play(Behaviour(), script)


def accelerator_of(c: Controller) -> PaperSession:
    assert isinstance(c.session, PaperSession)
    return c.session


def test_what_holds_at_the_end_is_found_though_the_machine_has_ended() -> None:
    async def script(c: Controller) -> None:
        await booted(c)
        c.post(st.PowerOffSeen())
        await c.ended()
        await c.until(lambda s: s.shared.phase is Phase.OFF, SOON, "the end")

    play(Behaviour(), script)


@pytest.mark.parametrize(("end", "says"), [*ENDS, (None, "No space left")])
def test_the_end_is_awaited_and_not_taken_for_come(end: st.Stimulus | None, says: str) -> None:
    log = ListLog()

    async def script(c: Controller) -> None:
        await booted(c)
        waiting = asyncio.ensure_future(c.ended())
        await asyncio.sleep(2 * TICK)
        assert not waiting.done()
        if end is None:
            log.room = 0
        c.post(end or st.Note("one too many"))
        await asyncio.wait_for(waiting, SOON)
        assert c.state.shared.halted or c.failure is not None
        assert says in c.why_ended()
        await asyncio.wait_for(c.ended(), SOON)

    play(Behaviour(), script, log)


def test_an_accelerator_that_dies_ends_every_command_with_an_error() -> None:
    log = ListLog()

    async def script(c: Controller) -> None:
        await booted(c)
        await c.submit(CORE2)
        await c.until(lambda s: s.shared.phase is Phase.FAILED, SOON, "the end")
        with pytest.raises(RunError):
            await c.submit(CORE2)

    play(Behaviour(dies_at=(Step.ENABLE, 2)), script, log)
    assert isinstance(log.events[-1], ev.MachineLost)
    assert ev.PlugFailed(2, "core2", "it died, as told") in log.events


def test_an_accelerator_with_a_fault_of_its_own_ends_the_machine_and_is_named() -> None:
    log = ListLog()

    def before(effect: Effect) -> None:
        if effect == RunStep(Step.REALIZE, 2):
            raise ZeroDivisionError("of all things")

    async def script(c: Controller) -> None:
        await booted(c)
        await c.submit(CORE2)
        await asyncio.wait_for(c.ended(), SOON)
        assert c.why_ended().endswith("raised ZeroDivisionError: of all things")
        assert "realize" in c.why_ended().lower()

    play(Behaviour(before=before), script, log)
    assert isinstance(log.events[-1], ev.MachineLost)


def test_a_full_disk_stops_the_run_before_anything_undone_is_done() -> None:
    log = ListLog(room=20)

    async def script(c: Controller) -> None:
        await c.submit(st.Boot())
        with pytest.raises(RunError, match="No space left"):
            await c.until(lambda s: s.shared.phase is Phase.RUNNING, SOON, "boot")

    _, accelerator = play(Behaviour(), script, log)
    begun = [(e.slot, e.step) for e in log.events if isinstance(e, ev.StepBegun)]
    done = [(e.slot, e.step) for e in accelerator.sessions[0].executed if isinstance(e, RunStep)]
    assert set(done) <= set(begun)


def test_a_refused_command_raises_with_the_guards_words() -> None:
    async def script(c: Controller) -> None:
        await booted(c)
        with pytest.raises(CommandRefused, match="cold-booted") as refusal:
            await c.submit(st.DeviceDel("cpu0"))
        assert refusal.value.event.guard == "not_cold_booted"

    play(Behaviour(), script)


def test_what_was_posted_and_not_decided_is_not_quiet() -> None:
    async def script(c: Controller) -> None:
        await registered(c)
        await c.until(lambda _: c.quiet, SOON, "all that was posted")
        c.post(st.Note("one more"))
        assert not c.quiet

    play(Behaviour(), script)


def test_a_command_is_answered_with_its_events() -> None:
    async def script(c: Controller) -> None:
        await booted(c)
        assert await c.submit(st.Note("a word")) == (ev.Noted("a word"),)
        assert ev.PlugAccepted(2, "core2") in await c.submit(CORE2)

    play(Behaviour(), script)


def test_a_stimulus_from_a_thread_wakes_a_loop_that_sleeps(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(room, "TICK", 10 * SOON)  # nothing else may wake it

    async def script(c: Controller) -> None:
        await booted(c)
        thread = threading.Timer(0.1, c.post, [st.PowerDown()])
        thread.start()
        await asyncio.wait_for(c.ended(), SOON)

    play(Behaviour(), script)


def test_stimuli_may_come_from_any_thread() -> None:
    log = ListLog()

    async def script(c: Controller) -> None:
        await booted(c)

        def post_fifty() -> None:
            for _ in range(50):
                c.post(st.Note("t"))

        threads = [threading.Thread(target=post_fifty) for _ in range(4)]
        for thread in threads:
            thread.start()
        await c.until(lambda _: log.events.count(ev.Noted("t")) == 200, SOON, "all notes")
        for thread in threads:
            thread.join()

    play(Behaviour(), script, log)


def test_every_decision_has_a_time_of_its_own() -> None:
    log = ListLog()

    async def script(c: Controller) -> None:
        await booted(c)
        for _ in range(500):
            c.post(st.Note("quick"))
        await c.until(lambda _: log.events.count(ev.Noted("quick")) == 500, SOON, "all notes")

    began = time.monotonic()
    play(Behaviour(), script, log)
    assert log.times == sorted(set(log.times))
    assert log.times[0] >= 0
    assert log.times[-1] <= time.monotonic() - began


def test_leaving_ends_the_machine_and_says_so() -> None:
    log = ListLog()
    controller, accelerator = play(Behaviour(), booted, log)
    assert controller.state.shared.phase is Phase.ENDED
    assert log.events[-1] == ev.MachinePoweredOff("user")
    steps = [getattr(e, "step", None) for e in accelerator.sessions[0].executed]
    assert MachineStep.POWER_DOWN in steps


def test_a_reset_keeps_what_is_plugged() -> None:
    async def script(c: Controller) -> None:
        await registered(c)
        await c.submit(st.CpuOnCalled(2))
        await c.until(lambda s: s.slots[2].powered, SOON, "vCPU 2")
        await c.submit(st.Reset())
        await c.until(
            lambda s: s.shared.phase is Phase.RUNNING and not s.slots[2].powered, SOON, "reset"
        )
        assert c.state.slots[2].lifecycle is SlotState.ENABLED
        assert c.state.slots[0].lifecycle is SlotState.ONLINE

    play(Behaviour(), script)


def test_a_grant_against_the_policy_ends_the_machine() -> None:
    log = ListLog()

    async def script(c: Controller) -> None:
        await booted(c)
        c.post(st.CpuOnCalled(3, verdict=True))
        await c.until(lambda s: s.shared.phase is Phase.FAILED, SOON, "the end")

    play(Behaviour(), script, log)
    assert "granted CPU_ON of vCPU 3" in log.events[-1].error


def test_a_broken_invariant_stops_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(state: State, events: Sequence[ev.Event], *_: Any, **_by: Any) -> Iterator[Folded]:
        yield Folded(state, events[0], state, Violation("parked_is_inert", 1, "says."))

    async def script(c: Controller) -> None:
        with pytest.raises(RunError):
            await booted(c)

    monkeypatch.setattr(turns, "steps", broken)
    controller, _ = play(Behaviour(), script)
    assert isinstance(controller.failure, ProtocolBroken)


def test_an_answer_that_is_wrong_is_logged_and_not_given(monkeypatch: pytest.MonkeyPatch) -> None:
    """CPU_ON of an enabled vCPU that is off, and DENIED: no event of it is wrong by itself."""
    log = ListLog()

    def denies(state: State, stimulus: st.Stimulus, rules: Rules) -> Decision:
        if isinstance(stimulus, st.CpuOnCalled):
            return Decision((ev.CpuOnDenied(stimulus.slot, stimulus.caller, -3),), state, (state,))
        return decide(state, stimulus, rules)

    async def script(c: Controller) -> None:
        await plugged(c)
        c.post(st.CpuOnCalled(2))
        with pytest.raises(RunError):
            await c.until(lambda s: s.slots[2].powered, SOON, "CPU_ON")

    monkeypatch.setattr(turns, "decide", denies)
    controller, accelerator = play(Behaviour(guest="silent"), script, log)
    assert isinstance(controller.failure, ProtocolBroken)
    assert controller.failure.violation.invariant == "cpu_on_answered"
    assert "the answer to CpuOnCalled" in str(controller.failure)
    assert isinstance(log.events[-1], ev.CpuOnDenied)
    assert not any(isinstance(e, AnswerCpuOn) for e in accelerator.sessions[0].executed)


def test_a_machine_that_cannot_run_here_leaves_no_log() -> None:
    opened: list[ListLog] = []

    def open_log() -> ListLog:
        opened.append(ListLog())
        return opened[0]

    async def cannot(_report: object) -> Any:
        raise AcceleratorError("not here")

    async def main() -> None:
        async with Controller(initial(CONFIG), open_log, cannot):
            pass

    with pytest.raises(AcceleratorError, match="not here"):
        asyncio.run(main())
    assert not opened


def test_a_log_that_cannot_be_opened_closes_the_session() -> None:
    accelerator = PaperAccelerator()

    def open_log() -> ListLog:
        raise OSError(28, "No space left on device")

    async def main() -> None:
        async with Controller(
            initial(CONFIG), open_log, lambda r: accelerator.open(CONFIG, None, r)
        ):
            pass

    with pytest.raises(OSError, match="No space"):
        asyncio.run(main())
    assert accelerator.sessions[0].closed
