"""A session: effects become requests to the monitor, or QMP commands; frames, stimuli.

It mirrors what each slot was given, since the monitor forgets all of it at a reset.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Coroutine

import structlog

from hpcore.door.front import BeforeStart
from hpcore.guest.protocol import Guest
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
from hpcore.model.stimuli import Lost, PowerOffSeen, ResetSeen
from hpcore.qemu.errors import QemuError
from hpcore.run.accelerator import (
    NEVER_WIRED,
    NO_GUEST,
    AcceleratorError,
    Console,
    EffectError,
    Report,
)
from hpcore.run.gate import ENDED, Gate
from hpcore_tcg.events import Interpreter, loss
from hpcore_tcg.link import CallerTurn, LinkGone, RequestRefused, ResetMeanwhile
from hpcore_tcg.machine import TcgMachine, Told
from hpcore_tcg.mirror import SlotMirror
from hpcore_tcg.protocol import STEP_OPS, Event, Frame, Op

log = structlog.get_logger(__name__)

StartMachine = Callable[[Told], Awaitable[TcgMachine]]

HELLO_SECONDS = 60.0
RESET_ASKED = "host-qmp-system-reset"
"""QEMU's reason where a reset that was asked for by QMP is a shutdown."""
OFF_SECONDS = 10.0
"""For the monitor's word that the guest powers off, once QEMU has said that it is off. The
monitor says it first; QEMU's two sockets are read one after the other."""
OTHER_OFF_SECONDS = 0.5
"""For what the link still has where QEMU shuts down, and the monitor knows nothing of it."""
NOTIFICATION_OPS = frozenset(STEP_OPS[step] for step in NOTIFICATIONS)
QMP_COMMAND = {
    MachineStep.RESET: "system_reset",
    MachineStep.PAUSE: "stop",
    MachineStep.RESUME: "cont",
}


