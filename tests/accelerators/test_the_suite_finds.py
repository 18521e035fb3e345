"""Each promise can be broken, and is found: an accelerator a promise that keeps all but that."""

from __future__ import annotations

import asyncio
import os
import subprocess
import threading
import time
from collections.abc import Callable

import attrs
import pytest

from hpcore.guest.played import PlayedGuest
from hpcore.model import stimuli as st
from hpcore.model.config import MachineConfig
from hpcore.model.effects import (
    NOTIFICATIONS,
    AnswerCpuOn,
    Effect,
    MachineStep,
    RaiseGed,
    Reassert,
    RunMachineStep,
    RunStep,
    Step,
)
from hpcore.promises import PROMISES, Promise, PromiseBroken, Subject
from hpcore.promises.guests import SLOT
from hpcore.run.accelerator import (
    AcceleratorError,
    Capabilities,
    Console,
    EffectError,
    GuestImages,
    GuestScript,
    Report,
    Session,
)
from hpcore.run.deadlines import Patience
from hpcore.run.gate import Stage
from tests.support.played import PlayedAccelerator, PlayedSession

SECONDS = 1.0
"""What hangs is found after that."""

SHORT = Patience(guest=SECONDS, step=SECONDS, machine=SECONDS, boot=SECONDS, end=SECONDS)

FINDS: dict[str, Callable[[], PlayedAccelerator]] = {}


def breaks(promise: str) -> Callable[[type[PlayedAccelerator]], type[PlayedAccelerator]]:
    """The accelerator breaks that promise."""

    def noted(accelerator: type[PlayedAccelerator]) -> type[PlayedAccelerator]:
        FINDS[promise] = accelerator
        return accelerator

    return noted


def session_breaks(promise: str) -> Callable[[type[PlayedSession]], type[PlayedSession]]:
    """The sessions of an accelerator break that promise."""

    def noted(session: type[PlayedSession]) -> type[PlayedSession]:
        class Broken(PlayedAccelerator):
            make = session

        FINDS[promise] = Broken
        return session

    return noted


def is_step(effect: Effect, *steps: Step) -> bool:
    return isinstance(effect, RunStep) and effect.step in steps


def is_machine_step(effect: Effect, step: MachineStep) -> bool:
    return isinstance(effect, RunMachineStep) and effect.step is step


# ------------------------------------------------------------------ probe and open


@breaks("probe_is_quick_and_starts_nothing")
class LeavesAThread(PlayedAccelerator):
    def probe(self) -> Capabilities:
        threading.Thread(target=time.sleep, args=(0.5,), daemon=True).start()
        return super().probe()


@breaks("probe_never_raises")
class AsksAProgram(PlayedAccelerator):
    def probe(self) -> Capabilities:
        subprocess.run(["true"], check=True)
        return super().probe()


@breaks("capabilities_are_explained_in_words_that_exist")
class Misspells(PlayedAccelerator):
    def probe(self) -> Capabilities:
        return attrs.evolve(super().probe(), differs={"step_done.afinity": "it has none"})


@breaks("open_starts_nothing")
class StartsAtOnce(PlayedAccelerator):
    async def open(
        self, machine: MachineConfig, guest: GuestImages | GuestScript | None, report: Report
    ) -> PlayedSession:
        threading.Thread(target=time.sleep, args=(0.5,), daemon=True).start()
        return await super().open(machine, guest, report)


@breaks("open_refuses_the_other_kind_of_guest")
class TakesAnyGuest(PlayedAccelerator):
    async def open(
        self, machine: MachineConfig, guest: GuestImages | GuestScript | None, report: Report
    ) -> PlayedSession:
        script = guest if isinstance(guest, GuestScript) else GuestScript()
        return await super().open(machine, script, report)


