"""A session: effects act on QEMU's GIC and on the hotplug registers; the guest is played.

Everything that takes more than one exchange with QEMU is done by one task at a time, in the
order in which it was asked for. What the guest sees of a notification happens in one piece,
so that `execute` has returned before the guest can have acted on it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager

import structlog
from attrs import define

from hpcore.guest.played import PlayedGuest, make_guest
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
from hpcore.model.machine import MachineConfig
from hpcore.model.stimuli import Lost, PowerOffSeen, ResetSeen
from hpcore.model.topology import mp_affinity
from hpcore.platform.hotplug_device import HotplugDevice
from hpcore.qemu.errors import QemuError
from hpcore.qemu.find import Qemu
from hpcore.run.accelerator import AcceleratorError, Console, EffectError, GuestScript, Report
from hpcore_qtest.machine import Ears
from hpcore_qtest.power import Power
from hpcore_qtest.redistributor import RedistributorError
from hpcore_qtest.virt_machine import GED_SPI, VirtMachine
from hpcore_qtest.wiring import MachineWiring

log = structlog.get_logger(__name__)

NOTIFICATIONS = frozenset({Step.NOTIFY_INSERT, Step.NOTIFY_REMOVE})
TOLD_AT_ONCE = NOTIFICATIONS | {Step.ENABLE, Step.DISABLE}
"""The steps that are the hotplug registers'; they touch no QEMU."""


@define
class _Interface:
    """What a slot has of the GIC: whose redistributor, and whether it is wired."""

    frame: int | None = None
    wired: bool = False


