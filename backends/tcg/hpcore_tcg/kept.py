"""A session whose machine may outlive hpcore: what is taken up again, and how.

Its `heard` is the place in the link up to which all has been told on, doubled. It is odd where
QEMU has told of a reset of a machine that stands still, and the monitor's HELLO is still due.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

from hpcore.door.front import BeforeStart
from hpcore.guest.boot import BootFiles
from hpcore.model.config import MachineConfig
from hpcore.model.effects import MachineStep
from hpcore.model.machines import Phase
from hpcore.qemu.console import FollowedConsole
from hpcore.qemu.errors import QemuError
from hpcore.qemu.find import Qemu
from hpcore.qemu.kept import KeptQemu
from hpcore.run.accelerator import Kept, Report, TakenUp
from hpcore.session.kept import KeptQemuSession, finding
from hpcore_tcg.build import Monitor
from hpcore_tcg.kept_machine import KeptMachine
from hpcore_tcg.launch import Sockets
from hpcore_tcg.machine import TcgMachine, Told
from hpcore_tcg.mirror import SlotMirror
from hpcore_tcg.session import StartMachine, TcgSession


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
        self._create_by: StartMachine | None = None
        self._before_each = before_start
        self._restarts = False  # the one that was killed was in the middle of a RESTART
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
        session = cls(config, report, directory, boots=boot is not None)
        session._create_by = partial(KeptMachine.create, config, boot, qemu, monitor, directory)
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
        session._create_by = partial(KeptMachine.attach, qemu, sockets)
        return session

    @classmethod
    async def attach(cls, kept: Kept, report: Report) -> KeptTcgSession:
        """The session of a machine that is there. See Keeper."""
        return await cls._attached(kept, report, partial(KeptMachine.find, kept.place))

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
        session._hello_due = bool(kept.heard & 1)
        with finding():
            found = await finds(kept.heard >> 1, session._told())
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
        at = 0 if self._machine is None else self._machine.link.heard
        return at << 1 | self._hello_due

    def logged(self, heard: int) -> None:
        """See KeptSession."""
        if isinstance(self._machine, KeptMachine):
            self._machine.logged(heard >> 1)

    async def take_up(self) -> None:
        """See KeptSession. A machine that is lost meanwhile is reported as such."""
        assert self._found is not None and self._state is not None, "it was attached"
        shared, off = self._state.shared, self._found.status == "shutdown"
        self._catching_up = not (shared.paused or off)
        try:
            if self._catching_up and shared.phase is not Phase.DEFINED:
                await self._found.qmp.execute("cont")
        except QemuError as error:
            self._lose(f"the machine cannot go on: {error}")
        self._go_on(off=off and shared.phase is not Phase.OFF)
        self._found.link.go()

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
        assert self._create_by is not None, "it is to be made"
        return await self._create_by(told)

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
