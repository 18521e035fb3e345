"""Carrying a scenario's steps out on a controlled machine, and saying how each went."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import ClassVar

from attrs import field, frozen

from hpcore.guest.cpulist import format_cpu_list
from hpcore.guest.errors import GuestError
from hpcore.guest.linux import LinuxGuest
from hpcore.guest.played import PlayedGuest
from hpcore.guest.played.hostile import Call, Move
from hpcore.guest.protocol import Guest
from hpcore.guest.shell import GuestGoneError, Shell
from hpcore.model import events as ev
from hpcore.model import stimuli
from hpcore.model.machines import Phase
from hpcore.model.plain import plain_props
from hpcore.model.states import State
from hpcore.run.accelerator import Console
from hpcore.run.controller import Controller, RunError
from hpcore.scenario import values as sc

BOOT_SECONDS = 600.0
"""For a guest to reach its shell: 128 vCPUs under emulation take minutes."""

END_SECONDS = 120.0
"""For a command's end, beyond the deadlines that the controller itself keeps."""

EXPECT_SECONDS = 15.0
"""For what is expected to come true: a guest tidies up after its last word."""

REASON_SECONDS = 5.0
"""For the accelerator to say why the machine is gone, once the guest's console is."""

LAST_WORDS_SECONDS = 1.0
"""For a step to come to its own end once the machine has."""

POLL = 0.05
SETTLE_POLL = 0.001


class ScenarioStepFailed(Exception):
    """A step did not go as the scenario says. The text says how."""


