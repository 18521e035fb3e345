"""A session whose machine can be carried to another QEMU, or into a file, and be taken up again.

What is the same for all that carry a QEMU's machine. What hpcore itself has of a machine, beside
QEMU's stream, is the accelerator's own affair: it goes with the machine by the methods that are
named under "what differs".
"""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from enum import Enum, auto
from typing import TypeVar

from hpcore.model.config import MachineConfig
from hpcore.model.effects import MachineStep
from hpcore.model.states import State
from hpcore.qemu.console import FollowedConsole
from hpcore.qemu.errors import QemuError
from hpcore.qemu.machine import QemuMachine
from hpcore.qemu.migration import (
    NotTakenUp,
    hand_over,
    load_from,
    machine_type_of,
    save_to,
    take_up,
    version_of,
)
from hpcore.run.accelerator import (
    AcceleratorError,
    Belongings,
    Console,
    EffectError,
    Keep,
    Report,
    Stream,
    Writes,
)
from hpcore.run.saved_parts import refuse_unlike
from hpcore.session.elsewhere import NOT_OURS_TO_START, Elsewhere
from hpcore.session.qemu import QemuSession
from hpcore.session.turn import CallerTurn, without_cancelling

QEMU, MACHINE_TYPE = "qemu", "machine-type"
"""What of a machine's QEMU must be the same where it goes on."""

M = TypeVar("M", bound=QemuMachine)


class Hears(Enum):
    """What of a QEMU is told on."""

    NOTHING = auto()
    GUEST = auto()  # but not what becomes of QEMU: whoever carries a machine there looks itself
    ALL = auto()