class TcgSession:
    """One machine. See `hpcore.run.accelerator.Session` for what its methods promise.

    On order: `execute` returns before any event that the monitor sent after its answer is
    reported. The callbacks of a task that awaits `execute` have run by then, too.

    On a reset: the gate is shut when the monitor says HELLO again. Machine steps and
    notifications under way return first, then `ResetSeen` is reported. A step under way is
    sent again once the gate is open.

    On a reset of a machine that stands still, because it is paused or off: no monitor runs
    that could say HELLO, so that QEMU's own word is taken. What the link brings between that
    and the HELLO is from before, and dropped.

    On a power-off: QEMU says so by QMP, the monitor by the link, in either order. It is
    reported once both have, and before any reset that follows.
    """

    def __init__(
        self,
        config: MachineConfig,
        start: StartMachine,
        report: Report,
        *,
        boots: bool,
        before_start: BeforeStart | None = None,
    ) -> None:
        """`start` makes the machine at CREATE_VCPUS; `boots` says that it has something to run.

        `before_start` is waited for at each RESTART, while the monitor alone runs.
        """
        self._config, self._start_machine, self._boots = config, start, boots
        self._report, self._before_start = report, before_start
        self._machine: TcgMachine | None = None
        self._machine_turn: CallerTurn | None = None
        self._mirror = SlotMirror()
        self._interpreter = Interpreter()
        self._epoch: int | None = None  # what the last HELLO said
        self._hello = asyncio.Event()
        self._gate = Gate(config.possible)
        self._off_said = asyncio.Event()
        self._reset_settled = asyncio.Event()
        self._shut_down_instead = False
        self._hello_due = False  # by a reset that QEMU has told of
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

    async def execute(self, effect: Effect) -> int | None:
        """Carry `effect` out; see the protocol."""
        turn = CallerTurn()
        try:
            return await self._execute(effect, turn)
        except LinkGone as error:
            raise AcceleratorError(self._gate.gone or str(error)) from error
        finally:
            turn.end()

    async def close(self) -> None:
        """End QEMU and all that belongs to it."""
        for task in self._tasks:
            task.cancel()
        machine = self._machine
        if machine is not None:
            await machine.close()
        self._end(ENDED)

    async def _execute(self, effect: Effect, turn: CallerTurn) -> int | None:
        match effect:
            case RunStep(step=step, slot=slot):
                return await self._step(step, slot, turn)
            case RunMachineStep():
                self._machine_turn = turn
                try:
                    await self._machine_step(effect, turn)
                finally:
                    if self._machine_turn is turn:
                        self._machine_turn = None
            case Reassert(slot=slot):
                await self._answer(Op.REASSERT, slot, turn)
            case RaiseGed():
                await self._answer(Op.RAISE_GED, 0, turn)
            case AnswerCpuOn():
                raise AcceleratorError(
                    "the EL3 monitor answers CPU_ON by itself; there is no call to answer"
                )
        return None

    async def _step(self, step: Step, slot: int, turn: CallerTurn) -> int | None:
        cold = step is Step.REALIZE and self._config.cold_booted(slot)
        while await self._gate.admits(step, slot):
            try:
                value = await self._running().link.send(
                    STEP_OPS[step], slot, int(cold), turn=turn
                )
            except ResetMeanwhile:
                if step in NOTIFICATIONS:
                    return None  # whatever has become of the gate meanwhile
            except RequestRefused as refused:
                raise EffectError(str(refused)) from refused
            else:
                self._mirror.done(step, slot)
                return value if step is Step.BIND else None
        return None

    async def _answer(self, op: Op, slot: int, turn: CallerTurn) -> None:
        """Nothing is reported for these, so a reset in between has simply settled them."""
        machine = self._running()
        if not self._gate.is_open or slot >= self._config.possible:
            return
        try:
            await machine.link.send(op, slot, turn=turn)
        except ResetMeanwhile:
            return
        except RequestRefused as refused:
            raise AcceleratorError(str(refused)) from refused

    async def _machine_step(self, effect: RunMachineStep, turn: CallerTurn) -> None:
        self._gate.check(effect.step)
        match effect.step:
            case MachineStep.CREATE_VCPUS:
                await self._create()
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
                raise EffectError("migration is not supported yet on tcg")

    async def _reset(self) -> None:
        """Have QEMU reset the machine, and wait until it has, or has shut down instead."""
        machine = self._running()
        self._reset_settled.clear()
        self._shut_down_instead = False
        await machine.command(QMP_COMMAND[MachineStep.RESET])
        await self._reset_settled.wait()
        self._gate.require_present()
        if self._shut_down_instead:
            raise EffectError("QEMU has shut down instead of a reset, as -no-reboot has it do")

    async def _pause_or_resume(self, step: MachineStep) -> None:
        if step is MachineStep.PAUSE:
            self._gate.pause()
        try:
            await self._running().command(QMP_COMMAND[step])
        except BaseException:
            if step is MachineStep.PAUSE:
                self._gate.resume()
            raise
        if step is MachineStep.RESUME:
            self._gate.resume()

    async def _create(self) -> None:
        try:
            self._machine = await self._start_machine(
                Told(
                    self._event,
                    self._lose,
                    lambda reason: self._tell(self._shut_down(reason)),
                    lambda: self._tell(self._reset_standing_still()),
                )
            )
        except QemuError as error:
            raise EffectError(str(error)) from error
        await self._machine.command("cont")
        try:
            await asyncio.wait_for(self._hello.wait(), HELLO_SECONDS)
        except TimeoutError as error:
            words = self._machine.process.last_words
            await self._machine.close()
            raise EffectError(
                f"the EL3 monitor did not start within {HELLO_SECONDS:g} s; QEMU: {words}"
            ) from error
        self._gate.require_present()
        self._gate.created()

    async def _init_gic(self) -> None:
        link, epoch = self._running().link, self._epoch
        assert epoch is not None
        try:
            found = await link.send(Op.INIT, arg=epoch)
        except ResetMeanwhile as error:
            raise EffectError("the machine was reset while the GIC was initialised") from error
        except RequestRefused as refused:
            raise EffectError(str(refused)) from refused
        if found < self._config.possible:
            raise EffectError(
                f"the GIC has {found} redistributors for {self._config.possible} possible "
                "vCPUs; this QEMU cannot run the machine: lower maxcpus"
            )
        self._gate.open()
        if self._epoch != epoch:
            self._gate.shut()

    async def _start(self, turn: CallerTurn) -> None:
        link = self._running().link
        if not self._boots:
            raise EffectError(NO_GUEST)
        try:
            await link.send(Op.RUN, turn=turn)
        except ResetMeanwhile:
            return  # the reset settles the start, done or not: ResetSeen follows
        except RequestRefused as refused:
            raise EffectError(str(refused)) from refused

    async def _restart(self, enabled: tuple[int, ...], turn: CallerTurn) -> None:
        await self._hello.wait()  # of a machine that was reset while it stood still
        link, epoch = self._running().link, self._epoch
        assert epoch is not None
        missing = [slot for slot in enabled if not self._mirror.wired(slot)]
        if missing:
            raise EffectError(NEVER_WIRED.format(missing[0]))
        if self._before_start is not None:
            await self._before_start()
            if self._epoch != epoch or not self._hello.is_set():
                return  # it was reset meanwhile; the next ResetSeen asks for another RESTART
        requests = [link.send(Op.INIT, arg=epoch)]
        for step, slot in self._mirror.replay(enabled):
            cold = step is Step.REALIZE and self._config.cold_booted(slot)
            requests.append(link.send(STEP_OPS[step], slot, int(cold)))
        try:
            for request in requests:
                await request
            if self._epoch != epoch:
                return
            last = link.send(Op.RUN, turn=turn)
            self._gate.open()  # steps that waited follow RUN on the link
            await last
        except ResetMeanwhile:
            return  # the next ResetSeen asks for another RESTART
        except RequestRefused as refused:
            raise EffectError(str(refused)) from refused

    def _running(self) -> TcgMachine:
        self._gate.require_created()
        assert self._machine is not None, "the gate knows of it"
        return self._machine

    async def _event(self, frame: Frame) -> None:
        if self._hello_due and frame.kind != Event.HELLO:
            log.info("what the monitor said before the reset; dropped", kind=frame.kind)
        elif (why := loss(frame)) is not None:
            self._lose(why)
        elif frame.kind == Event.HELLO:
            await self._hello_said(frame)
        elif frame.kind == Event.SYSTEM_OFF:
            self._off_said.set()
        elif (stimulus := self._interpreter.stimulus(frame)) is not None:
            self._report(stimulus)

    async def _hello_said(self, frame: Frame) -> None:
        first = self._epoch is None
        told, self._hello_due = self._hello_due, False
        self._epoch = frame["epoch"]
        self._off_said.clear()
        self._gate.shut()
        self._hello.set()
        if not first and not told:
            await self._was_reset()

    async def _was_reset(self) -> None:
        """The reset is reported once all that was under way has been told of it."""
        if self._machine is None:
            return
        self._reset_settled.set()
        for interrupted in self._machine.link.interrupt():
            if interrupted.op in NOTIFICATION_OPS and interrupted.turn is not None:
                await interrupted.turn.wait()
        if self._machine_turn is not None:
            await self._machine_turn.wait()
        self._report(ResetSeen())

    def _tell(self, change: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(change)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _shut_down(self, reason: str) -> None:
        """QEMU has shut down. What came before that on the link is told first.

        The monitor says SYSTEM_OFF last. It says nothing where QEMU ends a reset by shutting
        down (-no-reboot), or somebody else ends QEMU.
        """
        async with self._changes:
            seconds = OFF_SECONDS if reason == "guest-shutdown" else OTHER_OFF_SECONDS
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._off_said.wait(), seconds)
            self._off_said.clear()
            self._gate.shut()
            self._report(PowerOffSeen())
            if reason == RESET_ASKED:
                self._shut_down_instead = True
                self._reset_settled.set()

    async def _reset_standing_still(self) -> None:
        async with self._changes:
            self._hello_due = True
            self._hello.clear()
            self._gate.shut()
            await self._was_reset()

    def _lose(self, why: str) -> None:
        if self._end(why):
            self._report(Lost(why))

    def _end(self, why: str) -> bool:
        """Whatever waits, and whatever comes, is told that the machine is gone.

        False where it was gone before.
        """
        first = self._gate.end(why)
        self._hello.set()
        self._reset_settled.set()
        if self._machine is not None:
            self._machine.link.end(why)
        return first
