"""A session: effects become calls of the machine; what the guest does, stimuli.

On order. Everything that a guest can notice is done last, and without waiting, in the
turn of the event loop in which `execute` returns: what the guest does next comes from a
vCPU's thread through the loop's queue, behind that. What must wait (for threads to leave
KVM_RUN, or to end) does so under one lock, and a reset is reported under that lock, too.
"""

from __future__ import annotations

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
from hpcore.run.accelerator import NEVER_WIRED, NO_GUEST, AcceleratorError, EffectError
from hpcore.run.gate import Stage
from hpcore_kvm.base import FAILURES, OUT_SECONDS
from hpcore_kvm.carrying import Carrying
from hpcore_kvm.errors import KvmError
from hpcore_kvm.machine import KvmMachine
from hpcore_kvm.threads import Hold

WAITS = frozenset({Step.BIND, Step.UNWIRE, Step.POWER_OFF, Step.STOP})
"""Steps that wait for threads to leave KVM_RUN, or to end."""


class KvmSession(Carrying):
    """One machine. See `hpcore.run.accelerator.Session` for what its methods promise.

    On a reset: the gate is shut at once. Machine steps under way, and steps that wait for
    threads, return first; then `ResetSeen` is reported.
    """

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
                await self._free.wait()
                machine = self._running()
                if self._gate.is_open and slot < self._config.possible:
                    machine.hotplug.reassert(slot)
            case RaiseGed():
                await self._free.wait()
                machine = self._running()
                if self._gate.is_open:  # or a reset has settled it
                    machine.hotplug.raise_ged()
        return None

    # -------------------------------------------------------------------- steps of a slot

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

    # --------------------------------------------------------------- steps of the machine

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
                    await self._migrate()
        except FAILURES as error:
            raise EffectError(f"{effect.step.name}: {error}") from error

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
        self._enter_kernel(machine)

    def _enter_kernel(self, machine: KvmMachine) -> None:
        machine.enter_kernel()
        self._order.runs(0)

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
                self._enter_kernel(machine)
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
            if not self._order.may_run(answer.slot):
                raise AcceleratorError(
                    f"CPU_ON of vCPU {answer.slot} was granted, which is not realized"
                )
            try:
                machine.power_on(answer.slot, answer.entry, answer.context)
            except FAILURES as error:
                raise AcceleratorError(f"CPU_ON of vCPU {answer.slot}: {error}") from error
            self._order.runs(answer.slot)
            status = PsciStatus.SUCCESS
        caller = machine.threads.get(answer.caller)  # its thread may be ending just now
        if caller is not None:
            caller.answer(status)
