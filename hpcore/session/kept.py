"""A session whose machine may outlive hpcore: what is the same for all that keep a QEMU.

How an accelerator finds out what it has missed is its own affair.
"""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from hpcore.model.effects import MachineStep, RunMachineStep
from hpcore.model.states import State
from hpcore.model.stimuli import PowerOffSeen
from hpcore.qemu.errors import QemuError
from hpcore.qemu.kept import QemuGone
from hpcore.qemu.kept_machine import KeptQemuMachine
from hpcore.qemu.machine import QemuMachine
from hpcore.qemu.runtime_directory import remove_runtime_directory
from hpcore.run.accelerator import AcceleratorError, EffectError, MachineGone
from hpcore.run.gate import ENDED
from hpcore.session.qemu import QemuSession
from hpcore.session.turn import CallerTurn

M = TypeVar("M", bound=QemuMachine)


class KeptQemuSession(QemuSession[M]):
    """Comes before the accelerator's session among the bases; see KeptSession.

    Who has attached holds back what touches QEMU until `_goes_on`: what was missed is reported
    before that.
    """

    _found: KeptQemuMachine | None = None
    """The machine of who attached; None where it was made."""
    _state: State | None = None
    """What its log says of it then."""
    _begins_anew = False
    """Whether what is begun now was under way before."""

    def _stay(self, directory: Path) -> None:
        """The machine lives in `directory`, which `close` removes. Part of the construction."""
        self._directory = directory
        self._goes_on = asyncio.Event()
        self._goes_on.set()
        self._off_told = asyncio.Event()  # a power-off that nobody had heard of
        self._off_early: str | None = None  # QEMU's word of one, said before `_goes_on`

    def _attaches(self, state: State) -> None:
        """It is there already, and its log says `state`. Part of the construction."""
        self._state, self._begins_anew = state, True
        self._goes_on.clear()
        self._gate.stands(state)

    async def _all_begun_anew(self) -> None:
        """Return once all that was under way has been begun, and waits; it comes before."""
        await asyncio.sleep(0)
        self._begins_anew = False

    @abstractmethod
    def _replayed(self) -> asyncio.Event:
        """Set once all that was missed has been reported."""

    @property
    def place(self) -> Path:
        """See KeptSession: QEMU's directory."""
        return self._directory

    @property
    def printed_before(self) -> bytes:
        """See KeptSession."""
        return b"" if self._found is None else self._found.printed

    def logged(self, heard: int) -> None:
        """See KeptSession."""

    async def arrive(self) -> None:
        """See KeptSession."""
        raise AcceleratorError("this machine was not saved: there is none to come")

    async def leave(self) -> None:
        """See KeptSession."""
        for task in self._tasks:
            task.cancel()
        if isinstance(self._machine, KeptQemuMachine):
            await self._machine.leave()
        self._end(ENDED)

    async def close(self) -> None:
        """See Session."""
        await super().close()
        remove_runtime_directory(self._directory)

    async def _do(self, effect: RunMachineStep, turn: CallerTurn) -> None:
        if effect.step is MachineStep.SAVE:  # of a log that has it as under way
            raise EffectError("hpcore ended before the machine was saved: save it again")
        await super()._do(effect, turn)

    async def _command(self, step: MachineStep) -> None:
        await self._goes_on.wait()
        await super()._command(step)

    def _go_on(self, *, off: bool) -> None:
        """What touches QEMU is done from here on. `off` says that QEMU's run state, as it was
        found, is that of a power-off of which the log does not know.

        A guest may power off as soon as it runs again, and QEMU says so before whoever had it run
        is told that it does.
        """
        self._goes_on.set()
        if off:
            self._tell(self._powered_off_meanwhile())
            return
        self._off_told.set()
        if self._off_early is not None:
            self._tell(self._shut_down(self._off_early))

    async def _shut_down(self, reason: str) -> None:
        if self._goes_on.is_set():
            await super()._shut_down(reason)
        else:  # where that was before its run state was read, the run state tells
            self._off_early = reason

    async def _powered_off_meanwhile(self) -> None:
        """QEMU has told nobody of it. It is reported after all that came before."""
        async with self._changes:
            await self._or_gone(self._replayed())
            self._gate.shut()
            self._report(PowerOffSeen())
            self._off_told.set()

    def _end(self, why: str) -> bool:
        first = super()._end(why)
        for waited_for in (self._goes_on, self._off_told):
            waited_for.set()
        return first

    async def _or_gone(self, *any_of: asyncio.Event) -> None:
        """Wait for the first of these. Raises AcceleratorError where the machine is gone."""
        waits = [asyncio.create_task(event.wait()) for event in any_of]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
        self._gate.require_present()


@contextmanager
def finding() -> Iterator[None]:
    """What finding a kept machine raises, as `Keeper.attach` does."""
    try:
        yield
    except QemuGone as error:
        raise MachineGone(str(error)) from error
    except QemuError as error:
        raise AcceleratorError(str(error)) from error
