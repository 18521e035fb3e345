"""A session: effects become calls of the machine; what the guest does, stimuli.

On order. Everything that a guest can notice is done last, and without waiting, in the
turn of the event loop in which `execute` returns: what the guest does next comes from a
vCPU's thread through the loop's queue, behind that. What must wait (for threads to leave
KVM_RUN, or to end) does so under one lock, and a reset is reported under that lock, too.
"""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress
from typing import NoReturn

import structlog

from hpcore.guest.boot import BootFiles
from hpcore.guest.protocol import Guest
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
from hpcore.model.psci import PsciStatus
from hpcore.model.stimuli import Lost, PowerOffSeen, ResetSeen, Stimulus
from hpcore.run.accelerator import (
    NEVER_WIRED,
    NO_GUEST,
    AcceleratorError,
    Console,
    EffectError,
    Report,
)
from hpcore.run.gate import ENDED, Gate, Stage
from hpcore_kvm.blocking import BlockingCalls
from hpcore_kvm.boot import LoadError
from hpcore_kvm.console import UartConsole
from hpcore_kvm.errors import KvmError, MismatchError, OrderError
from hpcore_kvm.machine import KvmMachine
from hpcore_kvm.order import Order, SlotParts
from hpcore_kvm.threads import Hold
from hpcore_kvm.uapi import SystemEventType

log = structlog.get_logger(__name__)

OUT_SECONDS = 20.0
"""How long a vCPU's thread may take to leave KVM_RUN, or to end, once kicked. It takes a
millisecond or two; a thread that does not is stuck in the kernel."""

WAITS = frozenset({Step.BIND, Step.UNWIRE, Step.POWER_OFF, Step.STOP})
"""Steps that wait for threads to leave KVM_RUN, or to end."""

FAILURES = (KvmError, MismatchError, OrderError, LoadError, RuntimeError)
"""What KVM, a file or the host's want of threads makes of a call."""


