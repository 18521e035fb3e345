"""The loop: one writer that takes stimuli in order, logs what they mean, has it done.

    stimulus --> decide --> events --> log --> state --> effects --> accelerator --> stimulus

Everything that happens to a machine goes through `Controller.post`, from whatever thread;
one task takes it from there. Events are in the log before an effect of theirs is begun.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Protocol

import structlog

from hpcore.log import Entry
from hpcore.model import stimuli
from hpcore.model.effects import Effect, MachineStep, RunMachineStep
from hpcore.model.events import (
    Event,
    MachineLost,
    MachinePoweredOff,
    MachineWasReset,
    OstReceived,
    Refused,
    UnplugRepeated,
)
from hpcore.model.revision import HPCORE, Revision
from hpcore.model.states import Owed, State
from hpcore.model.stimuli import Stimulus
from hpcore.run.accelerator import EffectError, Session
from hpcore.run.deadlines import Deadlines, GuestWait, Patience
from hpcore.run.effects_under_way import EffectsUnderWay, Work
from hpcore.run.errors import CommandRefused, ProtocolBroken, RunError
from hpcore.run.inbox import Inbox
from hpcore.run.outcomes import expired
from hpcore.run.turns import Posted, Turn, Turns

TICK = 0.1
"""Seconds between two looks at the deadlines."""

LATEST_LOOK = 2 * TICK
"""The most that one look charges, in seconds. If it came later, we stood still ourselves (a
Ctrl-Z, no CPU to be had), and the outcome may be on its way by now."""

END_SECONDS = 30.0
"""For a machine to end that is left."""

_ENDED = "the machine has ended"

_log = structlog.get_logger(__name__)


class Log(Protocol):
    """Where events go; see hpcore.log.LogWriter."""

    def append_all(self, entries: Iterable[Entry]) -> int:
        """Append these decisions, durably, and return the first event's number."""

    def settled(self, state: State) -> None:
        """Told the state after what was appended: a new segment may begin with it."""


Watcher = Callable[[Event, State], None]
Saver = Callable[[Session, str, Callable[[], Awaitable[None]]], Awaitable[None]]
"""Saves the machine of a session in a file. The last argument is awaited for all to be in the
log that the machine has said before it stood still."""
OpenSession = Callable[[Callable[[Stimulus], None]], Awaitable[Session]]


