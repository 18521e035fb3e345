"""A session under somebody else's VM, whose machine may go to another QEMU, or come from there.

What is the same for all accelerators; see `hpcore.door.front.MovingSession` for what its methods
promise. What hpcore has of a machine beside its log goes along by the sections that the machine is
saved with, too: see CarryingSession.
"""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import ClassVar, TypeVar

import attrs

from hpcore.model.states import State
from hpcore.qemu.errors import QemuError
from hpcore.qemu.machine import QemuMachine
from hpcore.qemu.migration import machine_type_of, version_of
from hpcore.run.accelerator import AcceleratorError, Belongings, EffectError
from hpcore.run.saved_parts import refuse_unlike
from hpcore.session.carrying import MACHINE_TYPE, QEMU, CarryingSession, Hears
from hpcore.session.loads import REMEDIES, SAME_START, Loads
from hpcore.session.turn import CallerTurn

M = TypeVar("M", bound=QemuMachine)


class MovingQemuSession(CarryingSession[M]):
    """Comes before the accelerator's session among the bases."""

    remedies: ClassVar[Mapping[str, str]] = REMEDIES
    """What to do where a fact is another one here."""

    def _moves_with(self, loads: Loads) -> None:
        """A reset loads this. Part of the construction."""
        self._loads = loads
        self._comes = Belongings({})  # what is said of the machine that is to come

    @abstractmethod
    async def _waiting(self) -> M:
        """The QEMU that waits for a machine, connected to. Raises QemuError."""

    @abstractmethod
    async def carries_running(self) -> bool:
        """See MovingSession."""

    def _own_facts(self) -> dict[str, str]:
        """What of the accelerator's own goes with the facts."""
        return {}

    @asynccontextmanager
    async def held(self) -> AsyncIterator[M]:
        """See MovingSession."""
        here = self._running()
        turn = self._machine_turn = CallerTurn()  # a reset meanwhile is told behind it
        try:
            async with self._held(here):
                yield here
        finally:
            turn.end()
            if self._machine_turn is turn:
                self._machine_turn = None

    async def heard(self) -> None:
        """See MovingSession."""
        await self._heard_all(self._running())

    async def facts(self) -> dict[str, str]:
        """See MovingSession."""
        here = self._running()
        if not self._gate.is_open:
            raise EffectError("the machine starts anew just now: try again once it has")
        try:
            await here.migration.unless_interrupted(self._heard_all(here))
            return {**await self._facts_of(here), **self._own_facts()}
        except QemuError as error:
            raise EffectError(str(error)) from error
        except OSError as error:
            raise EffectError(f"what was loaded cannot be read: {error}") from error

    def own(self) -> dict[str, bytes]:
        """See MovingSession."""
        return dict(self._with_own(Belongings({})).files)

    async def meet(self, facts: Mapping[str, str]) -> M:
        """See MovingSession."""
        self._comes = Belongings(facts)
        try:
            there = self._machine = await self._waiting()
            for name, here in (await self._facts_of(there)).items():
                refuse_unlike(self._comes, name, here, self.remedies.get(name, SAME_START))
        except (QemuError, OSError) as error:
            raise AcceleratorError(str(error)) from error
        return there

    def expect(self, state: State, own: Mapping[str, bytes]) -> None:
        """See MovingSession."""
        assert self._machine is not None, "meet comes first"
        self._comes = attrs.evolve(self._comes, files=own)
        self._expect(self._machine, state, self._comes)

    def arrived(self, state: State) -> None:
        """See MovingSession."""
        assert self._machine is not None, "meet comes first"
        self._has_come(state, self._comes)
        self._listen(self._machine, Hears.ALL)

    async def _facts_of(self, machine: M) -> dict[str, str]:
        return {
            QEMU: await version_of(machine.qmp),
            MACHINE_TYPE: await machine_type_of(machine.qmp),
            **await asyncio.to_thread(self._loads.digests),
        }