@breaks("open_refuses_a_guest_that_there_is_not")
class LetsTheErrorThrough(PlayedAccelerator):
    async def open(
        self, machine: MachineConfig, guest: GuestImages | GuestScript | None, report: Report
    ) -> PlayedSession:
        if isinstance(guest, GuestScript):
            return PlayedSession(machine, guest, report)
        return await super().open(machine, guest, report)


@breaks("open_refuses_more_vcpus_than_max_vcpus")
class ForgetsItsLimit(PlayedAccelerator):
    def probe(self) -> Capabilities:
        return attrs.evolve(super().probe(), max_vcpus=4)


# ----------------------------------------------------------------------- creation


@session_breaks("a_machine_comes_to_be_in_order")
class NeedsNoGic(PlayedSession):
    async def execute(self, effect: Effect) -> int | None:
        value = await super().execute(effect)
        if is_machine_step(effect, MachineStep.CREATE_VCPUS):
            self._gate.open()
        return value


@session_breaks("a_machine_is_made_once")
class IsMadeAnew(PlayedSession):
    async def execute(self, effect: Effect) -> int | None:
        if is_machine_step(effect, MachineStep.INIT_GIC) and self._gate.is_open:
            return None
        return await super().execute(effect)


@session_breaks("a_slot_that_there_is_not_is_refused")
class LooksBeforeItAsks(PlayedSession):
    async def execute(self, effect: Effect) -> int | None:
        if isinstance(effect, RunStep):
            list(range(self._config.possible))[effect.slot]
        return await super().execute(effect)


@session_breaks("answers_that_nobody_asked_for_harm_nothing")
class ReassertsAnything(PlayedSession):
    async def execute(self, effect: Effect) -> int | None:
        if isinstance(effect, Reassert):
            list(range(self._config.possible))[effect.slot]
        return await super().execute(effect)


# -------------------------------------------------------------------------- steps


@session_breaks("bind_gives_the_affinity")
class GivesTheNumber(PlayedSession):
    async def execute(self, effect: Effect) -> int | None:
        value = await super().execute(effect)
        return effect.slot if is_step(effect, Step.BIND) else value  # type: ignore[union-attr]


@session_breaks("every_vcpu_is_plugged_and_unplugged_again")
class PlugsOnce(PlayedSession):
    def _step(self, step: Step, slot: int) -> int | None:
        if step is Step.REALIZE and self.steps_done.count((step, slot)):
            raise EffectError(f"vCPU {slot} was realized once")
        return super()._step(step, slot)


@session_breaks("a_plug_is_taken_back_from_wherever_it_got_to")
class StopsWhatWasEnabledAlone(PlayedSession):
    def _step(self, step: Step, slot: int) -> int | None:
        if step is Step.STOP and (Step.ENABLE, slot) not in self.steps_done:
            raise EffectError(f"vCPU {slot} was never enabled")
        return super()._step(step, slot)


@session_breaks("a_step_asked_for_in_a_pause_is_done_after_it")
class DoesStepsInAPause(PlayedSession):
    def _machine_step(self, effect: RunMachineStep) -> None:
        super()._machine_step(effect)
        self._gate.resume()


@session_breaks("a_step_asked_for_in_a_pause_is_done_after_it")
class ForgetsStepsOfAPause(PlayedSession):
    async def execute(self, effect: Effect) -> int | None:
        if isinstance(effect, RunStep) and not self._runs.is_set() and self.steps_done:
            await asyncio.Event().wait()
        return await super().execute(effect)


@session_breaks("a_migration_is_done_or_refused")
class DiesOfMigration(PlayedSession):
    async def execute(self, effect: Effect) -> int | None:
        if is_machine_step(effect, MachineStep.MIGRATE):
            raise AcceleratorError("it does not know how")
        return await super().execute(effect)


# ------------------------------------------------------------------------- resets


@session_breaks("a_reset_is_told_once")
class TellsTwice(PlayedSession):
    def _reset(self) -> None:
        super()._reset()
        self._report(st.ResetSeen())