@frozen
class StepResult:
    """How a step went. `error` is None where it went as the scenario says."""

    line: sc.Line
    seconds: float
    error: str | None = None


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
    """Plays steps on `controller`; `make_shell` gives a shell on the guest's console."""

    def __init__(
        self,
        controller: Controller,
        make_shell: Callable[[Console], Shell],
        progress: TellStep = lambda _line, _result: None,
    ) -> None:
        self._c, self._make_shell, self._progress = controller, make_shell, progress
        self._hand: Guest | None = None  # there is none before the machine is
        self.latencies = Latencies()
        self.results: list[StepResult] = []
        self._ends: dict[str, ev.Event] = {}
        self._restarts = 0
        self._waits = True  # the line's
        controller.watchers.append(self._watch)

    async def play(self, lines: tuple[sc.Line, ...]) -> bool:
        """Take the steps in order; stop at the first that goes wrong. Whether none did."""
        for line in lines:
            if isinstance(line.step, sc.RepeatStep):
                for _ in range(line.step.times):
                    if not await self.play(line.step.steps):
                        return False
                continue
            self._progress(line, None)
            self._c.post(stimuli.Note(f"step {line.number}: {line.text}"))
            began = time.monotonic()
            error = await self._attempt(line)
            result = StepResult(line, time.monotonic() - began, error)
            self.results.append(result)
            self._progress(line, result)
            if error is not None:
                self._c.post(stimuli.Note(f"step {line.number} failed: {error}"))
                return False
        return True

    async def _attempt(self, line: sc.Line) -> str | None:
        try:
            self._waits = line.waits
            await self._or_machine_end(self._DOES[type(line.step)](self, line.step))
        except (ScenarioStepFailed, RunError, GuestError) as error:
            if line.fails is None:
                return str(error)
            if line.fails not in str(error):
                return f"it failed as it should, but not with '{line.fails}': {error}"
            return None
        if line.fails is not None:
            return f"it should have failed with '{line.fails}', and did not"
        return None

    # --------------------------------------------------------------------- steps

    async def _boot(self, _step: sc.ScenarioStep) -> None:
        await self._c.submit(stimuli.Boot())
        await self._c.until(
            lambda s: s.shared.phase is Phase.RUNNING, BOOT_SECONDS, "the machine's start"
        )
        session = self._c.session
        if session.console is not None:
            self._hand = LinuxGuest(self._make_shell(session.console))
        else:
            self._hand = session.played
        if self._hand is not None:
            await self._hand.wait_ready(BOOT_SECONDS)

    async def _plug(self, step: sc.PlugStep) -> None:
        began, restarts = time.monotonic(), self._restarts
        self._ends.pop(step.id, None)
        events = await self._c.submit(
            stimuli.DeviceAdd(step.id, plain_props(step.props.items()), step.driver)
        )
        slot = next(e.slot for e in events if isinstance(e, ev.PlugAccepted))
        if not self._waits:
            return
        end = await self._end_of(step.id, "the plug's end")
        if isinstance(end, ev.PlugFailed):
            raise ScenarioStepFailed(end.error)
        self.latencies.plug_to_notified.append(time.monotonic() - began)
        if self._c.state.shared.paused:
            return  # the guest can't register it before it runs again
        await self._c.until(
            lambda s: s.slots[slot].registered or self._restarts > restarts, END_SECONDS,
            f"the guest's word that it has registered vCPU {slot}",
        )  # fmt: skip
        if not self._c.state.slots[slot].registered:
            raise ScenarioStepFailed(
                f"the machine was reset before the guest had registered vCPU {slot}; it is "
                "plugged, and the guest finds it at its boot"
            )
        self.latencies.plug_to_registered.append(time.monotonic() - began)

    async def _unplug(self, step: sc.UnplugStep) -> None:
        began = time.monotonic()
        self._ends.pop(step.id, None)
        await self._c.submit(stimuli.DeviceDel(step.id, step.force))
        if self._c.state.shared.paused or not self._waits:
            return  # a paused guest answers when it runs again
        end = await self._end_of(step.id, "the unplug's end")
        if isinstance(end, ev.UnplugFailed):
            raise ScenarioStepFailed(end.error)
        self.latencies.unplug_to_ejected.append(time.monotonic() - began)

    async def _online(self, step: sc.OnlineStep) -> None:
        cpu = self._index(step.cpu)
        await self._guest().online(cpu)
        if not self._waits:
            return
        await self._c.until(
            lambda s: s.slots[cpu].powered, END_SECONDS, f"word that vCPU {cpu} is on"
        )

    async def _offline(self, step: sc.OfflineStep) -> None:
        cpu = self._index(step.cpu)
        await self._guest().offline(cpu)
        if not self._waits:
            return
        await self._c.until(
            lambda s: not s.slots[cpu].powered, END_SECONDS, f"word that vCPU {cpu} is off"
        )

    async def _run_line(self, step: sc.ShellStep) -> None:
        printed = await self._guest().run(step.line)
        if printed is None:
            return  # the guest is played; its capabilities say so
        if step.prints is not None and step.prints not in printed:
            raise ScenarioStepFailed(f"`{step.line}` printed {printed!r}, without {step.prints!r}")

    async def _expect(self, step: sc.ExpectStep) -> None:
        deadline = time.monotonic() + EXPECT_SECONDS
        while differences := await self._differences(step):
            if time.monotonic() >= deadline or self._c.state.shared.ended:
                raise ScenarioStepFailed("; ".join(differences))
            await asyncio.sleep(POLL)

    async def _differences(self, step: sc.ExpectStep) -> list[str]:
        out = []
        for cpu, wanted in step.slots.items():
            actual = self._c.state.slots[self._index(cpu)].lifecycle
            if actual != wanted:
                out.append(f"slot {cpu} is {actual}, not {wanted}")
        if step.masks:
            masks = await self._guest().masks()
            for name, expected in step.masks.items():
                found = getattr(masks, name)
                if found is None:
                    out.append(f"the guest has no mask '{name}': its kernel is older than 6.11")
                elif found != expected:
                    out.append(
                        f"{name} is {format_cpu_list(found) or 'empty'}, "
                        f"not {format_cpu_list(expected) or 'empty'}"
                    )
        return out

    async def _reset(self, _step: sc.ScenarioStep) -> None:
        restarts = self._restarts
        await self._c.submit(stimuli.Reset())
        await self._c.until(lambda s: self._restarts > restarts, END_SECONDS, "the restart")
        if self._hand is not None:
            await self._hand.wait_ready(BOOT_SECONDS)

    async def _reboot(self, _step: sc.ScenarioStep) -> None:
        await self._guest().reboot(BOOT_SECONDS)

    async def _pause(self, _step: sc.ScenarioStep) -> None:
        await self._c.submit(stimuli.Pause())
        await self._c.until(lambda s: s.shared.paused, END_SECONDS, "the pause")

    async def _resume(self, _step: sc.ScenarioStep) -> None:
        await self._c.submit(stimuli.Resume())
        await self._c.until(lambda s: not s.shared.paused, END_SECONDS, "the resumption")

    async def _call(self, step: sc.CallStep) -> None:
        guest = self._guest()
        if not isinstance(guest, PlayedGuest):
            raise ScenarioStepFailed("only a guest that is played makes single calls")
        if self._c.state.shared.paused:
            raise ScenarioStepFailed("the machine is paused, and its guest with it")
        await guest.make(Move(Call(step.call), step.arguments))

    async def _settle(self, _step: sc.ScenarioStep) -> None:
        deadline = time.monotonic() + END_SECONDS
        while not self._at_rest():
            if time.monotonic() >= deadline:
                raise ScenarioStepFailed(
                    f"the machine did not come to rest within {END_SECONDS:g} s"
                )
            await asyncio.sleep(SETTLE_POLL)

    def _at_rest(self) -> bool:
        shared, slots = self._c.state.shared, self._c.state.slots
        if not self._c.quiet or shared.step is not None or any(s.step for s in slots):
            return False
        if not shared.guest_runs or shared.paused:
            return True
        if isinstance(self._hand, PlayedGuest):  # one that means harm may not end its scan
            return self._hand.at_rest and not shared.ged
        return not shared.ged and not shared.scanning

    async def _power_off(self, _step: sc.ScenarioStep) -> None:
        await self._guest().power_off()
        await self._c.until(lambda s: s.shared.ended, END_SECONDS, "the machine's end")

    async def _migrate(self, _step: sc.ScenarioStep) -> None:
        events = await self._c.submit(stimuli.Migrate())
        await self._c.until(lambda s: not s.shared.migrating, END_SECONDS, "the migration's end")
        failed = [e for e in (*events, self._ends.get("migration")) if
                  isinstance(e, ev.MachineStepFailed)]  # fmt: skip
        if failed:
            raise ScenarioStepFailed(failed[0].error)

    # ------------------------------------------------------------------ helpers

    def _watch(self, event: ev.Event, _state: State) -> None:
        match event:
            case ev.PlugCompleted() | ev.PlugFailed() | ev.UnplugCompleted() | ev.UnplugFailed():
                self._ends[event.id] = event
            case ev.MachineStepDone(step="restart"):
                self._restarts += 1
            case ev.MachineStepFailed(step="migrate"):
                self._ends["migration"] = event

    async def _end_of(self, id_: str, what: str) -> ev.Event:
        await self._c.until(lambda _s: id_ in self._ends, END_SECONDS, what)
        return self._ends[id_]

    def _index(self, cpu: sc.Cpu) -> int:
        slots = self._c.state.slots
        if isinstance(cpu, str):
            found = next((i for i, s in enumerate(slots) if s.id == cpu), None)
            if found is None:
                raise ScenarioStepFailed(f"no vCPU is plugged under the id '{cpu}'")
            return found
        if not 0 <= cpu < len(slots):
            raise ScenarioStepFailed(
                f"there is no vCPU {cpu}; the machine has 0 to {len(slots) - 1}"
            )
        return cpu

    def _guest(self) -> Guest:
        if self._hand is None:
            raise ScenarioStepFailed("this accelerator has no guest that could do that")
        return self._hand

    async def _or_machine_end(self, step: Awaitable[None]) -> None:
        """Take a step, but wait for no guest beyond the machine's end."""
        taken = asyncio.ensure_future(step)
        end = asyncio.ensure_future(self._c.ended())
        try:
            await asyncio.wait({taken, end}, return_when=asyncio.FIRST_COMPLETED)
            await asyncio.wait({taken}, timeout=LAST_WORDS_SECONDS)  # poweroff waits for the end
            if taken.done() and isinstance(taken.exception(), GuestGoneError):
                # the console ends before the accelerator knows why; its reason is the better
                await asyncio.wait({end}, timeout=REASON_SECONDS)
        finally:  # also when this is cancelled itself
            for task in (taken, end):
                task.cancel()
            await asyncio.gather(taken, end, return_exceptions=True)
        if taken.cancelled():
            raise RunError(self._c.why_ended())
        taken.result()

    _DOES: ClassVar[dict[type, Callable[..., Awaitable[None]]]] = {
        sc.BootStep: _boot,
        sc.PlugStep: _plug,
        sc.UnplugStep: _unplug,
        sc.OnlineStep: _online,
        sc.OfflineStep: _offline,
        sc.ShellStep: _run_line,
        sc.ExpectStep: _expect,
        sc.ResetStep: _reset,
        sc.RebootStep: _reboot,
        sc.PauseStep: _pause,
        sc.ResumeStep: _resume,
        sc.PowerOffStep: _power_off,
        sc.MigrateStep: _migrate,
        sc.CallStep: _call,
        sc.SettleStep: _settle,
    }