class CarryingSession(QemuSession[M]):
    """See QemuSession. While the machine is carried, what would be sent to it waits."""

    stays: str = NOT_OURS_TO_START
    """Why a machine without `elsewhere` is neither migrated nor saved."""

    def __init__(
        self,
        accelerator: str,
        config: MachineConfig,
        report: Report,
        elsewhere: Elsewhere[M] | None = None,
    ) -> None:
        """`elsewhere` is where MIGRATE carries the machine; None where it is not ours to start a
        QEMU."""
        super().__init__(accelerator, config, report)
        self._elsewhere = elsewhere
        self._followed: FollowedConsole | None = None
        self._free = asyncio.Event()  # not while the machine is carried
        self._free.set()

    @property
    def console(self) -> Console | None:
        """The guest's console, once CREATE_VCPUS is done; the same one wherever the machine is."""
        return self._followed

    # ---------------------------------------------------------------------- what differs

    @abstractmethod
    async def _answered(self, machine: M) -> None:
        """Return once nothing is under way on its way to `machine`, which may still run.

        Raises EffectError where something stays under way.
        """

    @abstractmethod
    async def _heard_all(self, machine: M) -> None:
        """The guest stands still: return once all that it has said is reported.

        Raises QemuError where it has said that it is not to be carried any more.
        """

    @abstractmethod
    def _listen(self, machine: M, to: Hears) -> None:
        """Be told of `machine` so much from now on."""

    def _hand_on(self, here: M, there: M) -> None:
        """The guest of `here` stands still: give `there` what hpcore itself has of it."""

    async def _let_go_on(self, there: M) -> None:
        """The machine that was carried to `there` runs from here on. Raises QemuError."""
        await there.qmp.execute("cont")

    async def _runs_there(self, there: M) -> None:
        """The machine that was carried to `there` runs, and is this session's."""

    @abstractmethod
    def _belongings(self, alike: dict[str, str], elsewhere: Elsewhere[M]) -> Belongings:
        """What is saved of the machine, `alike` among its facts. Raises EffectError."""

    def _with_own(self, saved: Belongings) -> Belongings:
        """The guest stands still: add to what is saved what hpcore itself has of the machine."""
        return saved

    @abstractmethod
    def _expect(self, there: M, state: State, saved: Belongings) -> None:
        """`there` waits for the machine of `saved`. Raises AcceleratorError where it can't come."""

    @abstractmethod
    def _has_come(self, state: State, saved: Belongings) -> None:
        """The machine of `saved` is here, and stands still as its log has it in `state`."""

    # ------------------------------------------------------------------------- migration

    async def _migrate(self) -> None:
        """MIGRATE: to another QEMU on this host, which is the session's from then on."""
        here, elsewhere = self._running(), self._elsewhere
        if elsewhere is None:
            raise EffectError(self.stays)
        try:
            there = await elsewhere.start()
        except QemuError as error:
            raise EffectError(f"the QEMU to migrate to did not start: {error}") from error

        try:
            async with self._held(here):
                await self._carry(here, there, live=elsewhere.live)
        except NotTakenUp as error:
            raise AcceleratorError(str(error)) from error
        except QemuError as error:
            raise EffectError(str(error)) from error
        finally:
            if self._machine is not there:
                await there.close()

    async def _carry(self, here: M, there: M, *, live: bool) -> None:
        """Have `there` have the machine of `here`, and let it go on, and end `here`.

        Without `live` the guest stands still from the start. Raises QemuError where the machine
        is `here` still, and AcceleratorError where it is lost.
        """

        async def still() -> None:
            await self._heard_all(here)
            self._hand_on(here, there)

        assert there.incoming is not None, "it was started to wait for a machine"
        ran = await hand_over(here, there, there.incoming, live=live, still=still)
        try:
            await without_cancelling(self._take_over(here, there, ran=ran))
        finally:
            if self._machine is there:
                await here.close()

    async def _take_over(self, here: M, there: M, *, ran: bool) -> None:
        """`there` has the machine, whole, and alone is told to let it go on.

        Where it dies over that, and its guest was not heard of, nobody has seen it run: the
        machine is taken up where it was. Raises QemuError then, and AcceleratorError for one
        that was seen.
        """
        self._listen(there, Hears.GUEST)
        self._machine = there
        if ran:
            try:
                await self._let_go_on(there)
            except QemuError as error:
                await there.close()
                if not there.silent:
                    raise AcceleratorError(str(error)) from error
                self._machine = here
                there.has_no_machine()
                await take_up(here, ran=ran)
                raise
        self._listen(here, Hears.NOTHING)
        self._listen(there, Hears.ALL)
        if self._followed is not None and there.console is not None:
            self._followed.follow(there.console)
        there.process.all_connected()
        if not there.process.running:
            raise AcceleratorError(f"QEMU is gone: {there.process.last_words}")
        if ran:
            await self._runs_there(there)
        here.has_no_machine()
        await here.quit()

    @asynccontextmanager
    async def _held(self, machine: M) -> AsyncIterator[None]:
        """Nothing new is sent to `machine` within, and nothing is under way on its way there.

        What its ports take once it stands still moves in part, and is lost in part.
        """
        self._free.clear()
        try:
            await self._answered(machine)
            if self._followed is not None:
                await self._followed.hold()
            yield
        finally:
            self._free.set()
            if self._followed is not None:
                self._followed.release()

    # ------------------------------------------------------------------ to a file and back

    async def save(self, keep: Keep) -> None:
        """See `hpcore.run.accelerator.SavableSession`."""
        self._gate.check(MachineStep.SAVE)
        turn = self._machine_turn = CallerTurn()
        try:
            await self._save(keep)
        except NotTakenUp as error:
            raise AcceleratorError(str(error)) from error
        except QemuError as error:
            raise EffectError(str(error)) from error
        except OSError as error:
            raise EffectError(f"the file takes no more: {error.strerror or error}") from error
        finally:
            turn.end()
            if self._machine_turn is turn:
                self._machine_turn = None

    async def _save(self, keep: Keep) -> None:
        here, elsewhere = self._running(), self._elsewhere
        if elsewhere is None:
            raise EffectError(self.stays)
        elsewhere.files.require_unchanged()
        alike = {QEMU: await version_of(here.qmp), MACHINE_TYPE: await machine_type_of(here.qmp)}
        saved = await asyncio.to_thread(self._belongings, alike, elsewhere)

        async def still() -> Writes:
            await self._heard_all(here)
            return await keep(self._with_own(saved))

        async with self._held(here):
            await save_to(here, still)

    async def load(self, state: State, saved: Belongings, stream: Stream) -> None:
        """In place of CREATE_VCPUS and all that followed: the machine that was saved.

        Raises AcceleratorError, and leaves nothing behind.
        """
        assert self._elsewhere is not None, "a machine is restored in a QEMU that we start"
        try:
            there = await self._elsewhere.start()
        except QemuError as error:
            raise AcceleratorError(str(error)) from error
        try:
            for name, ask in ((QEMU, version_of), (MACHINE_TYPE, machine_type_of)):
                refuse_unlike(saved, name, await ask(there.qmp), "restore it with that one")
            self._expect(there, state, saved)
            assert there.incoming is not None, "it was started to wait for a machine"
            await load_from(there, there.incoming, stream)
        except QemuError as error:
            await there.close()
            raise AcceleratorError(f"QEMU does not take the saved machine: {error}") from error
        except BaseException:
            await there.close()
            raise
        self._listen(there, Hears.ALL)
        there.process.all_connected()
        self._met(there)
        self._has_come(state, saved)

    def _met(self, machine: M) -> None:
        """`machine` is this session's, from its start on."""
        self._machine = machine
        if machine.console is not None:
            self._followed = FollowedConsole(machine.console)
