"""Carrying a scenario's steps out on a live machine, and saying how each went."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import ClassVar

from attrs import field, frozen

from hpcore.errors import HpcoreError
from hpcore.guest.errors import GuestError
from hpcore.guest.played import PlayedGuest
from hpcore.guest.played.hostile import Call, Move
from hpcore.model import stimuli
from hpcore.model.plain import plain_props
from hpcore.run.errors import RunError
from hpcore.run.machine import LiveMachine
from hpcore.run.scale import ScaleFailed
from hpcore.run.scale_plan import Scaled
from hpcore.scenario import values as sc
from hpcore.scenario.judged import differences, judged
from hpcore.scenario.reboots import Reboots

EXPECT_SECONDS = 15.0
"""For what is expected to come true: a guest tidies up after its last word."""

POLL = 0.05
SETTLE_POLL = 0.001


class ScenarioStepFailed(HpcoreError):
    """A step did not go as the scenario says. The text says how."""


@frozen
class StepResult:
    """How a step went. `error` is None where it went as the scenario says.

    `scaled` is what a `scale` did, whether it reached its target or not. `failure` is what
    the step failed with, whether the scenario wants that or not.
    """

    line: sc.Line
    seconds: float
    error: str | None = None
    scaled: Scaled | None = None
    failure: str | None = None


@frozen
class Latencies:
    """Seconds, one a plug or an unplug."""

    plug_to_notified: list[float] = field(factory=list)
    plug_to_registered: list[float] = field(factory=list)
    unplug_to_ejected: list[float] = field(factory=list)

    @property
    def named(self) -> dict[str, list[float]]:
        """Each with the words that people see."""
        return {
            "plug to notified": self.plug_to_notified,
            "plug to registered": self.plug_to_registered,
            "unplug to ejected": self.unplug_to_ejected,
        }


TellStep = Callable[[sc.Line, StepResult | None], None]
"""Told a step before it is taken (with None), and after it."""


class Player:
    """Plays steps on `machine`; `progress` is told of each."""

    def __init__(
        self, machine: LiveMachine, progress: TellStep = lambda _line, _result: None
    ) -> None:
        self._m, self._progress = machine, progress
        self.latencies = Latencies()
        self.results: list[StepResult] = []
        self._waits = True  # the line's
        self._scaled: Scaled | None = None  # the line's
        self._failure: str | None = None  # the line's
        self._reboots = Reboots(machine)

    async def play(self, lines: tuple[sc.Line, ...]) -> bool:
        """Take the steps in order; stop at the first that goes wrong. Whether none did."""
        for line in lines:
            if isinstance(line.step, sc.RepeatStep):
                for _ in range(line.step.times):
                    if not await self.play(line.step.steps):
                        return False
                continue
            self._progress(line, None)
            self._m.note(f"step {line.number}: {line.text}")
            began = time.monotonic()
            error = await self._attempt(line)
            seconds = time.monotonic() - began
            result = StepResult(line, seconds, error, self._scaled, self._failure)
            self.results.append(result)
            self._progress(line, result)
            if error is not None:
                self._m.note(f"step {line.number} failed: {error}")
                return False
        return True

    async def _attempt(self, line: sc.Line) -> str | None:
        try:
            self._waits, self._scaled, self._failure = line.waits, None, None
            await self._m.unless_ended(self._DOES[type(line.step)](self, line.step))
        except (ScenarioStepFailed, RunError, GuestError) as error:
            self._failure = str(error)
        return judged(line, self._failure)

    # --------------------------------------------------------------------- steps

    async def _boot(self, _step: sc.ScenarioStep) -> None:
        await self._m.boot()
        self._reboots.all_known()

    async def _plug(self, step: sc.PlugStep) -> None:
        plug = await self._m.begin(
            stimuli.DeviceAdd(step.id, plain_props(step.props.items()), step.driver)
        )
        if not self._waits:
            return
        try:
            if await plug.registered():
                await self._m.require_known(plug.slot)
        finally:
            _note(self.latencies.plug_to_notified, plug.notified_after)
            _note(self.latencies.plug_to_registered, plug.registered_after)

    async def _unplug(self, step: sc.UnplugStep) -> None:
        unplug = await self._m.begin(stimuli.DeviceDel(step.id, step.force))
        if self._waits and await unplug.ended():
            _note(self.latencies.unplug_to_ejected, unplug.ejected_after)

    async def _scale(self, step: sc.ScaleStep) -> None:
        try:
            self._scaled = await self._m.scale(step.to, undo=step.undo, waits=self._waits)
        except ScaleFailed as failed:
            self._scaled = failed.scaled
            raise

    async def _online(self, step: sc.OnlineStep) -> None:
        cpu = self._m.slot(step.cpu).index
        await self._m.guest.online(cpu)
        if self._waits:
            await self._m.until(lambda s: s.slots[cpu].powered, f"word that vCPU {cpu} is on")

    async def _offline(self, step: sc.OfflineStep) -> None:
        cpu = self._m.slot(step.cpu).index
        await self._m.guest.offline(cpu)
        if self._waits:
            await self._m.until(lambda s: not s.slots[cpu].powered, f"word that vCPU {cpu} is off")

    async def _run_line(self, step: sc.ShellStep) -> None:
        printed = await self._m.guest.run(step.line)
        if printed is None:
            return  # the guest is played; its capabilities say so
        if step.prints is not None and step.prints not in printed:
            raise ScenarioStepFailed(f"`{step.line}` printed {printed!r}, without {step.prints!r}")

    async def _expect(self, step: sc.ExpectStep) -> None:
        deadline = time.monotonic() + EXPECT_SECONDS
        while differences := await self._differences(step):
            if self._m.state.shared.halted:
                differences.append(self._m.why_ended())
            elif time.monotonic() < deadline:
                await asyncio.sleep(POLL)
                continue
            raise ScenarioStepFailed("; ".join(differences))

    async def _differences(self, step: sc.ExpectStep) -> list[str]:
        masks = await self._m.guest.masks() if step.masks else None
        return differences(step, self._m.state, masks)

    async def _reset(self, _step: sc.ScenarioStep) -> None:
        await self._m.reset()
        self._reboots.all_known()

    async def _reboot(self, _step: sc.ScenarioStep) -> None:
        if not self._waits:
            await self._m.guest.begin_reboot()
            return
        await self._m.guest.reboot(self._m.patience.boot)
        self._reboots.all_known()

    async def _rebooted(self, _step: sc.ScenarioStep) -> None:
        await self._reboots.another()

    async def _pause(self, _step: sc.ScenarioStep) -> None:
        await self._m.pause()

    async def _resume(self, _step: sc.ScenarioStep) -> None:
        await self._m.resume()

    async def _call(self, step: sc.CallStep) -> None:
        guest = self._m.guest
        if not isinstance(guest, PlayedGuest):
            raise ScenarioStepFailed("only a guest that is played makes single calls")
        if self._m.state.shared.paused:
            raise ScenarioStepFailed("the machine is paused, and its guest with it")
        await guest.make(Move(Call(step.call), step.arguments))

    async def _settle(self, _step: sc.ScenarioStep) -> None:
        seconds = self._m.patience.end
        deadline = time.monotonic() + seconds
        while not self._m.at_rest:
            if time.monotonic() >= deadline:
                raise ScenarioStepFailed(f"the machine did not come to rest within {seconds:g} s")
            await asyncio.sleep(SETTLE_POLL)

    async def _wait(self, step: sc.WaitStep) -> None:
        try:
            async with asyncio.timeout(step.milliseconds / 1000):
                raise ScenarioStepFailed(await self._m.ended())
        except TimeoutError:
            return

    async def _power_off(self, _step: sc.ScenarioStep) -> None:
        await self._m.power_off()

    async def _migrate(self, _step: sc.ScenarioStep) -> None:
        await self._m.migrate()

    async def _save(self, step: sc.SaveStep) -> None:
        await self._m.save(step.file)

    _DOES: ClassVar[dict[type, Callable[..., Awaitable[None]]]] = {
        sc.BootStep: _boot,
        sc.PlugStep: _plug,
        sc.UnplugStep: _unplug,
        sc.ScaleStep: _scale,
        sc.OnlineStep: _online,
        sc.OfflineStep: _offline,
        sc.ShellStep: _run_line,
        sc.ExpectStep: _expect,
        sc.ResetStep: _reset,
        sc.RebootStep: _reboot,
        sc.RebootedStep: _rebooted,
        sc.PauseStep: _pause,
        sc.ResumeStep: _resume,
        sc.PowerOffStep: _power_off,
        sc.MigrateStep: _migrate,
        sc.SaveStep: _save,
        sc.CallStep: _call,
        sc.SettleStep: _settle,
        sc.WaitStep: _wait,
    }


def _note(latencies: list[float], seconds: float | None) -> None:
    if seconds is not None:
        latencies.append(seconds)
