"""A session: effects become requests to the monitor, or QMP commands; frames, stimuli.

It mirrors what each slot was given, since the monitor forgets all of it at a reset.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

import attrs
import structlog

from hpcore.door.front import BeforeStart
from hpcore.model.config import MachineConfig
from hpcore.model.effects import (
    NOTIFICATIONS,
    AnswerCpuOn,
    Effect,
    RaiseGed,
    Reassert,
    RunMachineStep,
    RunStep,
    Step,
)
from hpcore.model.states import State
from hpcore.qemu.errors import QemuError
from hpcore.qemu.live_migration import hand_over_running, settle
from hpcore.qemu.migration import last_words, runs
from hpcore.run.accelerator import (
    NEVER_WIRED,
    NO_GUEST,
    AcceleratorError,
    Belongings,
    EffectError,
    Report,
)
from hpcore.session.carrying import CarryingSession, Hears
from hpcore.session.elsewhere import Elsewhere
from hpcore.session.turn import CallerTurn, without_cancelling
from hpcore_tcg.arriving import Arriving
from hpcore_tcg.belongings import belongings, epoch_of
from hpcore_tcg.build import Monitor
from hpcore_tcg.events import Interpreter, loss
from hpcore_tcg.link import LinkGone, RequestRefused, ResetMeanwhile
from hpcore_tcg.machine import DEAF, TcgMachine, Told
from hpcore_tcg.mirror import SlotMirror
from hpcore_tcg.protocol import STEP_OPS, Event, Frame, Op

log = structlog.get_logger(__name__)

StartMachine = Callable[[Told], Awaitable[TcgMachine]]

HELLO_SECONDS = 60.0
OFF_SECONDS = 10.0
"""For the monitor's word that the guest powers off, once QEMU has said that it is off. The
monitor says it first; QEMU's two sockets are read one after the other."""
OTHER_OFF_SECONDS = 0.5
"""For what the link still has where QEMU shuts down, and the monitor knows nothing of it."""
ANSWERED_SECONDS = 10.0
"""For the monitor's answers before the machine is carried. It takes about a millisecond."""
NOTIFICATION_OPS = frozenset(STEP_OPS[step] for step in NOTIFICATIONS)


