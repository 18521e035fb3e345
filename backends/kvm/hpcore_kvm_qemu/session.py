"""A session: effects become words in the policy page, hotplug registers, or QMP commands."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from hpcore_kvm.order import Order, SlotParts

from hpcore.door.front import BeforeStart
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
from hpcore.model.stimuli import GuestCall
from hpcore.qemu.errors import QemuError
from hpcore.run.accelerator import (
    NEVER_WIRED,
    NO_GUEST,
    AcceleratorError,
    EffectError,
    Report,
)
from hpcore.run.gate import ENDED, Stage
from hpcore.session.qemu import QemuSession
from hpcore.session.turn import CallerTurn
from hpcore_kvm_qemu.machine import KvmQemuMachine, Told

StartMachine = Callable[[Told], Awaitable[KvmQemuMachine]]

READY_SECONDS = 60.0
"""For all vCPUs to come to their first KVM_RUN. They take milliseconds."""
OUT_SECONDS = 60.0
"""For a vCPU's thread to do what the page asks of it, while QEMU runs. It takes a millisecond or
two; a thread that does not is stuck in the kernel."""
KICK_SECONDS = 0.5


class KvmQemuSession(QemuSession[KvmQemuMachine]):
    """One machine. See `hpcore.run.accelerator.Session` for what its methods promise.

    On order: everything that a guest can notice is done in the turn of the event loop in which
    `execute` returns. What the guest does next comes by the link, in a later turn.

    On a reset: the interposer holds all vCPUs from QEMU's reset until RESTART lets them run.
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

        `before_start` is waited for at each RESTART, while all vCPUs are held.
        """
        super().__init__("kvm-qemu", config, report)
        self._start_machine, self._boots, self._before_start = start, boots, before_start
        self._order = Order([SlotParts(config.cold_booted(i)) for i in range(config.possible)])
        self._guest_runs = False  # or has run: a CPU interface need not be as at the start

    @property
    def machine(self) -> KvmQemuMachine | None:
        """The machine, for measurements and tests, once CREATE_VCPUS is done."""
        return self._machine

    async def execute(self, effect: Effect) -> int | None:
        """Carry `effect` out; see the protocol."""
        turn = CallerTurn()
        try:
            return await self._execute(effect, turn)
        finally:
            turn.end()

    async def _execute(self, effect: Effect, turn: CallerTurn) -> int | None:
        match effect:
            case RunStep(step=step, slot=slot):
                return await self._step(step, slot)
            case RunMachineStep():
                await self._machine_step(effect, turn)
            case Reassert(slot=slot):
                machine = self._running()
                if self._gate.is_open and slot < self._config.possible:
                    machine.policy.hotplug.reassert(slot)
                    machine.policy.show(slot)
            case RaiseGed():
                machine = self._running()
                if self._gate.is_open:  # or a reset has settled it
                    machine.policy.hotplug.raise_ged()
            case AnswerCpuOn():
                raise AcceleratorError(
                    "the interposer answers CPU_ON by the policy page; there is no call to answer"
                )
        return None

    async def close(self) -> None:
        """See QemuSession. Whoever waits is told first, since the policy page goes as well."""
        self._end(ENDED)
        await super().close()

    # ------------------------------------------------------------------ steps of a slot

    async def _step(self, step: Step, slot: int) -> int | None:
        while await self._gate.admits(step, slot):
            machine = self._running()
            self._order.check(step, slot, bool(machine.seen(slot).powered))
            await self._by_its_thread(step, slot)
            if not self._gate.takes_steps:  # a reset, or a pause, came in between
                continue
            return self._shown(step, slot)
        return None

    def _shown(self, step: Step, slot: int) -> int | None:
        """What of `step` the guest can notice. Gives way to nobody."""
        machine = self._running()
        machine.policy.did(step, slot)
        machine.policy.hotplug.apply(step, slot)
        machine.policy.show(slot)
        self._order.done(step, slot)
        return machine.seen(slot).affinity if step is Step.BIND else None

    async def _by_its_thread(self, step: Step, slot: int) -> None:
        """What of `step` the vCPU's own thread has to do, in QEMU's process."""
        machine = self._running()
        if step is Step.DISABLE:
            # A CPU_ON that was granted just before is told before the thread has followed, so
            # that the core hears of it while the vCPU is enabled, and after that of none.
            machine.policy.page.grant(slot, False)
        if step in (Step.DISABLE, Step.POWER_OFF):
            wanted = machine.policy.page.want_off(slot)
            await self._follows(step, slot, lambda: machine.seen(slot).forced == wanted)
            machine.policy.drain()
        elif step in (Step.BIND, Step.UNWIRE) and self._guest_runs:
            wanted = machine.policy.page.want_interface_reset(slot)
            await self._follows(step, slot, lambda: machine.seen(slot).gic == wanted)

    async def _follows(self, step: Step, slot: int, holds: Callable[[], bool]) -> None:
        """Wait until the vCPU's thread has followed the page. In a pause it does so later."""
        waited = 0.0
        while True:
            machine = self._running()
            if holds():
                return
            machine.kick(slot)
            await machine.policy.news(KICK_SECONDS)
            waited += KICK_SECONDS if machine.running_since is not None else 0.0
            if waited > OUT_SECONDS:
                self._lose(
                    f"the thread of vCPU {slot} did not do {step.name} within {OUT_SECONDS:g} s; "
                    "the host's kernel log may say why"
                )

    # ------------------------------------------------------------- steps of the machine

    async def _create(self) -> None:
        try:
            self._machine = machine = await self._start_machine(self._told())
            await machine.qmp.execute("cont")
        except QemuError as error:
            raise EffectError(str(error)) from error
        end = asyncio.get_running_loop().time() + READY_SECONDS
        while not machine.policy.ready:
            self._gate.require_present()
            if asyncio.get_running_loop().time() > end:
                words = machine.process.last_words
                await machine.close()
                raise EffectError(
                    f"not all vCPUs came to their first KVM_RUN within {READY_SECONDS:g} s; "
                    f"QEMU: {words}"
                )
            await machine.policy.news(0.01)

    def _told(self) -> Told:
        return Told(
            self._hear,
            self._reset_seen,
            self._lose,
            lambda reason: self._tell(self._shut_down(reason)),
        )

    def _hear(self, call: GuestCall) -> None:
        self._report(call)

    async def _init_gic(self) -> None:
        self._running()
        self._gate.open()

    async def _start(self, turn: CallerTurn) -> None:
        machine = self._running()
        if not self._boots:
            raise EffectError(NO_GUEST)
        if not self._order.slots[0].enabled:
            raise EffectError("START is refused: vCPU 0 is not enabled")
        if self._guest_runs:
            raise EffectError("START is refused: the guest runs already")
        self._guest_runs = True
        machine.policy.did(MachineStep.START)
        machine.policy.let_run()

    async def _restart(self, enabled: tuple[int, ...], turn: CallerTurn) -> None:
        machine = self._running()
        if self._gate.stage is not Stage.SHUT:
            raise EffectError("RESTART is refused: there was no reset")
        for slot in enabled:
            if not self._order.slots[slot].wired:
                raise EffectError(NEVER_WIRED.format(slot))
        resets = machine.policy.page.resets
        if self._before_start is not None:
            await self._before_start()
            if machine.policy.page.resets != resets:
                return  # it was reset meanwhile; the next ResetSeen asks for another RESTART
        machine.policy.did(MachineStep.RESTART)
        machine.policy.hotplug.reset()
        for slot, parts in enumerate(self._order.slots):
            parts.enabled = slot in enabled
            if parts.enabled:
                machine.policy.hotplug.apply(Step.ENABLE, slot)
        machine.policy.show_all()
        self._gate.open()
        if self._boots:
            machine.policy.let_run()

    # ------------------------------------------------------------------ what has been told

    def _reset_seen(self) -> None:
        """The interposer has said so. The machine is held, and its vCPUs are off."""
        self._gate.shut()
        self._tell(self._reset_after_what_came_before())

    async def _reset_after_what_came_before(self) -> None:
        async with self._changes:
            await self._was_reset()

    async def _settle(self) -> None:
        """Nothing that a reset interrupts is under way: a step waits at the gate."""

    async def _told_of_power_off(self, reason: str) -> None:
        if self._machine is not None:
            self._machine.policy.drain()

    def _end(self, why: str) -> bool:
        first = super()._end(why)
        if self._machine is not None:
            self._machine.policy.wake()
        return first
