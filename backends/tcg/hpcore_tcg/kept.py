"""A session whose machine may outlive hpcore: what is taken up again, and how.

Its `heard` has three parts. The lowest bit says that QEMU has told of a reset of a machine that
stands still, and that the monitor's HELLO is still due. Above is the place in the link up to which
all has been told on; the link goes on where it was, whichever QEMU has the machine. From bit
MOVES on are the moves of which the end was told: who attaches amid one so knows whether that has
been done.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

from hpcore.door.front import BeforeStart
from hpcore.guest.boot import BootFiles
from hpcore.model.config import MachineConfig
from hpcore.model.effects import MachineStep, Step
from hpcore.model.machines import Phase
from hpcore.model.states import State
from hpcore.qemu.console import FollowedConsole
from hpcore.qemu.errors import QemuError
from hpcore.qemu.find import Qemu
from hpcore.qemu.kept import KeptQemu
from hpcore.run.accelerator import (
    AcceleratorError,
    Belongings,
    EffectError,
    Kept,
    Report,
    Stream,
    TakenUp,
)
from hpcore.session.elsewhere import Elsewhere
from hpcore.session.kept import KeptQemuSession, finding
from hpcore_tcg.belongings import epoch_of
from hpcore_tcg.build import Monitor
from hpcore_tcg.elsewhere import live_on
from hpcore_tcg.kept_machine import KeptMachine
from hpcore_tcg.launch import LINK_KEPT, Sockets
from hpcore_tcg.machine import TcgMachine, Told
from hpcore_tcg.made_of import MadeOf
from hpcore_tcg.mirror import SlotMirror
from hpcore_tcg.protocol import VERSION, Event, encode
from hpcore_tcg.session import StartMachine, TcgSession

MOVES = 48
"""The first bit of `heard` that counts moves. The link's place has 47 bits: 140 TB."""
PLACE = (1 << MOVES - 1) - 1


