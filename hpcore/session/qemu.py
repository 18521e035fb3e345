"""A session on a QEMU: what QMP does and tells of the whole machine, the same for all of them.

What becomes of a slot is the accelerator's own affair.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine
from typing import Generic, TypeVar

import structlog

from hpcore.guest.protocol import Guest
from hpcore.model.config import MachineConfig
from hpcore.model.effects import Effect, MachineStep, RunMachineStep
from hpcore.model.stimuli import Lost, PowerOffSeen, ResetSeen
from hpcore.qemu.errors import QemuError
from hpcore.qemu.machine import QemuMachine
from hpcore.qemu.qmp import QmpRefused
from hpcore.run.accelerator import AcceleratorError, Console, EffectError, Report
from hpcore.run.gate import ENDED, Gate
from hpcore.session.turn import CallerTurn

log = structlog.get_logger(__name__)

RESET_ASKED = "host-qmp-system-reset"
"""QEMU's reason where a reset that was asked for by QMP is a shutdown."""
QMP_COMMAND = {
    MachineStep.RESET: "system_reset",
    MachineStep.PAUSE: "stop",
    MachineStep.RESUME: "cont",
}

M = TypeVar("M", bound=QemuMachine)


class QemuSession(ABC, Generic[M]):
    """One machine in a QEMU. See `hpcore.run.accelerator.Session` for what its methods promise.

    On a reset: the gate is shut as soon as the reset is known. Machine steps under way, and
    what else an accelerator has under way, return first; then `ResetSeen` is reported.
    """

    def __init__(self, accelerator: str, config: MachineConfig, report: Report) -> None:
        self._accelerator, self._config, self._report = accelerator, config, report
        self._machine: M | None = None
        self._gate = Gate(config.possible)
        self._machine_turn: CallerTurn | None = None
        self._reset_settled = asyncio.Event()
        self._shut_down_instead = False
        self._changes = asyncio.Lock()  # of what QEMU tells, in its order
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def console(self) -> Console | None:
        """The guest's console, once CREATE_VCPUS is done."""
        return None if self._machine is None else self._machine.console

    @property
    def played(self) -> Guest | None:
        """None: a real guest runs."""
        return None

    @property
    def process_id(self) -> int | None:
        """QEMU's, once CREATE_VCPUS is done."""
        return None if self._machine is None else self._machine.process.pid

    @abstractmethod
    async def execute(self, effect: Effect) -> int | None:
        """Carry `effect` out; see the protocol."""

    async def close(self) -> None:
        """End QEMU and all that belongs to it."""
        for task in self._tasks:
            task.cancel()
        if self._machine is not None:
            await self._machine.close()
        self._end(ENDED)

    # ------------------------------------------------------ what differs between accelerators

    @abstractmethod
    async def _create(self) -> None:
        """CREATE_VCPUS, but for what the gate is told."""

    @abstractmethod
    async def _init_gic(self) -> None:
        """INIT_GIC, with what the gate is told."""

    @abstractmethod
    async def _start(self, turn: CallerTurn) -> None:
        """START."""

    @abstractmethod
    async def _restart(self, enabled: tuple[int, ...], turn: CallerTurn) -> None:
        """RESTART, with what the gate is told."""

    @abstractmethod
    async def _settle(self) -> None:
        """A reset has come: return once what it has interrupted has been told of it."""

    @abstractmethod
    async def _told_of_power_off(self, reason: str) -> None:
        """QEMU has shut down: return once all that came before that has been reported."""

    # ---------------------------------------------------------------- steps of the machine

    async def _machine_step(self, effect: RunMachineStep, turn: CallerTurn) -> None:
        self._machine_turn = turn
        try:
            self._gate.check(effect.step)
            await self._do(effect, turn)
        finally:
            if self._machine_turn is turn:
                self._machine_turn = None

    async def _do(self, effect: RunMachineStep, turn: CallerTurn) -> None:
        match effect.step:
            case MachineStep.CREATE_VCPUS:
                await self._create()
                self._gate.require_present()
                self._gate.created()
            case MachineStep.INIT_GIC:
                await self._init_gic()
            case MachineStep.START:
                await self._start(turn)
            case MachineStep.RESTART:
                await self._restart(effect.enabled, turn)
            case MachineStep.RESET:
                await self._reset()
            case MachineStep.PAUSE | MachineStep.RESUME:
                await self._pause_or_resume(effect.step)
            case MachineStep.POWER_DOWN:
                if self._machine is not None:
                    await self._machine.quit()
                self._end(ENDED)
            case MachineStep.MIGRATE:
                await self._migrate()
            case MachineStep.SAVE:
                raise EffectError("a machine is saved by Session.save, which knows where to")

    @abstractmethod
    async def _migrate(self) -> None:
        """MIGRATE. See `hpcore.qemu.migration`."""

    async def _reset(self) -> None:
        """Have QEMU reset the machine, and wait until it has, or has shut down instead."""
        self._reset_settled.clear()
        self._shut_down_instead = False
        await self._command(MachineStep.RESET)
        await self._reset_settled.wait()
        self._gate.require_present()
        if self._shut_down_instead:
            raise EffectError("QEMU has shut down instead of a reset, as -no-reboot has it do")

    async def _pause_or_resume(self, step: MachineStep) -> None:
        if step is MachineStep.PAUSE:
            self._gate.pause()
        try:
            await self._command(step)
        except BaseException:
            if step is MachineStep.PAUSE:
                self._gate.resume()
            raise
        if step is MachineStep.RESUME:
            self._gate.resume()

    async def _command(self, step: MachineStep) -> None:
        """The QMP command of `step`. Raises EffectError where QEMU refuses it, AcceleratorError
        where it does not answer."""
        try:
            await self._running().qmp.execute(QMP_COMMAND[step])
        except QmpRefused as error:
            raise EffectError(str(error)) from error
        except QemuError as error:
            raise AcceleratorError(str(error)) from error

    def _running(self) -> M:
        self._gate.require_created()
        assert self._machine is not None, "the gate knows of it"
        return self._machine

    # ------------------------------------------------------------------ what QEMU has told

    def _tell(self, change: Coroutine[None, None, None]) -> None:
        """Have `change` done behind those before it."""
        task = asyncio.create_task(change)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _was_reset(self, told: Callable[[], None] = lambda: None) -> None:
        """The reset is reported once all that was under way has been told of it; `told` is
        called just before."""
        if self._machine is None:
            return
        self._machine.migration.interrupt("the machine was reset meanwhile")
        self._reset_settled.set()
        await self._settle()
        if self._machine_turn is not None:
            await self._machine_turn.wait()
        told()
        self._report(ResetSeen())

    async def _shut_down(self, reason: str) -> None:
        if self._machine is not None:
            self._machine.migration.interrupt("the machine was shut down meanwhile")
        async with self._changes:
            await self._told_of_power_off(reason)
            self._gate.shut()
            self._report(PowerOffSeen())
            if reason == RESET_ASKED:
                self._shut_down_instead = True
                self._reset_settled.set()

    def _lose(self, why: str) -> None:
        if self._end(why):
            log.error("the machine is lost", why=why)
            self._report(Lost(why))

    def _end(self, why: str) -> bool:
        """Whatever waits, and whatever comes, is told that the machine is gone.

        False where it was gone before.
        """
        first = self._gate.end(why)
        self._reset_settled.set()
        return first