class QtestSession:
    """One machine. See `hpcore.run.accelerator.Session` for what its methods promise.

    `device` has the hotplug registers, `machine` is the QEMU that runs now.
    """

    console: Console | None = None
    """None: no code runs that could print."""

    def __init__(
        self, config: MachineConfig, script: GuestScript | None, qemu: Qemu, report: Report
    ) -> None:
        self._config, self._script, self._qemu, self._report = config, script, qemu, report
        self.machine: VirtMachine | None = None
        self.device = HotplugDevice(config, report, self._raise_ged)
        self.power = Power(config.possible, report)
        self._interfaces = [_Interface() for _ in range(config.possible)]
        self._guest: PlayedGuest | None = None
        self._order = asyncio.Lock()
        self._ready = asyncio.Event()  # steps are taken: the GIC is there, no reset is open
        self._going = asyncio.Event()  # the guest's time passes
        self._paused = self._started = False
        self._lost: str | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def played(self) -> PlayedGuest | None:
        """The guest, once CREATE_VCPUS is done and if the session was given a script."""
        return self._guest

    @property
    def process_id(self) -> int | None:
        """QEMU's, once CREATE_VCPUS is done; a migration changes it."""
        return None if self.machine is None else self.machine.machine.process.pid

    async def execute(self, effect: Effect) -> int | None:
        """Carry `effect` out; see the protocol."""
        try:
            return await self._execute(effect)
        except RedistributorError as error:
            raise EffectError(str(error)) from error
        except QemuError as error:
            raise AcceleratorError(self._lost or str(error)) from error

    async def close(self) -> None:
        """End QEMU and all that belongs to it."""
        self._end("the machine was ended")
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self.machine is not None:
            await self.machine.machine.close()

    # ------------------------------------------------------------------- effects

    async def _execute(self, effect: Effect) -> int | None:
        match effect:
            case RunStep(step=step, slot=slot):
                return await self._step(step, slot)
            case RunMachineStep():
                await self._machine_step(effect)
            case Reassert(slot=slot):
                if self._ready.is_set() and slot < self._config.possible:
                    self.device.reassert(slot)
            case RaiseGed():
                if self._ready.is_set():  # or a reset has settled it
                    self.device.raise_ged()
            case AnswerCpuOn():
                self.power.answer(effect)
        return None

    async def _step(self, step: Step, slot: int) -> int | None:
        if step in NOTIFICATIONS and not self._ready.is_set():
            self._running()
            return None  # asked for before the core has heard of the reset
        if step in TOLD_AT_ONCE:
            await self._ready.wait()
            self._running()
            self.device.apply(step, slot)
            return None
        async with self._turn():
            return await self._on_gic(step, slot)

    async def _on_gic(self, step: Step, slot: int) -> int | None:
        gicr, interface = self._running().gicr, self._interfaces[slot]
        match step:
            case Step.BIND:
                frame = await gicr.find(mp_affinity(slot))
                if frame is None:
                    raise EffectError(f"no redistributor has the affinity of vCPU {slot}")
                await gicr.clear(frame)
                interface.frame = frame
                return await gicr.affinity(frame)
            case Step.WIRE:
                await gicr.wake(self._bound(slot))
                interface.wired = True
            case Step.UNWIRE:
                await gicr.sleep(self._bound(slot))
                interface.wired = False
            case Step.UNBIND:
                if interface.wired:
                    raise EffectError(f"the CPU interface of vCPU {slot} is still wired")
                await gicr.clear(self._bound(slot))
                interface.frame = None
            case Step.PARK:
                if interface.frame is not None:
                    raise EffectError(f"the CPU interface of vCPU {slot} is still bound")
            case Step.POWER_OFF:
                self.power.on.discard(slot)
        return None

    async def _machine_step(self, effect: RunMachineStep) -> None:
        match effect.step:
            case MachineStep.CREATE_VCPUS:
                await self._create()
            case MachineStep.INIT_GIC:
                await self._running().gicr.check()
                self._ready.set()
            case MachineStep.START:
                async with self._alone():
                    await self._start()
            case MachineStep.RESTART:
                async with self._alone():
                    await self._restart(effect.enabled)
            case MachineStep.RESET:
                await self.reset()
            case MachineStep.PAUSE | MachineStep.RESUME:
                async with self._alone():
                    self._paused = effect.step is MachineStep.PAUSE
                    self._let_go()
            case MachineStep.POWER_DOWN:
                self._end("the machine was ended")
                if self.machine is not None:
                    await self.machine.machine.quit()
            case MachineStep.MIGRATE:
                async with self._alone():
                    await self._migrate()

    async def _create(self) -> None:
        if self.machine is not None:
            raise EffectError("the vCPUs exist already; they are created once")
        try:
            self.machine = await VirtMachine.start(self._config, self._qemu, self._ears())
        except QemuError as error:
            raise EffectError(str(error)) from error
        if self._script is not None:
            kind, append = self._script.kind, self._script.append
            wiring = MachineWiring(self)
            self._guest = make_guest(kind, self._config, append, wiring)

    async def _start(self) -> None:
        if self._guest is None:
            raise EffectError("there is no guest to start: the session was opened without one")
        await self._running().ged.set_up()
        self.power.on.add(0)
        self._guest.start()
        self._started = True
        self._let_go()

    async def _restart(self, enabled: tuple[int, ...]) -> None:
        missing = [slot for slot in enabled if not self._interfaces[slot].wired]
        if missing:
            raise EffectError(f"vCPU {missing[0]} is to be enabled and was never wired")
        for interface in self._interfaces:
            if interface.wired and interface.frame is not None:
                await self._running().gicr.wake(interface.frame)
        for slot in enabled:
            self.device.apply(Step.ENABLE, slot)
        await self._start()
        self._ready.set()

    async def _migrate(self) -> None:
        here = self._running()
        self._going.clear()
        try:
            there = await here.moved()
        except QemuError as error:
            if here.machine.lost is not None:
                raise
            self._let_go()
            raise EffectError(str(error)) from error
        self.machine = there
        await here.machine.close()
        there.machine.listen(self._ears())
        self._let_go()

    # ---------------------------------------------------------------- the guest's

    async def reset(self) -> None:
        """Reset the machine, as the user or the guest asks; what is plugged stays so.

        It goes on to its end though whoever asked is cancelled, as the guest is by it.
        """
        await asyncio.shield(self._spawn(self._reset()))

    def power_off(self) -> None:
        """The guest has powered the machine off."""
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
            self._ready.clear()
            self._started = False
            if self._guest is not None:
                self._guest.stop()
            self.power.reset()
            await self._running().machine.reset()
            self.device.reset()
        self._report(ResetSeen())

    def _raise_ged(self) -> None:
        """The device has something to tell: an edge on the GED's SPI. The loop's thread."""
        if self.machine is None or self._lost is not None:
            return
        self.machine.ged.pulse().add_done_callback(self._pulsed)

    def _pulsed(self, sent: asyncio.Future[list[str]]) -> None:
        if not sent.cancelled() and (error := sent.exception()) is not None:
            self._lose(str(error))

    def _interrupted(self, number: int, raised: bool) -> None:
        if number == GED_SPI and raised:
            self._look_for_interrupt()

    def _look_for_interrupt(self) -> None:
        if self._going.is_set():
            self._spawn(self._take_interrupt())

    async def _take_interrupt(self) -> None:
        """vCPU 0 takes the GED's interrupt, if it pends: what the guest's own code would do."""
        async with self._alone():
            ged = self._running().ged
            if self._going.is_set() and await ged.pends():
                await ged.take()
                if self._guest is not None:
                    self._guest.ged_interrupt()

    def _let_go(self) -> None:
        """Let the guest's time pass, or not; what pended meanwhile is taken."""
        if self._lost is not None:
            return
        if self._started and not self._paused:
            self._going.set()
            self._look_for_interrupt()
        else:
            self._going.clear()

    # ------------------------------------------------------------------- helpers

    @asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        """A slot's step: alone, and not between a reset and its RESTART."""
        while True:
            await self._ready.wait()
            async with self._alone():
                if self._ready.is_set():
                    yield
                    return

    @asynccontextmanager
    async def _alone(self) -> AsyncIterator[None]:
        async with self._order:
            self._running()
            yield

    def _bound(self, slot: int) -> int:
        frame = self._interfaces[slot].frame
        if frame is None:
            raise EffectError(f"the CPU interface of vCPU {slot} is not bound")
        return frame

    def _running(self) -> VirtMachine:
        if self._lost is not None:
            raise AcceleratorError(self._lost)
        if self.machine is None:
            raise EffectError("there is no machine yet: CREATE_VCPUS comes first")
        return self.machine

    def _ears(self) -> Ears:
        return Ears(irq=self._interrupted, lost=self._lose)

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
        if self._lost is None:
            self._report(Lost(why))
            self._end(why)

    def _end(self, why: str) -> None:
        """Whatever waits, and whatever comes, is told that the machine is gone."""
        self._lost = self._lost or why
        if self._guest is not None:
            self._guest.stop()
        self.power.end(self._lost)
        self._ready.set()
        self._going.set()