class KeptTcgSession(KeptQemuSession[TcgMachine], TcgSession):
    """Made by `keeping` or `attach`; see hpcore.run.accelerator.KeptSession."""

    _found: KeptMachine | None = None

    def __init__(
        self,
        config: MachineConfig,
        report: Report,
        directory: Path,
        *,
        boots: bool,
        before_start: BeforeStart | None = None,
    ) -> None:
        waits = None if before_start is None else self._before
        super().__init__(config, self._make, report, boots=boots, before_start=waits)
        self._stay(directory)
        self._before_each = before_start
        self._restarts = False  # a hpcore was killed amid a RESTART
        self._made_of: MadeOf | None = None
        self._attach_to: StartMachine | None = None  # the machine in a QEMU of somebody else's
        self._moves = 0  # of which the end was told
        self._moving = False  # a hpcore was killed amid a move, whose end is to be told
        self._to_come: tuple[State, Belongings, Stream] | None = None
        self._catching_up = False  # the monitor has yet to answer who attached
        self._stands = asyncio.Event()  # it answers no more: a pause, or a power-off, came first

    @classmethod
    def keeping(
        cls,
        config: MachineConfig,
        boot: BootFiles | None,
        qemu: Qemu,
        monitor: Monitor,
        report: Report,
        directory: Path,
    ) -> KeptTcgSession:
        """A machine that is to be made, in `directory`, which `close` removes."""
        try:
            made_of = MadeOf.of(boot, qemu, monitor)
        except QemuError as error:
            raise AcceleratorError(str(error)) from error
        session = cls(config, report, directory, boots=boot is not None)
        session._is_made_of(made_of)
        return session

    @classmethod
    def under_a_door(
        cls,
        config: MachineConfig,
        qemu: KeptQemu,
        sockets: Sockets,
        report: Report,
        before_start: BeforeStart | None,
    ) -> KeptTcgSession:
        """A machine in a QEMU that somebody else has started; see hpcore.door.keeping."""
        session = cls(config, report, qemu.directory, boots=True, before_start=before_start)
        session._attach_to = partial(KeptMachine.attach, qemu, sockets)
        return session

    @classmethod
    async def attach(cls, kept: Kept, report: Report) -> KeptTcgSession:
        """The session of a machine that is there. See Keeper."""
        session = await cls._attached(kept, report, partial(KeptMachine.find, kept.place))
        assert session._found is not None, "it was found"
        try:
            session._is_made_of(MadeOf.read(kept.place, session._found.process.directory))
        except QemuError as error:
            session.stays = f"the machine can neither be migrated nor saved: {error}"
        return session

    @classmethod
    async def attach_under_a_door(
        cls,
        kept: Kept,
        qemu: KeptQemu,
        sockets: Sockets,
        report: Report,
        before_start: BeforeStart | None,
    ) -> KeptTcgSession:
        """The session of a machine of `under_a_door` that is there; see hpcore.door.keeping."""
        finds = partial(KeptMachine.found, qemu, sockets)
        return await cls._attached(kept, report, finds, before_start)

    @classmethod
    async def _attached(
        cls,
        kept: Kept,
        report: Report,
        finds: Callable[[int, Told], Awaitable[KeptMachine]],
        before_start: BeforeStart | None = None,
    ) -> KeptTcgSession:
        session = cls(
            kept.state.config, report, kept.place, boots=True, before_start=before_start
        )
        session._attaches(kept.state)
        session._restarts = kept.state.shared.step is MachineStep.RESTART
        session._moves, heard = kept.heard >> MOVES, kept.heard >> 1 & PLACE
        session._moving = kept.state.shared.step is MachineStep.MIGRATE
        session._hello_due = bool(kept.heard & 1)
        with finding():
            found = await finds(heard, session._told())
        session._found = session._machine = found
        session._epoch = None if found.hello is None else found.hello.epoch
        if found.hello is not None and not session._hello_due:
            session._hello.set()
        session._mirror = SlotMirror.of(kept.state)
        if found.console is not None:
            session._followed = FollowedConsole(found.console)
        return session

    @property
    def heard(self) -> int:
        """See KeptSession."""
        at = self._begins if self._heard_machine is None else self._heard_machine.link.heard
        return self._moves << MOVES | at << 1 | self._hello_due

    def logged(self, heard: int) -> None:
        """See KeptSession."""
        if isinstance(self._heard_machine, KeptMachine):
            self._heard_machine.logged(heard >> 1 & PLACE)

    @property
    def _begins(self) -> int:
        """Where what the monitor says begins in the file, in a machine that is to come."""
        if self._to_come is None:
            return 0
        return len(hello(epoch_of(self._to_come[1])))

    def expect_saved(self, state: State, saved: Belongings, stream: Stream) -> None:
        """The machine is not to be made: it comes by `arrive`. Raises AcceleratorError."""
        epoch_of(saved)
        self._to_come = (state, saved, stream)

    async def arrive(self) -> None:
        """See KeptSession. Until its QEMU has the whole machine, that has none to attach to."""
        if self._to_come is None or self._made_of is None:
            await super().arrive()
            return
        state, saved, stream = self._to_come
        try:
            self._made_of.write(self._directory)
            # The monitor said it to another hpcore; whoever attaches needs its epoch.
            (self._directory / LINK_KEPT).write_bytes(hello(epoch_of(saved)))
        except OSError as error:
            said = f"{self._directory} cannot be written: {error.strerror}"
            raise AcceleratorError(said) from error
        await self.load(state, saved, stream)
        assert self._machine is not None, "it has come"
        try:
            self._machine.may_have_machine()
        except QemuError as error:
            raise AcceleratorError(str(error)) from error

    def _has_come(self, state: State, saved: Belongings) -> None:
        assert isinstance(self._machine, KeptMachine), "it is kept"
        self._machine.link.begin_behind(self._begins)
        super()._has_come(state, saved)

    async def leave(self) -> None:
        """See KeptSession. A QEMU that the machine has left is not left."""
        if self._leaves is not None:
            await asyncio.gather(self._leaves, return_exceptions=True)
        await super().leave()

    async def take_up(self) -> None:
        """See KeptSession. A machine that is lost meanwhile is reported as such."""
        assert self._found is not None and self._state is not None, "it was attached"
        await self._all_begun_anew()
        shared, off = self._state.shared, self._found.status == "shutdown"
        self._catching_up = not (shared.paused or off)
        try:
            if self._catching_up and shared.phase is not Phase.DEFINED:
                await self._found.qmp.execute("cont")
        except QemuError as error:
            self._lose(f"the machine cannot go on: {error}")
        self._go_on(off=off and shared.phase is not Phase.OFF)
        self._found.link.go()

    async def _admits(self, step: Step, slot: int) -> bool:
        # A killed hpcore may have sent before a pause what was under way. Its answer comes once the
        # machine goes on; where none does, the link sends it then.
        if self._begins_anew and self._gate.is_open:
            return True
        return await super()._admits(step, slot)

    async def taken_up(self) -> TakenUp:
        """See KeptSession."""
        assert self._found is not None, "it was attached"
        link = self._found.link
        await self._or_gone(link.replayed)
        await self._or_gone(self._off_told)
        if self._catching_up:
            await self._or_gone(link.caught_up, self._stands)
        return link.taken_up

    # ------------------------------------------------------------------------- how

    async def _make(self, told: Told) -> TcgMachine:
        """The machine of CREATE_VCPUS; of who attached in the middle of that it is there."""
        if self._found is not None:
            return self._found
        if self._attach_to is not None:
            return await self._attach_to(told)
        assert self._made_of is not None, "it is to be made"
        return await KeptMachine.create(self._config, self._made_of, self._directory, told)

    async def _before(self) -> None:
        """What is done before each RESTART.

        One that was under way at the kill may have come so far that the guest runs. Or that was
        half done: then QEMU puts what it was started with into the guest's memory again.
        """
        assert self._before_each is not None, "this is not called without"
        under_way, self._restarts = self._restarts, False
        if not under_way or self._found is None:
            await self._before_each()
        elif not self._found.started_anew():
            await self._reset()

    def _is_made_of(self, made_of: MadeOf) -> None:
        """So that it can be made, and carried elsewhere. Part of the construction."""
        self._made_of, self._monitor = made_of, made_of.monitor
        self._elsewhere = Elsewhere(
            partial(KeptMachine.to_come, self._config, made_of, self._directory),
            made_of.loaded,
            made_of.boot,
            live=live_on(made_of.qemu.version),
        )

    async def _migrate(self) -> None:
        if self._moving:
            self._end_move()
        else:
            await super()._migrate()
            self._has_moved()

    def _end_move(self) -> None:
        """Tell how the move has ended that was under way when hpcore was killed."""
        self._moving = False
        assert self._found is not None, "it was attached"
        if self._found.number == self._moves:
            raise EffectError(
                "hpcore ended before the machine was elsewhere: it is where it was; migrate again"
            )
        self._has_moved()

    def _has_moved(self) -> None:
        """A move has ended well: its end is told now."""
        assert isinstance(self._machine, KeptMachine), "it was carried to one"
        self._moves = self._machine.number

    async def _answered(self, machine: TcgMachine) -> None:
        assert isinstance(machine, KeptMachine), "it is kept"
        if not machine.link.caught_up.is_set():
            raise EffectError(
                "the EL3 monitor has yet to answer who attached, which it does while the machine "
                "runs: resume it first"
            )
        await super()._answered(machine)

    def _replayed(self) -> asyncio.Event:
        assert self._found is not None, "it was attached"
        return self._found.link.replayed

    async def _command(self, step: MachineStep) -> None:
        await super()._command(step)
        if step is MachineStep.PAUSE:
            self._stands.set()

    async def _reset(self) -> None:
        """One that was under way may have been done: then the HELLO is in what was missed."""
        await self._goes_on.wait()
        if self._found is not None and self._catching_up:
            await self._or_gone(self._found.link.caught_up, self._reset_settled, self._stands)
            self._catching_up = False
            if self._reset_settled.is_set():
                self._gate.require_present()
                return
        await super()._reset()

    async def _shut_down(self, reason: str) -> None:
        if self._goes_on.is_set():
            self._stands.set()
        await super()._shut_down(reason)

    async def _reset_standing_still(self) -> None:
        if self._goes_on.is_set():  # before that, the machine ran, and its HELLO tells
            await super()._reset_standing_still()

    async def _powered_off_meanwhile(self) -> None:
        await super()._powered_off_meanwhile()
        self._off_said.clear()  # the monitor's word of it was among what was missed

    def _end(self, why: str) -> bool:
        first = super()._end(why)
        self._stands.set()
        return first


def hello(epoch: int) -> bytes:
    """What the monitor says at the beginning of an epoch."""
    return encode(Event.HELLO, version=VERSION, epoch=epoch)
