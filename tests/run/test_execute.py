"""A log's effects, asked of an accelerator that writes down what it is asked."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from attrs import define, field

from hpcore.guest.protocol import Guest
from hpcore.log import LogError
from hpcore.model import events as ev
from hpcore.model import stimuli as st
from hpcore.model.config import MachineConfig
from hpcore.model.effects import (
    AnswerCpuOn,
    Effect,
    MachineStep,
    RunMachineStep,
    RunStep,
    Step,
)
from hpcore.model.psci import PsciStatus
from hpcore.run.accelerator import (
    AcceleratorError,
    Capabilities,
    Console,
    EffectError,
    GuestImages,
    GuestScript,
    Report,
)
from hpcore.run.discovery import Found
from hpcore.run.execute import MOST_EVENTS, Executed, execute_log
from tests.triage.test_replay import write

RESET = RunMachineStep(MachineStep.RESET)


@define
class Scribe:
    """A session, and the accelerator that gives it: writes down each effect.

    `meanwhile` is told of each, and of how to report what happens meanwhile.
    """

    meanwhile: Callable[[Effect, Report], None] = lambda _effect, _report: None
    asked: list[Effect] = field(factory=list)
    closed: bool = False
    never_answers: bool = False
    never_resets: bool = False
    console: Console | None = None
    played: Guest | None = None
    process_id: int | None = None
    _report: Report = lambda _stimulus: None

    def probe(self) -> Capabilities:
        return Capabilities()

    async def open(
        self, machine: MachineConfig, guest: GuestImages | GuestScript | None, report: Report
    ) -> Scribe:
        self._report = report
        return self

    async def execute(self, effect: Effect) -> int | None:
        self.asked.append(effect)
        if isinstance(effect, AnswerCpuOn) and self.never_answers:
            await asyncio.Event().wait()
        if effect == RESET and self.never_resets:
            return None
        self.meanwhile(effect, self._report)
        if effect == RESET:
            self._report(st.ResetSeen())
        for _ in range(5):  # whatever was reported has its turn
            await asyncio.sleep(0)
        return None

    async def close(self) -> None:
        self.closed = True

    def steps(self) -> list[tuple[Step, int]]:
        return [(e.step, e.slot) for e in self.asked if isinstance(e, RunStep)]


def execute(tmp_path: Path, scribe: Scribe, *decisions: Sequence[ev.Event]) -> Executed:
    """Have `scribe` execute a log of `decisions`."""
    log = write(tmp_path / "log", decisions)
    found = Found("scribe", "tests", scribe, scribe.probe())
    # with debug, asyncio minds who calls it from another thread
    done = asyncio.run(asyncio.wait_for(execute_log(log, found, None), 30), debug=True)
    assert scribe.closed
    return done


REALIZES = ((ev.StepBegun(2, Step.REALIZE),), (ev.StepBegun(3, Step.REALIZE),))


# ------------------------------------------------------------ what failed in it


@pytest.mark.parametrize("other_first", [False, True])
@pytest.mark.parametrize("fails", [2, 3])
def test_of_two_slots_the_effect_that_failed_in_the_log_is_left_out_alone(
    tmp_path: Path, fails: int, other_first: bool
) -> None:
    outcomes: list[tuple[ev.Event]] = [
        (ev.StepFailed(slot, Step.REALIZE, "no") if slot == fails
         else ev.StepDone(slot, Step.REALIZE),)
        for slot in (2, 3)
    ]  # fmt: skip
    if other_first:
        outcomes.reverse()
    done = execute(tmp_path, scribe := Scribe(), *REALIZES, *outcomes)
    (other,) = {2, 3} - {fails}
    assert scribe.steps() == [(Step.REALIZE, other)]
    assert (done.done, done.events, done.refused) == (1, 4, None)


def test_another_step_of_the_slot_that_fails_later_is_no_failure_of_this_one(
    tmp_path: Path,
) -> None:
    realize, bind = REALIZES[0], (ev.StepBegun(2, Step.BIND),)
    end = (ev.StepDone(2, Step.REALIZE),), bind, (ev.StepFailed(2, Step.BIND, "no"),)
    done = execute(tmp_path, scribe := Scribe(), realize, *end)
    assert scribe.steps() == [(Step.REALIZE, 2)]
    assert done.done == 1


@pytest.mark.parametrize("fails", [False, True])
def test_an_outcome_that_a_broken_protocol_takes_for_another_steps_is_not_this_ones(
    tmp_path: Path, fails: bool
) -> None:
    failed = [(ev.StepFailed(2, step, "no"),) for step in (Step.REALIZE, Step.BIND)]
    was_done = [(ev.StepDone(2, step),) for step in (Step.REALIZE, Step.BIND)]
    stray, own = (was_done[1], failed[0]) if fails else (failed[1], was_done[0])
    execute(tmp_path, scribe := Scribe(), REALIZES[0], stray, own)
    assert scribe.steps() == ([] if fails else [(Step.REALIZE, 2)])


def test_a_step_that_is_retried_fails_once_and_is_done_once(tmp_path: Path) -> None:
    bind = (ev.StepBegun(2, Step.BIND),)
    failed, was_done = (ev.StepFailed(2, Step.BIND, "no"),), (ev.StepDone(2, Step.BIND, 2),)
    execute(tmp_path, scribe := Scribe(), bind, failed, bind, was_done)
    assert scribe.steps() == [(Step.BIND, 2)]


def test_a_step_that_was_done_and_fails_when_it_comes_again_was_done(tmp_path: Path) -> None:
    bind = (ev.StepBegun(2, Step.BIND),)
    failed, was_done = (ev.StepFailed(2, Step.BIND, "no"),), (ev.StepDone(2, Step.BIND, 2),)
    execute(tmp_path, scribe := Scribe(), bind, was_done, bind, failed)
    assert scribe.steps() == [(Step.BIND, 2)]


def test_steps_that_the_log_has_in_a_pause_are_done_after_it(tmp_path: Path) -> None:
    scribe = Scribe()
    done = execute(
        tmp_path, scribe,
        (ev.MachineStepBegun(MachineStep.PAUSE),), (ev.MachineStepDone(MachineStep.PAUSE),),
        (ev.StepBegun(2, Step.REALIZE),), (ev.StepDone(2, Step.REALIZE),),
        (ev.StepBegun(2, Step.BIND),),
        (ev.MachineStepBegun(MachineStep.RESUME),), (ev.MachineStepDone(MachineStep.RESUME),),
        (ev.StepBegun(3, Step.REALIZE),),
    )  # fmt: skip
    assert done.done == 5
    assert scribe.asked == [
        RunMachineStep(MachineStep.PAUSE), RunMachineStep(MachineStep.RESUME),
        RunStep(Step.REALIZE, 2), RunStep(Step.BIND, 2), RunStep(Step.REALIZE, 3),
    ]  # fmt: skip


def test_what_has_no_outcome_in_the_log_is_done(tmp_path: Path) -> None:
    done = execute(tmp_path, scribe := Scribe(), *REALIZES)
    assert scribe.steps() == [(Step.REALIZE, 2), (Step.REALIZE, 3)]
    assert done.done == 2


def test_a_step_of_the_machine_that_failed_in_the_log_is_left_out(tmp_path: Path) -> None:
    pause = (ev.MachineStepBegun(MachineStep.PAUSE),)
    failed = (ev.MachineStepFailed(MachineStep.PAUSE, "no"),)
    was_done = (ev.MachineStepDone(MachineStep.PAUSE),)
    done = execute(tmp_path, scribe := Scribe(), pause, failed, pause, was_done)
    assert scribe.asked == [RunMachineStep(MachineStep.PAUSE)]
    assert done.done == 1


# ------------------------------------------------------------------ resets in it

ASKED_FOR = (ev.MachineStepBegun(MachineStep.RESET),)
WAS_RESET = (ev.MachineWasReset(()),)


@pytest.mark.parametrize(
    "reset", [(ASKED_FOR, WAS_RESET), (WAS_RESET,)], ids=["asked for", "the guest's own"]
)
def test_each_reset_of_the_log_is_asked_for_once(
    tmp_path: Path, reset: tuple[Sequence[ev.Event], ...]
) -> None:
    scribe = Scribe()
    done = execute(tmp_path, scribe, *reset, REALIZES[0], *reset, REALIZES[1])
    assert scribe.asked == [RESET, RunStep(Step.REALIZE, 2), RESET, RunStep(Step.REALIZE, 3)]
    assert done.done == 4


@pytest.mark.parametrize("reset", [(ASKED_FOR, WAS_RESET), (WAS_RESET,)])
def test_a_reset_that_never_comes_is_given_up_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reset: tuple[Sequence[ev.Event], ...]
) -> None:
    monkeypatch.setattr("hpcore.run.execute.EFFECT_SECONDS", 0.2)
    scribe = Scribe(never_resets=True)
    with pytest.raises(AcceleratorError, match=r"^event 1: .*reset.* not done within 0\.2 s"):
        execute(tmp_path, scribe, *reset, REALIZES[0])
    assert scribe.steps() == []


# ------------------------------------------------------- what the guest does in it


@pytest.mark.parametrize("elsewhere", [False, True], ids=["in the loop", "in a thread"])
def test_a_cpu_on_that_the_core_has_to_answer_is_denied_and_no_other(
    tmp_path: Path, elsewhere: bool
) -> None:
    def meanwhile(effect: Effect, report: Report) -> None:
        if effect != RunStep(Step.REALIZE, 2):
            return
        for call in (st.CpuOnCalled(3, caller=1), st.CpuOnCalled(0, caller=1, verdict=True),
                     st.CpuOnCalled(2, caller=0, verdict=False)):  # fmt: skip
            if elsewhere:
                (thread := threading.Thread(target=report, args=(call,))).start()
                thread.join()
            else:
                report(call)

    done = execute(tmp_path, scribe := Scribe(meanwhile), *REALIZES)
    answers = [e for e in scribe.asked if isinstance(e, AnswerCpuOn)]
    assert answers == [AnswerCpuOn(3, 1, granted=False, status=PsciStatus.DENIED)]
    assert scribe.steps() == [(Step.REALIZE, 2), (Step.REALIZE, 3)]
    assert done.done == 2  # the denial is none of the log's


def test_the_answer_that_the_log_has_to_a_cpu_on_is_not_given_again(tmp_path: Path) -> None:
    granted = (ev.CpuOnGranted(2, 0),)
    done = execute(tmp_path, scribe := Scribe(), granted, REALIZES[0])
    assert scribe.asked == [RunStep(Step.REALIZE, 2)]
    assert done.done == 1


# ------------------------------------------------------------------- its end


def test_an_answer_to_a_cpu_on_that_never_ends_is_not_waited_for(tmp_path: Path) -> None:
    def meanwhile(effect: Effect, report: Report) -> None:
        if isinstance(effect, RunStep):
            report(st.CpuOnCalled(3, caller=1))

    scribe = Scribe(meanwhile, never_answers=True)
    assert execute(tmp_path, scribe, *REALIZES).done == 2
    assert AnswerCpuOn(3, 1, granted=False, status=PsciStatus.DENIED) in scribe.asked


def test_the_first_that_is_refused_ends_it_with_the_accelerators_words(tmp_path: Path) -> None:
    def meanwhile(effect: Effect, _report: Report) -> None:
        if effect == RunStep(Step.REALIZE, 3):
            raise EffectError("that is against my rules")

    done = execute(tmp_path, scribe := Scribe(meanwhile), *REALIZES, REALIZES[0])
    assert scribe.steps() == [(Step.REALIZE, 2), (Step.REALIZE, 3)]
    assert (done.done, done.words) == (1, "that is against my rules")
    assert done.refused is not None
    assert (done.refused.seq, done.refused.event) == (2, REALIZES[1][0])


def test_a_machine_that_is_lost_is_closed_and_said(tmp_path: Path) -> None:
    def meanwhile(_effect: Effect, _report: Report) -> None:
        raise AcceleratorError("it is gone")

    scribe = Scribe(meanwhile)
    with pytest.raises(AcceleratorError, match="it is gone"):
        execute(tmp_path, scribe, *REALIZES)
    assert scribe.closed


def test_a_log_longer_than_a_counterexample_is_refused_before_anything_is_done(
    tmp_path: Path,
) -> None:
    scribe = Scribe()
    with pytest.raises(LogError, match="more than 10000 events; execute a counterexample"):
        execute(tmp_path, scribe, *[(ev.Noted("x"),)] * (MOST_EVENTS + 1))
    assert not scribe.asked
    (tmp_path / "log").unlink()
    done = execute(tmp_path, scribe, *[(ev.Noted("x"),)] * MOST_EVENTS)
    assert (done.done, done.events) == (0, MOST_EVENTS)
