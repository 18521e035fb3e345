"""A session whose machine may outlive hpcore: what is taken up again, and how.

Its `heard` is how many reports there were; hpcore_kvm_qemu.journal has what else is needed. Who
attaches takes in the messages that were missed one by one, as they would have come. Between two of
them ends a step that was done there, though no log has its end. Every other step under way is begun
anew behind all that was missed: it was not done, or did no more than its vCPU's thread had to do.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import structlog
from attrs import field, frozen
from hpcore_kvm.order import Order, SlotParts

from hpcore.guest.boot import BootFiles
from hpcore.model.config import MachineConfig
from hpcore.model.effects import Effect, MachineStep, RaiseGed, Step
from hpcore.model.machines import Phase
from hpcore.model.states import Shared, State
from hpcore.model.stimuli import GuestCall
from hpcore.qemu.errors import QemuError
from hpcore.qemu.find import Qemu
from hpcore.qemu.machine import stands_still
from hpcore.run.accelerator import AcceleratorError, Kept, Report, TakenUp
from hpcore.run.gate import ENDED
from hpcore.session.kept import KeptQemuSession, finding
from hpcore.session.turn import CallerTurn
from hpcore_kvm_qemu.journal import MACHINE, did
from hpcore_kvm_qemu.kept_machine import KeptKvmQemuMachine
from hpcore_kvm_qemu.machine import KvmQemuMachine, Told
from hpcore_kvm_qemu.page import PolicyPage
from hpcore_kvm_qemu.session import KvmQemuSession

log = structlog.get_logger(__name__)

SHOWN_BY_PAGE = (MachineStep.START, MachineStep.RESTART)
"""The machine's steps that the journal has; the others are QMP commands, and may be done twice."""


@frozen(eq=False)
class DoneThere:
    """A step under way that was done behind message `number`: its end waits for its place."""

    number: int
    reached: asyncio.Event = field(factory=asyncio.Event)
    turn: CallerTurn = field(factory=CallerTurn)