class TcgSession(CarryingSession[TcgMachine]):
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
        elsewhere: Elsewhere[TcgMachine] | None = None,
        monitor: Monitor | None = None,
    ) -> None:
        """`start` makes the machine at CREATE_VCPUS; `boots` says that it has something to run.

        `before_start` is waited for at each RESTART, while the monitor alone runs. `elsewhere`:
        see CarryingSession; there the same `monitor` runs.
        """
        super().__init__("tcg", config, report, elsewhere)
        self._start_machine, self._boots, self._before_start = start, boots, before_start
        self._monitor = monitor
        self._leaves: asyncio.Task[None] | None = None
        self._had_before: TcgMachine | None = None
        """The QEMU that had the machine before, as long as it is not all heard."""
        self._mirror = SlotMirror()
        self._interpreter = Interpreter()
        self._epoch: int | None = None  # what the last HELLO said
        self._hello = asyncio.Event()
        self._off_said = asyncio.Event()
        self._hello_due = False  # by a reset that QEMU has told of

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
        """See QemuSession."""
        if self._leaves is not None:
            self._leaves.cancel()
            await asyncio.gather(self._leaves, return_exceptions=True)
        await super().close()

    async def _execute(self, effect: Effect, turn: CallerTurn) -> int | None:
        match effect:
            case RunStep(step=step, slot=slot):
                return await self._step(step, slot, turn)
            case RunMachineStep():
                await self._machine_step(effect, turn)
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
        while await self._admits(step, slot):
            if not self._free.is_set():
                await self._free.wait()
                continue
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

    async def _admits(self, step: Step, slot: int) -> bool:
        return await self._gate.admits(step, slot)

    async def _answer(self, op: Op, slot: int, turn: CallerTurn) -> None:
        """Nothing is reported for these, so a reset in between has simply settled them."""
        await self._free.wait()
        machine = self._running()
        if not self._gate.is_open or slot >= self._config.possible:
            return
        try:
            await machine.link.send(op, slot, turn=turn)
        except ResetMeanwhile:
            return
        except RequestRefused as refused:
            raise AcceleratorError(str(refused)) from refused

    async def _create(self) -> None:
        try:
            machine = await self._start_machine(self._told())
            self._met(machine)
            await machine.qmp.execute("cont")
        except QemuError as error:
            raise EffectError(str(error)) from error
        try:
            await asyncio.wait_for(self._hello.wait(), HELLO_SECONDS)
        except TimeoutError as error:
            words = machine.process.last_words
            await machine.close()
            raise EffectError(
                f"the EL3 monitor did not start within {HELLO_SECONDS:g} s; QEMU: {words}"
            ) from error

    def _told(self) -> Told:
        return Told(
            self._event,
            self._lose,
            lambda reason: self._tell(self._shut_down(reason)),
            lambda: self._tell(self._reset_standing_still()),
        )

    # ---------------------------------------------------- carried elsewhere: see CarryingSession

    async def _answered(self, machine: TcgMachine) -> None:
        try:
            await asyncio.wait_for(machine.link.answered(), ANSWERED_SECONDS)
        except TimeoutError:
            raise EffectError(
                "the EL3 monitor still owes answers, which it gives while the machine runs"
            ) from None

    async def _heard_all(self, machine: TcgMachine) -> None:
        await machine.link.heard_all()

    def _hand_on(self, here: TcgMachine, there: TcgMachine) -> None:
        there.link.go_on_from(here.link)

    @property
    def _heard_machine(self) -> TcgMachine | None:
        """The QEMU whose link is told on: not the one that has the machine, as long as there is
        something of the other one's left."""
        return self._had_before or self._machine

    def _listen(self, machine: TcgMachine, to: Hears) -> None:
        match to:
            case Hears.NOTHING:
                machine.tell(DEAF)
            case Hears.GUEST:
                machine.tell(attrs.evolve(DEAF, event=self._event))
            case Hears.ALL:
                machine.tell(self._told())

    async def _carry(self, here: TcgMachine, there: TcgMachine, *, live: bool) -> None:
        """See CarryingSession: one that runs goes on by itself."""
        if not live or not await runs(here.qmp):
            await super()._carry(here, there, live=False)
            return
        assert there.incoming is not None, "it was started to wait for a machine"
        arriving = Arriving(there)
        try:
            await hand_over_running(here, there, there.incoming)
        except BaseException as error:
            if not await without_cancelling(settle(here, there, spoke=there.spoke)):
                if isinstance(error, QemuError):
                    words = await last_words(there)
                    raise QemuError(f"{error}; the other QEMU: {words}") from error
                raise
        await without_cancelling(self._follow(here, there, arriving))

    async def _follow(self, here: TcgMachine, there: TcgMachine, arriving: Arriving) -> None:
        """The machine runs `there`. What it has said `here` is told before all that it says.

        A reset among that is told behind the end of this step, and so is what follows.
        """
        self._listen(here, Hears.GUEST)
        self._had_before = here
        if self._followed is not None and there.console is not None:
            self._followed.follow(there.console)
        there.process.all_connected()
        self._leaves = asyncio.create_task(self._leave(here, there, arriving))
        reset = asyncio.create_task(here.migration.until_interrupted())
        await asyncio.wait({self._leaves, reset}, return_when=asyncio.FIRST_COMPLETED)
        reset.cancel()
        self._machine = there

    async def _leave(self, here: TcgMachine, there: TcgMachine, arriving: Arriving) -> None:
        try:
            await here.link.heard_all()
            self._hand_on(here, there)
            self._machine, self._had_before = there, None
            arriving.taken(self._told())
            self._listen(here, Hears.NOTHING)
            here.has_no_machine()
            await here.quit()
        finally:
            await here.close()

    def _belongings(
        self, alike: dict[str, str], elsewhere: Elsewhere[TcgMachine]
    ) -> Belongings:
        if self._monitor is None or self._epoch is None:
            raise EffectError(self.stays)
        return belongings(alike, elsewhere.boot, self._monitor, epoch=self._epoch)

    def _expect(self, there: TcgMachine, state: State, saved: Belongings) -> None:
        epoch_of(saved)

    def _has_come(self, state: State, saved: Belongings) -> None:
        assert self._machine is not None, "it is here"
        self._machine.link.begin()
        self._epoch, self._mirror = epoch_of(saved), SlotMirror.of(state)
        self._hello.set()
        self._gate.created()
        self._gate.open()
        self._gate.pause()

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
        link.one_by(turn)
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
            self._mark_heard()
            self._report(stimulus)

    async def _hello_said(self, frame: Frame) -> None:
        first = self._epoch is None
        told, self._hello_due = self._hello_due, False
        self._epoch = frame["epoch"]
        self._off_said.clear()
        self._gate.shut()
        self._hello.set()
        if not first and not told:
            await self._was_reset(self._mark_heard)

    def _mark_heard(self) -> None:
        if self._heard_machine is not None:
            self._heard_machine.link.told()

    async def _settle(self) -> None:
        assert self._machine is not None, "who was reset was there"
        for interrupted in self._machine.link.interrupt():
            if interrupted.op in NOTIFICATION_OPS and interrupted.turn is not None:
                await interrupted.turn.wait()

    async def _told_of_power_off(self, reason: str) -> None:
        """The monitor says SYSTEM_OFF last. It says nothing where QEMU ends a reset by shutting
        down (-no-reboot), or somebody else ends QEMU."""
        seconds = OFF_SECONDS if reason == "guest-shutdown" else OTHER_OFF_SECONDS
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._off_said.wait(), seconds)
        self._off_said.clear()

    async def _reset_standing_still(self) -> None:
        async with self._changes:
            self._hello_due = True
            self._hello.clear()
            self._gate.shut()
            await self._was_reset()

    def _end(self, why: str) -> bool:
        first = super()._end(why)
        self._hello.set()
        if self._machine is not None:
            self._machine.link.end(why)
        return first