@session_breaks("what_is_plugged_stays_over_a_reset")
class ForgetsWhatIsPlugged(PlayedSession):
    def _step(self, step: Step, slot: int) -> int | None:
        if step is Step.UNWIRE and slot not in self._wired:
            raise EffectError(f"vCPU {slot} is not wired")
        return super()._step(step, slot)

    def _start(self, enabled: tuple[int, ...]) -> None:
        super()._start(enabled)
        self._wired.clear()


@session_breaks("a_notification_in_a_reset_counts_as_done")
class HasNotificationsWait(PlayedSession):
    async def execute(self, effect: Effect) -> int | None:
        if isinstance(effect, RunStep) and effect.step in NOTIFICATIONS:
            await self._gate.admits(Step.WIRE, effect.slot)
        return await super().execute(effect)


@session_breaks("a_notification_in_a_reset_is_not_repeated")
class RepeatsNotifications(PlayedSession):
    async def execute(self, effect: Effect) -> int | None:
        if isinstance(effect, RunStep) and effect.step in NOTIFICATIONS:
            await self._gate.admits(Step.WIRE, effect.slot)
            await self.guest.wait_ready(SECONDS)
        return await super().execute(effect)


@session_breaks("other_steps_wait_for_restart")
class WaitsForNothing(PlayedSession):
    async def execute(self, effect: Effect) -> int | None:
        if isinstance(effect, RunStep) and self._gate.gone is None:
            return self._step(effect.step, effect.slot)
        return await super().execute(effect)


@session_breaks("steps_under_way_at_a_reset_are_done_after_it")
class LosesStepsUnderWay(PlayedSession):
    resets = 0

    def _reset(self) -> None:
        self.resets += 1
        super()._reset()

    async def execute(self, effect: Effect) -> int | None:
        before = self.resets
        if isinstance(effect, RunStep):
            await asyncio.sleep(0)
            if self.resets > before:
                await asyncio.Event().wait()
        return await super().execute(effect)


@session_breaks("a_restart_that_is_refused_can_be_repeated")
class GoesOnWhenRefused(PlayedSession):
    async def execute(self, effect: Effect) -> int | None:
        if is_machine_step(effect, MachineStep.RESTART):
            if self._gate.is_open:
                raise EffectError("there was no reset")
            self._gate.open()
        return await super().execute(effect)


@session_breaks("a_reset_in_a_pause_is_told_at_once")
class ResetsAfterThePause(PlayedSession):
    late = False

    def _machine_step(self, effect: RunMachineStep) -> None:
        if effect.step is MachineStep.RESET and not self._runs.is_set():
            self.late = True
            return
        super()._machine_step(effect)
        if effect.step is MachineStep.RESUME and self.late:
            self._reset()


@session_breaks("a_machine_that_is_off_can_be_reset")
class IsGoneOnceItIsOff(PlayedSession):
    async def system_off(self) -> None:
        await super().system_off()
        self._end("it is off")


@session_breaks("a_reset_settles_what_was_to_be_answered")
class RaisesInAReset(PlayedSession):
    async def execute(self, effect: Effect) -> int | None:
        if isinstance(effect, RaiseGed):
            self._report(st.ScanStarted())
        return await super().execute(effect)


# ------------------------------------------------------------------------ endings


class LeavesThemWaiting(PlayedSession):
    """Whoever waits when the machine ends waits for ever."""

    async def execute(self, effect: Effect) -> int | None:
        if isinstance(effect, RunStep) and self._gate.stage is Stage.SHUT:
            await asyncio.Event().wait()
        return await super().execute(effect)


@session_breaks("power_down_ends_the_machine")
class PowersDownUnheard(LeavesThemWaiting):
    pass


@session_breaks("close_wakes_what_waits")
class ClosesUnheard(LeavesThemWaiting):
    pass


@session_breaks("power_down_of_a_machine_that_never_was_is_done")
class PowersDownWhatIsThereAlone(PlayedSession):
    async def execute(self, effect: Effect) -> int | None:
        if is_machine_step(effect, MachineStep.POWER_DOWN):
            self._gate.require_created()
        return await super().execute(effect)


