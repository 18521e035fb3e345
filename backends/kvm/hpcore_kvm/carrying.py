"""A session's machine is saved, restored, and carried to another VM while it runs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import structlog
from attrs import frozen

from hpcore.model.effects import MachineStep
from hpcore.model.states import State
from hpcore.run.accelerator import AcceleratorError, Belongings, EffectError, Keep, Stream
from hpcore_kvm import memory_stream, saved
from hpcore_kvm.base import FAILURES, KvmBase, end_machine
from hpcore_kvm.machine import KvmMachine
from hpcore_kvm.memory_stream import StreamError
from hpcore_kvm.precopy import Precopy
from hpcore_kvm.saved import Blank
from hpcore_kvm.threads import Hold

log = structlog.get_logger(__name__)

ANSWERED_SECONDS = 5.0
"""For the core's answers to the CPU_ON calls that wait. It takes some milliseconds."""


@frozen
class Moved:
    """How a migration went: seconds that the guest stood still, bytes sent in so many rounds."""

    stood: float
    rounds: int
    sent: int


class Carrying(KvmBase):
    """What of a session is about the whole state of its machine."""

    _moved: Moved | None = None

    @property
    def moved(self) -> Moved | None:
        """How the last migration went, for measurements; None before there was one."""
        return self._moved

    async def save(self, keep: Keep) -> None:
        """See `hpcore.run.accelerator.SavableSession`."""
        self._gate.check(MachineStep.SAVE)
        try:
            async with self._standing_still() as machine:
                parts = await self._work.do(
                    saved.belongings, machine, self._order, self._images
                )
                file = await keep(parts)
                await self._work.do(memory_stream.write, machine.memory, file)
        except FAILURES as error:
            raise EffectError(f"SAVE: {error}") from error
        except OSError as error:
            raise EffectError(f"the file takes no more: {error.strerror or error}") from error

    async def load(self, state: State, kept: Belongings, stream: Stream) -> None:
        """In place of CREATE_VCPUS and all that followed: the machine that was saved.

        Raises AcceleratorError, and leaves nothing behind.
        """
        try:
            await self._create()
            machine = self._running()
            machine.threads.hold(Hold.PAUSED)
            await self._work.do(machine.init_gic)
            await self._work.do(memory_stream.read, machine.memory, stream)
            await self._work.do(saved.restore, machine, self._order, kept, state)
        except (*FAILURES, StreamError, OSError, EffectError) as error:
            await self.close()
            raise AcceleratorError(f"KVM does not take the saved machine: {error}") from error
        except BaseException:
            await self.close()
            raise
        self._gate.stands(state)
        self._gate.pause()

    async def _migrate(self) -> None:
        """MIGRATE: to another VM, which is the session's from then on; this one is ended.

        Whatever fails before the other one has all of it leaves this one as it was.
        """
        here, console = self._running(), self._console
        assert console is not None, "it came with the machine"
        there, copy = self._new_machine(console), None
        there.threads.hold(Hold.CARRIED)
        try:
            await self._work.do(there.create)
            await self._work.do(there.init_gic)
            has = await self._work.do(saved.prepare, there, self._order)
            copy = Precopy(here.vm, here.memory, there.memory)
            await self._work.do(copy.start)
            began = self._loop.time()
            async with self._standing_still():
                await self._work.do(copy.finish)
                await self._carry(here, there, has)
                if Hold.PAUSED in here.threads.holds:
                    there.threads.hold(Hold.PAUSED)
                self._machine = there
            stood = self._loop.time() - began
            self._moved = Moved(stood, copy.rounds, copy.sent)
            log.info("moved", stood_ms=round(1000 * stood), rounds=copy.rounds, bytes=copy.sent)
        except (StreamError, OSError) as error:
            raise EffectError(str(error)) from error
        finally:
            left = here if self._machine is there else there
            await asyncio.shield(self._spawn(self._leave(left, copy)))

    async def _carry(self, here: KvmMachine, there: KvmMachine, has: Blank) -> None:
        try:
            await self._work.do(saved.carry, here, there, self._order, has)
        except AcceleratorError as error:  # of the one that is being made
            raise EffectError(str(error)) from error

    async def _leave(self, machine: KvmMachine, copy: Precopy | None) -> None:
        """End a machine that is not the session's, or is no more."""
        machine.threads.hold(Hold.OVER)
        if copy is not None:
            await self._work.do(copy.close)
        await self._work.done()  # where this was cancelled, a call that makes the machine goes on
        await self._work.do(end_machine, machine)

    @asynccontextmanager
    async def _standing_still(self) -> AsyncIterator[KvmMachine]:
        """No vCPU runs within, none waits for an answer, and the guest's time stands still."""
        machine, console = self._running(), self._console
        assert console is not None, "it came with the machine"
        typed = bytearray()  # meanwhile
        stood = machine.stopped_at is not None  # in a pause
        machine.threads.hold(Hold.CARRIED)
        try:
            async with self._waiting:
                await self._wait_out()
                await asyncio.sleep(0)  # a reset by the guest, just before, is told by then
                await self._all_answered(machine)
                if not self._gate.is_open:
                    raise EffectError("the guest has reset the machine, or powered it off")
                if not stood:
                    machine.stop_time()
                self._free.clear()
                console.connect(typed.extend)
                try:
                    yield machine
                finally:
                    now = self._machine or machine  # another one, if it was carried there
                    console.connect(now.uart.receive)
                    if not stood and self._gate.gone is None:
                        now.start_time()
                    now.uart.receive(bytes(typed))
        finally:
            self._free.set()
            (self._machine or machine).threads.let_go(Hold.CARRIED)

    async def _all_answered(self, machine: KvmMachine) -> None:
        """Wait until the core has answered every CPU_ON: the answer is in what is written."""
        within = self._loop.time() + ANSWERED_SECONDS
        while machine.threads.unanswered and self._gate.is_open:
            if self._loop.time() > within:
                raise EffectError("a CPU_ON is not answered, and a machine is saved once it is")
            await asyncio.sleep(0.001)