class KeptKvmQemuSession(KeptQemuSession[KvmQemuMachine], KvmQemuSession):
    """Made by `keeping` or `attach`; see hpcore.run.accelerator.KeptSession."""

    stays = (
        "a machine that outlives hpcore (--keep) is neither migrated nor saved yet on kvm-qemu: "
        "run it without --keep"
    )
    """See CarryingSession."""

    _found: KeptKvmQemuMachine | None = None

    def __init__(
        self, config: MachineConfig, report: Report, directory: Path, *, boots: bool
    ) -> None:
        super().__init__(config, self._make, report, boots=boots)
        self._stay(directory)
        self._create_by: tuple[BootFiles | None, Qemu, Path] | None = None
        self._heard = 0
        self._logged = 0  # of the reports to come, those that the log has already
        self._done_there: dict[int, DoneThere] = {}  # by slot, and MACHINE
        self._all_told = asyncio.Event()
        self._taken_up = TakenUp()

    @classmethod
    def keeping(
        cls,
        config: MachineConfig,
        boot: BootFiles | None,
        qemu: Qemu,
        interposer: Path,
        report: Report,
        directory: Path,
    ) -> KeptKvmQemuSession:
        """A machine that is to be made, in `directory`, which `close` removes."""
        session = cls(config, report, directory, boots=boot is not None)
        session._create_by = (boot, qemu, interposer)
        return session

    @classmethod
    async def attach(cls, kept: Kept, report: Report) -> KeptKvmQemuSession:
        """The session of a machine that is there. See Keeper."""
        session = cls(kept.state.config, report, kept.place, boots=True)
        session._attaches(kept.state)
        session._heard = kept.heard
        session._guest_runs = not kept.state.shared.booting
        session._order = Order([SlotParts.of(slot) for slot in kept.state.slots])
        with finding():
            found = await KeptKvmQemuMachine.find(kept, session._told())
        assert found.begins is not None, "it was found"
        session._found = found
        session._met(found)
        session._logged = found.begins.logged
        session._done_there = done_there(kept.state, found.policy.page)
        return session

    @property
    def heard(self) -> int:
        """See KeptSession."""
        return self._heard

    async def execute(self, effect: Effect) -> int | None:
        """See Session. The GED is raised behind what was missed, which may have taken it."""
        if isinstance(effect, RaiseGed):
            await self._goes_on.wait()
        return await super().execute(effect)

    async def leave(self) -> None:
        """See KeptSession. Whoever waits is told first, since the policy page goes as well."""
        self._end(ENDED)
        await super().leave()

    async def take_up(self) -> None:
        """See KeptSession. A machine that is lost meanwhile is reported as such."""
        self._tell(self._take_in())

    async def taken_up(self) -> TakenUp:
        """See KeptSession."""
        await self._or_gone(self._all_told)
        await self._or_gone(self._off_told)
        return self._taken_up

    # ------------------------------------------------------------------------- how

    async def _make(self, told: Told) -> KvmQemuMachine:
        assert self._create_by is not None, "it is to be made"
        boot, qemu, interposer = self._create_by
        return await KeptKvmQemuMachine.create(
            self._config, boot, qemu, interposer, self._directory, told
        )

    def _replayed(self) -> asyncio.Event:
        return self._all_told

    async def _take_in(self) -> None:
        try:
            await self._take_in_all()
        except AcceleratorError:
            return  # it is gone, and that is said
        except Exception as error:  # what is in the page comes from QEMU's process
            log.exception("what was missed")
            self._lose(f"hpcore failed at what it had missed: {type(error).__name__}: {error}")

    async def _take_in_all(self) -> None:
        """All that was missed, in order; then the machine goes on as its log says."""
        found = self._found
        assert found is not None and found.back is not None and found.begins is not None
        await self._all_begun_anew()
        await self._end_done(found.begins.number)
        for number in range(found.begins.number + 1, found.back.told + 1):
            found.policy.take_in(found.back.missed[number], answer=number == found.back.asked)
            await self._end_done(number)
        found.policy.caught_up()
        self._all_told.set()
        try:
            await self._run_or_pause(found)
        except QemuError as error:
            self._lose(f"the machine cannot go on: {error}")
        self._go_on(off=found.status == "shutdown" and self._before.phase is not Phase.OFF)

    async def _run_or_pause(self, found: KeptKvmQemuMachine) -> None:
        """Where QEMU and the log differ, the log counts."""
        if self._before.paused and not stands_still(found.status):
            await found.qmp.execute("stop")
        elif found.status == "paused" and not self._pauses:
            await found.qmp.execute("cont")

    async def _end_done(self, number: int) -> None:
        """End the steps that were done behind message `number`, or before it."""
        for slot, done in sorted(self._done_there.items()):
            if done.number <= number:
                del self._done_there[slot]
                self._taken_up.answers += 1
                done.reached.set()
                await done.turn.wait()
                self._gate.require_present()

    async def _behind_what_was_missed(self) -> None:
        self._taken_up.repeated += self._begins_anew
        await self._goes_on.wait()

    async def _in_its_place(self, slot: int) -> DoneThere | None:
        """Wait for the place of a step under way: of one that was done there, or behind all."""
        done = self._done_there.get(slot)
        if done is None:
            await self._behind_what_was_missed()
            return None
        await done.reached.wait()
        return done

    async def _step(self, step: Step, slot: int) -> int | None:
        done = await self._in_its_place(slot)
        if done is None:
            return await super()._step(step, slot)
        try:
            self._gate.require_present()
            return self._shown(step, slot)
        finally:
            done.turn.end()

    async def _start(self, turn: CallerTurn) -> None:
        done = await self._in_its_place(MACHINE)
        try:
            self._gate.require_present()
            await super()._start(turn)
        finally:
            if done is not None:
                done.turn.end()

    async def _restart(self, enabled: tuple[int, ...], turn: CallerTurn) -> None:
        known = self._running().policy.resets
        done = await self._in_its_place(MACHINE)
        try:
            # Another reset that was missed is reported now, and asks for another RESTART.
            if self._running().policy.resets == known:
                await super()._restart(enabled, turn)
        finally:
            if done is not None:
                done.turn.end()

    async def _reset(self) -> None:
        """One that was under way may have been done: then it is in what was missed."""
        if not self._goes_on.is_set():
            await self._behind_what_was_missed()
            if self._reset_settled.is_set():
                self._gate.require_present()
                return
        await super()._reset()

    def _end(self, why: str) -> bool:
        first = super()._end(why)
        self._all_told.set()
        for done in self._done_there.values():
            done.reached.set()
        return first

    # ------------------------------------------------------------------ what has been told

    def _hear(self, call: GuestCall) -> None:
        if not self._is_logged():
            self._count()
            super()._hear(call)

    def _reset_seen(self) -> None:
        if not self._is_logged():
            super()._reset_seen()

    async def _reset_after_what_came_before(self) -> None:
        async with self._changes:
            await self._was_reset(self._count)

    def _is_logged(self) -> bool:
        """Whether what is heard now is in the log of who attached."""
        logged = self._logged > 0
        self._logged -= logged
        return logged

    def _count(self) -> None:
        self._heard += 1
        if not self._goes_on.is_set():
            self._taken_up.events += 1

    @property
    def _before(self) -> Shared:
        assert self._state is not None, "it was attached"
        return self._state.shared

    @property
    def _pauses(self) -> bool:
        """Whether the log has a pause, or one that is under way."""
        return self._before.paused or self._before.step is MachineStep.PAUSE


def done_there(state: State, page: PolicyPage) -> dict[int, DoneThere]:
    """The steps that `state` has as under way, and that were done: by slot, and MACHINE."""
    steps: dict[int, Step | MachineStep] = {
        index: slot.step for index, slot in enumerate(state.slots) if slot.step is not None
    }
    if state.shared.step in SHOWN_BY_PAGE:
        steps[MACHINE] = state.shared.step
    found = ((slot, did(page, step, slot)) for slot, step in steps.items())
    return {slot: DoneThere(number) for slot, number in found if number is not None}