class Controller:
    """One machine. Use as `async with Controller(...) as c:`; leaving ends the machine."""

    def __init__(
        self,
        state: State,
        open_log: Callable[[], Log],
        open_session: OpenSession,
        patience: Patience | None = None,
        *,
        saver: Saver | None = None,
        resumed_at: float = 0.0,
        protocol: Revision = HPCORE,
    ) -> None:
        """`state` is what the log to be opened has come to, at `resumed_at` seconds of its time."""
        self.state = state
        self.protocol = protocol
        self.watchers: list[Watcher] = []
        self.failure: BaseException | None = None
        self._end = _ENDED
        self._given_up: str | None = None
        self._open_log, self._open = open_log, open_session
        self.patience = patience or Patience()
        self._deadlines = Deadlines(self.patience)
        self._inbox = Inbox()
        self._turns = Turns(protocol)
        self._changed = asyncio.Condition()
        self._halted = asyncio.Event()
        self._effects = EffectsUnderWay(self.post)
        self._saver = saver
        self._last_tick = time.monotonic()
        self._began = self._last_tick - resumed_at

    async def __aenter__(self) -> Controller:
        self._inbox.open()
        self.session = await self._open(self.post)
        try:
            self._log = self._open_log()  # not before it is known that the machine can run
        except BaseException:
            await self.session.close()
            raise
        self._tasks = (
            asyncio.create_task(self._run(), name="controller"),
            asyncio.create_task(self._watch_deadlines(), name="deadlines"),
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        owed = any(slot.command is not Owed.NONE for slot in self.state.slots)
        if not self._tasks[0].done() and (owed or not self.state.shared.halted):
            self.post(stimuli.PowerDown())
            await asyncio.wait({self._tasks[0]}, timeout=END_SECONDS)
        await self._stop()
        await self.session.close()

    async def _stop(self) -> None:
        """Take nothing more, and wait for no outcome any more."""
        for task in (*self._tasks, *self._effects.tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, *self._effects.tasks, return_exceptions=True)

    # ------------------------------------------------------------- from outside

    def post(self, stimulus: Stimulus) -> None:
        """Let `stimulus` reach the machine, after all that was posted before it. Any thread."""
        self._inbox.put(Posted(stimulus, heard=self._heard))

    @property
    def _heard(self) -> int | None:
        """How far the accelerator has been heard, where it says so."""
        return None

    async def submit(
        self,
        command: Stimulus,
        accepted: Callable[[tuple[Event, ...]], None] = lambda _events: None,
    ) -> tuple[Event, ...]:
        """Post a command and return the events that it was answered with.

        `accepted` is called with them before anything else is decided; who only awaits this
        may miss what follows. Raises CommandRefused where the command was refused, RunError
        where the machine has ended.
        """
        answer: asyncio.Future[tuple[Event, ...]] = asyncio.get_running_loop().create_future()

        def decided(events: tuple[Event, ...]) -> None:
            if not any(isinstance(event, Refused) for event in events):
                accepted(events)
            if not answer.done():
                answer.set_result(events)

        self._inbox.put(Posted(command, decided, self._heard))
        either: set[asyncio.Future[Any]] = {answer, self._tasks[0]}
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        if not answer.done():
            answer.cancel()
            raise RunError(self.why_ended())
        events = answer.result()
        for event in events:
            if isinstance(event, Refused):
                raise CommandRefused(event)
        return events

    async def until(
        self, holds: Callable[[State], bool], seconds: float, waiting_for: str
    ) -> None:
        """Wait until the state is as `holds` wants it.

        Raises RunError when that takes longer than `seconds`, or the machine ends first, or is
        off.
        """
        try:
            async with asyncio.timeout(seconds), self._changed:
                while not holds(self.state):
                    over = self._tasks[0].done() or self.state.shared.halted
                    if over or self.failure is not None:
                        raise RunError(self.why_ended())
                    await self._changed.wait()
        except TimeoutError:
            raise RunError(f"{waiting_for} did not come within {seconds:g} s") from None

    def take_in(self, state: State, log: Log, at: float) -> None:
        """Be the machine that has come from elsewhere, in place of one that was never booted.

        `state` is what `log` has come to, at `at` seconds of its time; all that follows is
        decided on it, and logged there.
        """
        self.state, self._log = state, log
        self._began = time.monotonic() - at
        self._turns = Turns(self.protocol)
        self._follow_state()

    @property
    def heard_all(self) -> bool:
        """Whether all that was posted has been decided."""
        return self._inbox.empty

    @property
    def quiet(self) -> bool:
        """Whether all that was posted has been decided, and no effect is under way."""
        return self.heard_all and not self._effects.tasks

    def give_up(self, why: str) -> None:
        """End the machine from outside, for a reason that whoever waits for it is told."""
        self._given_up = why
        self.post(stimuli.Note(f"given up: {why}"))
        self.post(stimuli.PowerDown())

    def fail(self, error: Exception) -> None:
        """End the machine, and the run with it, because of an error that is not the machine's."""
        self.failure = self.failure or error
        self.post(stimuli.PowerDown())

    async def ended(self) -> None:
        """Wait until the machine has ended, or is off, or the loop has ended."""
        halted = asyncio.create_task(self._halted.wait())
        try:
            await asyncio.wait({self._tasks[0], halted}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            halted.cancel()

    async def over(self) -> None:
        """Wait until the loop has ended: the machine has, or its log takes no more."""
        await asyncio.wait({self._tasks[0]})

    def why_ended(self) -> str:
        """Why the machine has ended, or what ended the loop."""
        return str(self.failure) if self.failure else self._end

    # ------------------------------------------------------------------ the loop

    async def _run(self) -> None:
        try:
            while not self.state.shared.ended:
                self._take_turns(await self._inbox.at_hand())
                await self._tell()
        except Exception as error:
            self._fails(error)
        finally:
            if self.failure is None:
                self._end_noise()
            await self._tell()

    def _fails(self, error: Exception) -> None:
        self.failure = error
        _log.error("run_ended", error=str(error), kind=type(error).__name__)

    def _end_noise(self) -> None:
        """Log what is counted by now: nothing comes any more that would be logged after it."""
        try:
            self._do(self._turns.counted(self.state, self._now()))
        except Exception as error:
            self._fails(error)

    def _take_turns(self, at_hand: list[Posted]) -> None:
        """Decide all that is at hand, one by one, log it in one write, and have it done.

        One write, because a disk takes its time for each, and a guest that calls without end would
        have everybody else wait for that.
        """
        self._do(self._turns.decided(self.state, at_hand, self._now))

    def _do(self, turns: list[Turn]) -> None:
        """Log what is to be logged of `turns`, and only then have it done."""
        entries = [turn.entry for turn in turns if turn.entry is not None and turn.entry.events]
        if entries:
            self._log.append_all(entries)
        for turn in turns:
            self._take(turn)
            if turn.posted is None:
                continue
            for effect in turn.effects:
                self._begin(effect, turn.posted.stimulus)
            if turn.posted.answer is not None:
                turn.posted.answer(tuple(folded.event for folded in turn.folded))
        self._log.settled(self.state)

    def _take(self, turn: Turn) -> None:
        """Make the state after a decision ours, having held every invariant against it."""
        if turn.broken is not None and turn.posted is not None:
            raise ProtocolBroken(turn.broken, turn.posted.stimulus)
        before = self.state
        for folded in turn.folded:
            event, self.state = folded.event, folded.after
            if folded.violation is not None:
                raise ProtocolBroken(folded.violation, event)
            if isinstance(event, OstReceived | UnplugRepeated) and turn.posted is not None:
                self._deadlines.restart(GuestWait(event.slot))
            elif isinstance(event, MachineLost):
                self._end = event.error
            elif isinstance(event, MachinePoweredOff):
                self._end = self._given_up or f"the machine was powered off by the {event.by}"
            elif isinstance(event, MachineWasReset):
                self._end = _ENDED
            if turn.entry is not None:
                for watcher in self.watchers:
                    watcher(event, self.state)
        if self.state is not before:
            self._follow_state()

    def _follow_state(self) -> None:
        """Wait for what the state owes, and say whether the machine is over."""
        self._deadlines.follow(self.state)
        if self.state.shared.halted:
            self._halted.set()
        else:
            self._halted.clear()

    async def _tell(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    def _now(self) -> float:
        return time.monotonic() - self._began

    # ------------------------------------------------------- effects and deadlines

    def _begin(self, effect: Effect, stimulus: Stimulus) -> None:
        match effect, stimulus:
            case RunMachineStep(step=MachineStep.SAVE), stimuli.Save(file=file):
                work: Work = self._save(file)
            case _:
                work = self.session.execute(effect)
        self._effects.begin(effect, work)

    async def _save(self, file: str) -> None:
        if self._saver is None:
            raise EffectError("this machine keeps no log that could be saved with it")
        await self._saver(self.session, file, self._decided_all)

    async def _decided_all(self) -> None:
        """Wait until all that was posted has been decided, and is in the log."""
        async with self._changed:
            while not self._inbox.empty:
                await self._changed.wait()

    async def _watch_deadlines(self) -> None:
        while True:
            await asyncio.sleep(TICK)
            now = time.monotonic()
            if self._turns.due(self._now()):
                self._inbox.wake()
            passed, self._last_tick = min(now - self._last_tick, LATEST_LOOK), now
            for wait in self._deadlines.pass_time(passed, self.state.shared.paused):
                if self._effects.give_up_carrying(wait, self._deadlines.patience):
                    self._deadlines.follow(self.state)
                else:
                    self.post(expired(wait, self._deadlines.patience))
