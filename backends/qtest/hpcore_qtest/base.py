"""What sessions with a played guest have in common: the guest's time, resets, losses.

Everything that takes more than one exchange with QEMU is done by one task at a time, in the
order in which it was asked for. What the guest sees of a notification happens in one piece,
so that `execute` has returned before the guest can have acted on it.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager

from hpcore.guest.played import Hardware, PlayedGuest, make_guest
from hpcore.model.config import MachineConfig
from hpcore.model.effects import (
    AnswerCpuOn,
    Effect,
    MachineStep,
    RaiseGed,
    Reassert,
    RunMachineStep,
    RunStep,
    Step,
)
from hpcore.model.rules import RULES, Rules
from hpcore.model.stimuli import Lost, PowerOffSeen, ResetSeen
from hpcore.qemu.errors import QemuError
from hpcore.run.accelerator import (
    NO_GUEST,
    AcceleratorError,
    Console,
    EffectError,
    GuestScript,
    Report,
)
from hpcore.run.gate import ENDED, Gate
from hpcore_qtest.power import ModelledPower
from hpcore_qtest.qemu.machine import StoppedQemu


class QtestSession(ABC):
    """One machine. See `hpcore.run.accelerator.Session` for what its methods promise."""

    console: Console | None = None
    """None: no code runs that could print."""

    def __init__(
        self,
        config: MachineConfig,
        script: GuestScript | None,
        report: Report,
        rules: Rules = RULES,
    ) -> None:
        self._config, self._script, self._report = config, script, report
        self._rules = rules
        self.power = ModelledPower(config.possible, report)
        self._guest: PlayedGuest | None = None
        self._order = asyncio.Lock()
        self._gate = Gate(config.possible)
        self._going = asyncio.Event()  # the guest's time passes
        self._paused = self._started = False
        self._tasks: set[asyncio.Task[None]] = set()

    # ------------------------------------------------------------ a session's own

    @property
    @abstractmethod
    def qemu(self) -> StoppedQemu | None:
        """The QEMU that runs now, once CREATE_VCPUS is done."""

    @abstractmethod
    async def _create(self) -> Hardware:
        """CREATE_VCPUS: start QEMU; how the guest reaches it. QemuError leaves nothing behind."""

    @abstractmethod
    async def _init_gic(self) -> None:
        """INIT_GIC."""

    @abstractmethod
    async def _step(self, step: Step, slot: int) -> int | None:
        """A slot's step; its turn has come, and no reset is open."""

    def _at_once(self, _step: Step, _slot: int) -> bool:
        """Whether the step was done right here, because it touches no QEMU."""
        return False

    @abstractmethod
    def _reassert(self, slot: int) -> None:
        """The guest's `_EJ0` was refused."""

    @abstractmethod
    def _raise_ged(self) -> None:
        """Tell the guest of an event once more."""

    @abstractmethod
    async def _set_up(self) -> None:
        """What firmware and kernel do before the guest's part begins, at each start."""

    @abstractmethod
    async def _restore(self, enabled: tuple[int, ...]) -> None:
        """START and RESTART, up to the guest's start: have what is plugged in place."""

    @abstractmethod
    def _forget(self) -> None:
        """The machine was reset: so is what a session keeps of it."""

    @abstractmethod
    async def _move(self) -> None:
        """MIGRATE to another QEMU, and listen to that. QemuError leaves all as it was."""

    @abstractmethod
    def _look_for_interrupt(self) -> None:
        """The guest's time passes again: have it take what pended meanwhile."""

    def _may_go(self) -> bool:
        """Whether the guest's time passes."""
        return self._started and not self._paused

    @property
    def played(self) -> PlayedGuest | None:
        """The guest, once CREATE_VCPUS is done and if the session was given a script."""
        return self._guest

    @property
    def process_id(self) -> int | None:
        """QEMU's, once CREATE_VCPUS is done; a migration changes it."""
        return None if self.qemu is None else self.qemu.process.pid

    async def execute(self, effect: Effect) -> int | None:
        """Carry `effect` out; see the protocol."""
        try:
            return await self._execute(effect)
        except QemuError as error:
            raise AcceleratorError(self._gate.gone or str(error)) from error

    async def close(self) -> None:
        """End QEMU and all that belongs to it."""
        self._end(ENDED)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self.qemu is not None:
            await self.qemu.close()

    # ------------------------------------------------------------------- effects

    async def _execute(self, effect: Effect) -> int | None:
        match effect:
            case RunStep(step=step, slot=slot):
                return await self._slot_step(step, slot)
            case RunMachineStep():
                await self._machine_step(effect)
            case Reassert(slot=slot):
                self._gate.require_created()
                if self._gate.is_open and slot < self._config.possible:
                    self._reassert(slot)
            case RaiseGed():
                self._gate.require_created()
                if self._gate.is_open:  # or a reset has settled it
                    self._raise_ged()
            case AnswerCpuOn():
                self.power.answer(effect)
        return None

    async def _slot_step(self, step: Step, slot: int) -> int | None:
        while await self._gate.admits(step, slot):
            if self._at_once(step, slot):
                return None
            async with self._alone():
                if self._gate.takes_steps:
                    return await self._step(step, slot)
        return None

    async def _machine_step(self, effect: RunMachineStep) -> None:
        self._gate.check(effect.step)
        match effect.step:
            case MachineStep.CREATE_VCPUS:
                await self._created()
            case MachineStep.INIT_GIC:
                await self._init_gic()
                self._gate.open()
            case MachineStep.START:
                async with self._alone():
                    await self._restore(effect.enabled)  # also what was plugged before the boot
                    await self._start()
            case MachineStep.RESTART:
                async with self._alone():
                    await self._restore(effect.enabled)
                    await self._start()
                    self._gate.open()
            case MachineStep.RESET:
                await self.reset()
            case MachineStep.PAUSE | MachineStep.RESUME:
                async with self._alone():
                    self._pause(effect.step is MachineStep.PAUSE)
            case MachineStep.POWER_DOWN:
                self._end(ENDED)
                if self.qemu is not None:
                    await self.qemu.quit()
            case MachineStep.MIGRATE:
                async with self._alone():
                    await self._migrate()

    def _pause(self, paused: bool) -> None:
        self._paused = paused
        if paused:
            self._gate.pause()
        else:
            self._gate.resume()
        self._let_go()

    async def _created(self) -> None:
        try:
            hardware = await self._create()
        except QemuError as error:
            raise EffectError(str(error)) from error
        self._meet(hardware)
        self._gate.created()

    def _meet(self, hardware: Hardware) -> None:
        """Make the guest, where the session was given a script, on that hardware."""
        if self._script is not None:
            script = self._script
            self._guest = make_guest(
                script.kind, self._config, script.append, hardware,
                answers=script.answers, rules=self._rules,
            )  # fmt: skip

    async def _start(self) -> None:
        if self._guest is None:
            raise EffectError(NO_GUEST)
        await self._set_up()
        self.power.on.add(0)
        self._guest.start()
        self._started = True
        self._let_go()

    async def _migrate(self) -> None:
        here = self._running()
        self._going.clear()
        try:
            await self._move()
        except QemuError as error:
            if here.lost is not None:
                raise
            self._let_go()
            raise EffectError(str(error)) from error
        await here.close()
        self._let_go()

    # ---------------------------------------------------------------- the guest's

    async def reset(self) -> None:
        """Reset the machine, as the user or the guest asks; what is plugged stays so.

        It goes on to its end though whoever asked is cancelled, as the guest is by it.
        """
        await asyncio.shield(self._spawn(self._reset()))

    def power_off(self) -> None:
        """The guest has powered the machine off: it stands still, and a reset starts it anew."""
        self._gate.shut()
        self._going.clear()
        self._started = False
        if self._guest is not None:
            self._guest.stop()
        self.power.reset()
        self._report(PowerOffSeen())

    async def guest_may_act(self) -> None:
        """Wait for as long as the guest's time stands still. Raises AcceleratorError."""
        while not self._going.is_set():
            await self._going.wait()
        self._running()

    async def _reset(self) -> None:
        async with self._alone():
            self._going.clear()
            self._gate.shut()
            self._started = False
            if self._guest is not None:
                self._guest.stop()
            self.power.reset()
            await self._running().reset()
            self._forget()
        self._report(ResetSeen())

    def _let_go(self) -> None:
        """Let the guest's time pass, or not; what pended meanwhile is taken."""
        if self._gate.gone is not None:
            return
        if self._may_go():
            self._going.set()
            self._look_for_interrupt()
        else:
            self._going.clear()

    # ------------------------------------------------------------------- helpers

    @asynccontextmanager
    async def _alone(self) -> AsyncIterator[None]:
        async with self._order:
            self._running()
            yield

    def _running(self) -> StoppedQemu:
        self._gate.require_created()
        assert self.qemu is not None, "the gate knows of it"
        return self.qemu

    def _spawn(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._lose(str(error))

    def _lose(self, why: str) -> None:
        if self._end(why):
            self._report(Lost(why))

    def _end(self, why: str) -> bool:
        """Whatever waits, and whatever comes, is told that the machine is gone.

        False where it was gone before.
        """
        first = self._gate.end(why)
        if self._guest is not None:
            self._guest.stop()
        self.power.end(why)
        self._going.set()
        return first