class KvmSession:
    """One machine. See `hpcore.run.accelerator.Session` for what its methods promise.

    On a reset: the gate is shut at once. Machine steps under way, and steps that wait for
    threads, return first; then `ResetSeen` is reported.
    """

    def __init__(self, config: MachineConfig, images: BootFiles | None, report: Report) -> None:
        self._config, self._images = config, images
        self._tell = report
        self._loop = asyncio.get_running_loop()
        self._machine: KvmMachine | None = None
        self._console: UartConsole | None = None
        self._order = Order([SlotParts(config.cold_booted(i)) for i in range(config.possible)])
        self._gate = Gate(config.possible)
        self._waiting = asyncio.Lock()  # of who waits for threads, or reports a reset
        self._silent = False  # nothing is reported any more
        self._tasks: set[asyncio.Task[None]] = set()
        self._work = BlockingCalls()

    @property
    def console(self) -> Console | None:
        """The guest's console, once CREATE_VCPUS is done."""
        return self._console

    @property
    def played(self) -> Guest | None:
        """None: a real guest runs."""
        return None

    @property
    def process_id(self) -> int | None:
        """This process, once CREATE_VCPUS is done: the guest runs in its threads."""
        return None if self._machine is None else os.getpid()

    @property
    def machine(self) -> KvmMachine | None:
        """The machine, for measurements and tests, once CREATE_VCPUS is done."""
        return self._machine

    async def execute(self, effect: Effect) -> int | None:
        """Carry `effect` out; see the protocol."""
        match effect:
            case RunStep(step=step, slot=slot):
                return await self._step(step, slot)
            case RunMachineStep():
                await self._machine_step(effect)
            case AnswerCpuOn():
                self._answer_cpu_on(effect)
            case Reassert(slot=slot):
                machine = self._running()
                if self._gate.is_open and slot < self._config.possible:
                    machine.hotplug.reassert(slot)
            case RaiseGed():
                machine = self._running()
                if self._gate.is_open:  # or a reset has settled it
                    machine.hotplug.raise_ged()
        return None

    async def close(self) -> None:
        """End all threads, and free all that was made."""
        self._silent = True
        self._end(ENDED)
        await self._work.done()  # it uses what is about to be freed
        async with self._waiting:
            machine, self._machine = self._machine, None
            if machine is None:
                return
            machine.threads.hold(Hold.OVER)
            late = await self._work.do(machine.threads.join_all, OUT_SECONDS)
            if late:
                # what they run on must stay, as KVM may still write to it
                log.error("vcpu_threads_stuck", vcpus=late, seconds=OUT_SECONDS)
            else:
                await self._work.do(machine.close)

    # ------------------------------------------------------------------ steps of a slot

    async def _step(self, step: Step, slot: int) -> int | None:
        while await self._gate.admits(step, slot):
            self._check(step, slot)
            if step not in WAITS:
                return self._do(step, slot)
            async with self._waiting:
                if self._gate.takes_steps:
                    self._check(step, slot)
                    return await self._do_waiting(step, slot)
        return None

    def _check(self, step: Step, slot: int) -> None:
        self._order.check(step, slot, self._running().on(slot))

    def _do(self, step: Step, slot: int) -> int | None:
        """`step`, at once."""
        try:
            value = self._running().do(step, slot)
        except FAILURES as error:
            raise EffectError(f"{step.name} of vCPU {slot}: {error}") from error
        self._order.done(step, slot)
        return value

    async def _do_waiting(self, step: Step, slot: int) -> int | None:
        threads = self._running().threads
        match step:
            case Step.POWER_OFF:
                threads[slot].power_off()
                await self._wait_out(slot)
            case Step.STOP:
                if not await self._work.do(threads.join, slot, OUT_SECONDS):
                    self._stuck([slot])
            case _:
                threads.hold(Hold.WORK)
                try:
                    await self._wait_out()
                    return self._do(step, slot)
                finally:
                    threads.let_go(Hold.WORK)
        return self._do(step, slot)

    async def _wait_out(self, slot: int | None = None) -> None:
        """Wait until every thread, or that of `slot`, is out of KVM_RUN."""
        threads = self._running().threads
        if threads.wait_out(0, slot):  # most often none is in there
            late = await self._work.do(threads.wait_out, OUT_SECONDS, slot)
            if late:
                self._stuck(late)
        self._running()

    def _stuck(self, slots: list[int]) -> NoReturn:
        self._lose(
            f"the threads of vCPUs {slots} did not leave KVM_RUN within {OUT_SECONDS:g} s; "
            "the host's kernel log may say why"
        )
        raise AcceleratorError(self._gate.gone)

    # ------------------------------------------------------------- steps of the machine

    async def _machine_step(self, effect: RunMachineStep) -> None:
        self._gate.check(effect.step)
        try:
            match effect.step:
                case MachineStep.CREATE_VCPUS:
                    await self._create()
                case MachineStep.INIT_GIC:
                    await self._init_gic()
                case MachineStep.START:
                    await self._start()
                case MachineStep.RESET:
                    self._reset_begins()
                case MachineStep.RESTART:
                    await self._restart(effect.enabled)
                case MachineStep.PAUSE:
                    await self._pause()
                case MachineStep.RESUME:
                    async with self._waiting:  # a vCPU is touched, which work at the VGIC forbids
                        machine = self._running()
                        machine.start_time()
                        machine.threads.let_go(Hold.PAUSED)
                        self._gate.resume()
                case MachineStep.POWER_DOWN:
                    await self.close()
                case MachineStep.MIGRATE:
                    raise EffectError("migration is not supported yet on kvm")
        except FAILURES as error:
            raise EffectError(f"{effect.step.name}: {error}") from error

    async def _create(self) -> None:
        console = UartConsole()
        machine = KvmMachine(
            self._config, self._images, self._report, self._system_event, self._failed,
            console.print,
        )  # fmt: skip
        console.connect(machine.uart.receive)
        self._machine = machine
        try:
            await self._work.do(machine.create)
        except FAILURES:
            self._machine = None
            raise
        self._console = console
        self._gate.created()

    async def _init_gic(self) -> None:
        await self._work.do(self._running().init_gic)
        self._gate.open()

    async def _start(self) -> None:
        machine = self._running()
        if self._images is None:
            raise EffectError(NO_GUEST)
        if not self._order.slots[0].enabled:
            raise EffectError("START is refused: vCPU 0 is not enabled")
        if machine.on(0):
            raise EffectError("START is refused: the guest runs already")
        await self._work.do(machine.load)
        self._running()
        machine.enter_kernel()

    async def _restart(self, enabled: tuple[int, ...]) -> None:
        machine = self._running()
        if self._gate.stage is not Stage.SHUT:
            raise EffectError("RESTART is refused: there was no reset")
        for slot in enabled:
            if not self._order.slots[slot].wired:
                raise EffectError(NEVER_WIRED.format(slot))
        async with self._waiting:
            await self._work.do(machine.reset, enabled)
            if self._images is not None:
                await self._work.do(machine.load)
            self._running()
            for index, slot_ in enumerate(self._order.slots):
                slot_.enabled = index in enabled
            if self._images is not None:
                machine.enter_kernel()
            self._gate.open()
            machine.threads.let_go(Hold.RESET)

    async def _pause(self) -> None:
        machine = self._running()
        self._gate.pause()
        machine.threads.hold(Hold.PAUSED)
        async with self._waiting:
            await self._wait_out()
            try:
                machine.stop_time()
            except KvmError:
                machine.threads.let_go(Hold.PAUSED)
                self._gate.resume()
                raise

    def _answer_cpu_on(self, answer: AnswerCpuOn) -> None:
        """Let a vCPU on, or not; after a reset nobody waits for that, nor does a stopped caller."""
        machine = self._running()
        if not self._gate.is_open:
            return
        status = answer.status
        if answer.granted:
            if answer.slot not in machine.threads:
                raise AcceleratorError(
                    f"CPU_ON of vCPU {answer.slot} was granted, which is not realized"
                )
            try:
                machine.power_on(answer.slot, answer.entry, answer.context)
            except FAILURES as error:
                raise AcceleratorError(f"CPU_ON of vCPU {answer.slot}: {error}") from error
            status = PsciStatus.SUCCESS
        caller = machine.threads.get(answer.caller)  # its thread may be ending just now
        if caller is not None:
            caller.answer(status)

    def _running(self) -> KvmMachine:
        self._gate.require_created()
        assert self._machine is not None, "it is there until the gate says that it is gone"
        return self._machine

    # ---------------------------------------------------------- from the vCPUs' threads

    def _report(self, stimulus: Stimulus) -> None:
        if not self._silent:
            self._tell(stimulus)

    def _system_event(self, kind: int) -> None:
        machine = self._machine
        if machine is None:
            return
        if kind == SystemEventType.RESET:
            machine.threads.hold(Hold.RESET)
            self._loop.call_soon_threadsafe(self._guest_resets)
        else:
            machine.threads.hold(Hold.RESET)  # no vCPU runs before a RESTART, if one comes
            self._loop.call_soon_threadsafe(self._went_off)

    def _failed(self, why: str) -> None:
        if self._machine is not None:
            self._machine.threads.hold(Hold.OVER)
        self._loop.call_soon_threadsafe(self._lose, why)

    # -------------------------------------------------------------------- in the loop

    def _went_off(self) -> None:
        if self._gate.is_open and self._machine is not None:
            self._gate.shut()
            self._machine.threads.power_off_all()
            self._report(PowerOffSeen())

    def _guest_resets(self) -> None:
        if self._gate.is_open:  # or another vCPU has reset it, or powered it off, just before
            self._reset_begins()

    def _reset_begins(self) -> None:
        """No vCPU runs any more; ResetSeen follows once none is in KVM_RUN either.

        A machine that is off, or was reset in a pause, is reset again.
        """
        if self._machine is None:
            return
        self._gate.shut()
        self._machine.threads.hold(Hold.RESET)
        self._machine.threads.power_off_all()
        task = asyncio.create_task(self._report_reset())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _report_reset(self) -> None:
        async with self._waiting:
            if self._gate.gone is None:
                with suppress(AcceleratorError):
                    await self._wait_out()
                    self._report(ResetSeen())

    def _lose(self, why: str) -> None:
        if self._gate.gone is None:
            log.error("the machine is lost", why=why)
            if self._machine is not None:
                self._machine.threads.hold(Hold.OVER)
            self._report(Lost(why))
            self._end(why)

    def _end(self, why: str) -> None:
        """Whatever waits, and whatever comes, is told that the machine is gone."""
        self._gate.end(why)
        if self._console is not None:
            self._console.end()
