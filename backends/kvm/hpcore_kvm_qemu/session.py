"""A session: effects become words in the policy page, hotplug registers, or QMP commands."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

import attrs
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
from hpcore.model.states import State
from hpcore.model.stimuli import GuestCall
from hpcore.qemu.errors import QemuError
from hpcore.run.accelerator import (
    NEVER_WIRED,
    NO_GUEST,
    AcceleratorError,
    Belongings,
    EffectError,
    Report,
)
from hpcore.run.gate import ENDED, Stage
from hpcore.run.saved_parts import with_images
from hpcore.session.carrying import CarryingSession, Hears
from hpcore.session.elsewhere import Elsewhere
from hpcore.session.turn import CallerTurn
from hpcore_kvm_qemu import saved as own
from hpcore_kvm_qemu.machine import DEAF, KvmQemuMachine, Told

StartMachine = Callable[[Told], Awaitable[KvmQemuMachine]]

READY_SECONDS = 60.0
"""For all vCPUs to come to their first KVM_RUN. They take milliseconds."""
OUT_SECONDS = 60.0
"""For a vCPU's thread to do what the page asks of it, while QEMU runs. It takes a millisecond or
two; a thread that does not is stuck in the kernel."""
KICK_SECONDS = 0.5
FOLLOWED_SECONDS = 10.0
"""For what is asked of vCPUs' threads, before the machine is carried."""
RESET_MEANWHILE = "the guest has reset the machine, or powered it off"


class KvmQemuSession(CarryingSession[KvmQemuMachine]):
    """One machine. See `hpcore.run.accelerator.Session` for what its methods promise.

    On order: everything that a guest can notice is done in the turn of the event loop in which
    `execute` returns. What the guest does next comes by the link, in a later turn.

    On a reset: the interposer holds all vCPUs from QEMU's reset until RESTART lets them run.

    On a machine that comes from elsewhere: before QEMU loads its vCPUs, the policy page grants what
    was granted there; a vCPU that comes in powered and is not granted is kept off. The interposer
    holds all of them until the machine is this session's and is let go on.
    """

    def __init__(
        self,
        config: MachineConfig,
        start: StartMachine,
        report: Report,
        *,
        boots: bool,
        before_start: BeforeStart | None = None,
        elsewhere: Elsewhere[KvmQemuMachine] | None = None,
    ) -> None:
        """`start` makes the machine at CREATE_VCPUS; `boots` says that it has something to run.

        `before_start` is waited for at each RESTART, while all vCPUs are held. `elsewhere`: see
        CarryingSession.
        """
        super().__init__("kvm-qemu", config, report, elsewhere)
        self._start_machine, self._boots, self._before_start = start, boots, before_start
        self._order = Order([SlotParts(config.cold_booted(i)) for i in range(config.possible)])
        self._guest_runs = False  # or has run: a CPU interface need not be as at the start
        self._asked_of_threads = 0  # steps that wait for a vCPU's thread

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
                await self._free.wait()
                machine = self._running()
                if self._gate.is_open and slot < self._config.possible:
                    machine.policy.hotplug.reassert(slot)
                    machine.policy.show(slot)
            case RaiseGed():
                await self._free.wait()
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
            if not self._free.is_set():
                await self._free.wait()
                continue
            machine = self._running()
            self._order.check(step, slot, bool(machine.seen(slot).powered))
            with self._asked():
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

    @contextmanager
    def _asked(self) -> Iterator[None]:
        self._asked_of_threads += 1
        try:
            yield
        finally:
            self._asked_of_threads -= 1

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
            machine = await self._start_machine(self._told())
            self._met(machine)
            await machine.qmp.execute("cont")
        except QemuError as error:
            raise EffectError(str(error)) from error
        try:
            await self._all_come(machine)
        except QemuError as error:
            await machine.close()
            raise EffectError(str(error)) from error

    async def _all_come(self, machine: KvmQemuMachine) -> None:
        """Wait until all vCPUs have come to their first KVM_RUN. Raises QemuError."""
        end = asyncio.get_running_loop().time() + READY_SECONDS
        while not machine.policy.ready:
            self._gate.require_present()
            if asyncio.get_running_loop().time() > end:
                raise QemuError(
                    f"not all vCPUs came to their first KVM_RUN within {READY_SECONDS:g} s; "
                    f"QEMU: {machine.process.last_words}"
                )
            await machine.policy.news(0.01)

    def _told(self) -> Told:
        return Told(
            self._hear,
            self._reset_seen,
            self._lose,
            lambda reason: self._tell(self._shut_down(reason)),
            self._reset_at_rest,
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

    async def _command(self, step: MachineStep) -> None:
        """See QemuSession. A machine that came from elsewhere in a pause is let run by RESUME; by
        RESTART where it was reset meanwhile."""
        machine = self._running()
        begins = step is MachineStep.RESUME and machine.rests
        if begins and self._gate.is_open:
            machine.policy.let_run()
        await super()._command(step)
        if begins:
            await self._runs_there(machine)

    # ---------------------------------------------------- carried elsewhere: see CarryingSession

    async def _answered(self, machine: KvmQemuMachine) -> None:
        end = asyncio.get_running_loop().time() + FOLLOWED_SECONDS
        while self._asked_of_threads:
            self._gate.require_present()
            if asyncio.get_running_loop().time() > end:
                raise EffectError(
                    "a vCPU's thread has yet to do what it was asked, which it does while the "
                    "machine runs"
                )
            await machine.policy.news(0.01)

    async def _heard_all(self, machine: KvmQemuMachine) -> None:
        machine.policy.drain()
        if not self._gate.is_open:
            raise QemuError(RESET_MEANWHILE)

    def _listen(self, machine: KvmQemuMachine, to: Hears) -> None:
        match to:
            case Hears.NOTHING:
                machine.tell(DEAF)
            case Hears.GUEST:
                machine.tell(attrs.evolve(DEAF, call=self._hear, reset=self._reset_seen))
            case Hears.ALL:
                machine.tell(self._told())

    def _hand_on(self, here: KvmQemuMachine, there: KvmQemuMachine) -> None:
        there.policy.take_after(here.policy)

    async def _let_go_on(self, there: KvmQemuMachine) -> None:
        there.policy.let_run()
        await super()._let_go_on(there)

    async def _runs_there(self, there: KvmQemuMachine) -> None:
        try:
            await self._all_come(there)
        except QemuError as error:
            raise AcceleratorError(str(error)) from error

    def _belongings(
        self, alike: dict[str, str], elsewhere: Elsewhere[KvmQemuMachine]
    ) -> Belongings:
        return with_images(alike, elsewhere.boot)

    def _with_own(self, saved: Belongings) -> Belongings:
        return own.with_registers(saved, self._running().policy.hotplug)

    def _expect(self, there: KvmQemuMachine, state: State, saved: Belongings) -> None:
        own.load_registers(there.policy.hotplug, saved, state)
        there.policy.comes()

    def _has_come(self, state: State, saved: Belongings) -> None:
        self._order = Order([SlotParts.of(slot) for slot in state.slots])
        self._guest_runs = True
        self._gate.created()
        self._gate.open()
        self._gate.pause()

    # ------------------------------------------------------------------ what has been told

    def _reset_at_rest(self) -> None:
        """QEMU has said so. The interposer tells of no reset before the machine runs here."""
        machine = self._machine
        if machine is not None and machine.rests:
            machine.policy.hold()
            self._reset_seen()

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
