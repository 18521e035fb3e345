"""`-incoming` and `migrate-incoming`, as the door answers them: a machine is waited for.

Until it is here, the door's machine is what clients have made ready: the vCPUs that they have
plugged are to be those of the machine that comes, as they are with QEMU.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Mapping
from pathlib import Path

import structlog
from attrs import field, mutable

from hpcore.door.log import VmLog
from hpcore.door.moving.arrival import SOCKET, Arrival, Stage
from hpcore.door.moving.channel import words_of
from hpcore.door.moving.head import Head
from hpcore.door.moving.places import Place, place_here
from hpcore.door.moving.word import Word
from hpcore.door.qmp.answers import Client, QmpError, RealMonitor
from hpcore.door.qmp.vcpu_lists import ask
from hpcore.errors import HpcoreError
from hpcore.model import stimuli
from hpcore.qemu.running import RunningQemu
from hpcore.run.controller import Controller
from hpcore.run.log_state import LogState
from hpcore.run.machine import LiveMachine

_log = structlog.get_logger(__name__)

DEFER = "defer"
"""What -incoming says where a client will say the rest."""
END_SECONDS = 5.0
_ONCE = "The incoming migration has already been started"


@mutable
class Inherited:
    """What the door has kept of its caller's for a machine that comes: descriptors, and a copy of
    its standard error, which is where a QEMU says why it takes no machine."""

    descriptors: tuple[int, ...]
    error: int
    _closed: bool = field(default=False, init=False)

    def say(self, words: str) -> None:
        """Say it where the caller looks."""
        with contextlib.suppress(OSError):
            os.write(self.error, f"hpcore: {words}\n".encode())

    def close(self) -> None:
        """Let go of all; whoever waits for their ends sees those. Idempotent."""
        if not self._closed:
            self._closed = True
            for number in (*self.descriptors, self.error):
                with contextlib.suppress(OSError):
                    os.close(number)


class Taking:
    """Of one VM that was started with -incoming."""

    def __init__(
        self,
        arrival: Arrival,
        controller: Controller,
        machine: LiveMachine,
        log: VmLog,
        word: Word,
        real: RealMonitor,
        qemu: RunningQemu,
        inherited: Inherited,
        *,
        runs: bool,
    ) -> None:
        """`runs` says whether a machine that ran goes on by itself, as without -S."""
        self._arrival, self._controller, self._machine = arrival, controller, machine
        self._log, self._word, self._real, self._qemu = log, word, real, qemu
        self._inherited, self._runs = inherited, runs
        self._task: asyncio.Task[None] | None = None

    async def migrate_incoming(
        self, arguments: Mapping[str, object], client: Client | None
    ) -> object:
        """Take the machine from there; answered once that listens. Raises QmpError."""
        uri = arguments.get("uri")
        if not isinstance(uri, str) or len(arguments) > 1:
            raise QmpError("hpcore takes migrate-incoming with a uri, and nothing else")
        if self._task is not None:
            raise QmpError(_ONCE)
        async with self._word.beginning(waits=False):
            place = await place_here(uri, client, self._inherited.descriptors)
            try:
                await self._qemu_listens()
            except BaseException:
                place.close()
                raise
        self._task = asyncio.create_task(self._take(place))
        return {}

    async def begin(self, uri: str) -> None:
        """As the command line says, for which there may be no client yet. Raises QmpError."""
        await self.migrate_incoming({"uri": uri}, None)

    async def give_up(self) -> None:
        """Have QEMU end as one that could not take a machine: by itself, with status 1."""
        with contextlib.suppress(HpcoreError, OSError):
            (await self._qemu.connect_socket(self._path, END_SECONDS)).close()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._qemu.wait(), END_SECONDS)
        await self._qemu.close()

    async def _qemu_listens(self) -> None:
        """Have the real QEMU wait for its stream. Raises QmpError."""
        await ask(self._real, "migrate-incoming", {"uri": f"unix:{self._path}"})

    @property
    def _path(self) -> Path:
        return self._qemu.directory / SOCKET

    async def settled(self) -> None:
        """Wait for the end of what is on its way."""
        await self._arrival.settled()

    async def whole_machine(self, goes_on: bool | None) -> bool:
        """A command on the whole machine is given: whether that is all there is to it.

        What is on its way is waited for. Of what is awaited still, whether it `goes_on` is kept.
        Raises QmpError for a reset.
        """
        await self._arrival.settled()
        if self._arrival.stage is Stage.HERE:
            return False
        if goes_on is None:
            raise QmpError("the machine is still waited for: give migrate-incoming first")
        self._runs = goes_on
        return True

    async def close(self) -> None:
        """Leave off."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        self._inherited.close()

    async def _take(self, place: Place) -> None:
        ran: list[bool] = []

        async def settle(head: Head, log: LogState) -> None:
            await asyncio.to_thread(self._log.go_on, head.log, log.header.number)
            self._controller.take_in(log.state, self._log, log.last_t)
            self._machine.last_seq = log.last_seq
            await self._controller.submit(stimuli.Restored(place.uri))
            ran.append(head.ran)

        try:
            await self._arrival.take(place, settle)
        except Exception as error:
            fault = not isinstance(error, HpcoreError | OSError)
            why = f"hpcore failed: {type(error).__name__}" if fault else words_of(error)
            _log.error("the machine is not taken", why=why, exc_info=fault)
            self._inherited.say(f"the machine is not taken: {why}")
            await self._word.ended(why)
            await self.give_up()
            return
        self._inherited.close()
        await self._word.ended(None)
        if self._runs and ran[0]:
            with contextlib.suppress(HpcoreError):
                await self._machine.resume()