@session_breaks("close_can_be_called_again")
class ClosesOnce(PlayedSession):
    async def close(self) -> None:
        if self._gate.gone is not None:
            raise RuntimeError("it is closed")
        await super().close()


@session_breaks("close_leaves_nothing_behind")
class LeavesAFileOpen(PlayedSession):
    async def close(self) -> None:
        os.dup(0)
        await super().close()


@session_breaks("a_loss_is_told_once")
class TellsOfEveryLoss(PlayedSession):
    async def execute(self, effect: Effect) -> int | None:
        try:
            return await super().execute(effect)
        except AcceleratorError as error:
            self._report(st.Lost(str(error)))
            raise


class EndlessConsole:
    """Says nothing, for ever."""

    def write(self, data: bytes) -> None:
        pass

    async def read(self) -> bytes:
        await asyncio.Event().wait()
        return b""


@session_breaks("the_console_ends_with_the_machine")
class HasAnEndlessConsole(PlayedSession):
    console: Console | None = EndlessConsole()


@session_breaks("the_played_guest_is_there_with_the_machine")
class HidesItsGuest(PlayedSession):
    @property
    def played(self) -> PlayedGuest:
        return None  # type: ignore[return-value]


# ------------------------------------------------------------------------- guests


@session_breaks("a_guest_takes_a_vcpu_and_gives_it_back")
class AnswersNoCpuOn(PlayedSession):
    async def execute(self, effect: Effect) -> int | None:
        if isinstance(effect, AnswerCpuOn):
            return None
        return await super().execute(effect)


@session_breaks("a_guest_is_heard_after_what_it_answers")
class ReturnsLate(PlayedSession):
    async def execute(self, effect: Effect) -> int | None:
        value = await super().execute(effect)
        if is_step(effect, Step.NOTIFY_INSERT):
            await self.guest.idle(SECONDS)
        return value


@session_breaks("a_guest_finds_after_a_reset_what_was_plugged_before")
class EnablesNothingAnew(PlayedSession):
    def _start(self, enabled: tuple[int, ...]) -> None:
        super()._start(enabled[:1])


@session_breaks("a_guest_finds_at_boot_what_was_plugged_before")
class StartsWithVcpu0Alone(PlayedSession):
    def _machine_step(self, effect: RunMachineStep) -> None:
        if effect.step is MachineStep.START:
            self.device.apply(Step.DISABLE, SLOT)
            effect = attrs.evolve(effect, enabled=(0,))
        super()._machine_step(effect)


@session_breaks("a_guest_that_went_off_boots_after_a_reset")
class StaysOff(PlayedSession):
    off = False

    async def system_off(self) -> None:
        await super().system_off()
        self.off = True

    def _start(self, enabled: tuple[int, ...]) -> None:
        if not self.off:
            super()._start(enabled)


@session_breaks("a_paused_guest_answers_when_it_goes_on")
class PausesNothing(PlayedSession):
    async def execute(self, effect: Effect) -> int | None:
        if is_machine_step(effect, MachineStep.PAUSE):
            return None
        return await super().execute(effect)


# --------------------------------------------------------------------- and are found


def lose(session: Session) -> None:
    assert isinstance(session, PlayedSession)
    session.lose("it broke")


@pytest.mark.parametrize("promise", PROMISES, ids=lambda promise: promise.name)
def test_an_accelerator_that_breaks_a_promise_is_found(promise: Promise) -> None:
    subject = Subject(FINDS[promise.name](), GuestScript(), lose, SECONDS, SHORT)
    with pytest.raises(PromiseBroken) as caught:
        promise.hold(subject)
    assert promise.says in str(caught.value)


def test_no_promise_is_without_an_accelerator_that_breaks_it() -> None:
    assert set(FINDS) == {promise.name for promise in PROMISES}
