"""`migrate`, as the door answers it: the machine is sent with what it is.

It runs meanwhile, where the real QEMU can carry one that runs; else it stands still."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from functools import partial

import structlog

from hpcore.door.front import MovingSession
from hpcore.door.moving.channel import words_of
from hpcore.door.moving.departure import Departure
from hpcore.door.moving.head import Head
from hpcore.door.moving.places import place_away
from hpcore.door.moving.rest import Rest
from hpcore.door.moving.word import NO_POSTCOPY, Word
from hpcore.door.qmp.answers import Client, QmpError
from hpcore.errors import HpcoreError
from hpcore.log import LogError
from hpcore.model import events as ev
from hpcore.model import stimuli
from hpcore.model.decide import decide
from hpcore.model.effects import MachineStep
from hpcore.qemu.errors import QemuError
from hpcore.qemu.machine import QemuMachine
from hpcore.qemu.migration import ENDLESS, NotTakenUp
from hpcore.run.accelerator import AcceleratorError, EffectError, Session
from hpcore.run.commands import MachineCommand
from hpcore.run.errors import RunError
from hpcore.run.machine import LiveMachine

_log = structlog.get_logger(__name__)

_ARGUMENTS = frozenset({"uri", "blk", "inc", "detach", "resume"})


class Sending:
    """Of one machine: it is sent as often as its client wants, and goes on here if it is let."""

    def __init__(
        self,
        machine: LiveMachine,
        session: MovingSession,
        word: Word,
        accelerator: str,
        so_far: Callable[[], bytes],
    ) -> None:
        """`so_far` is the machine's log."""
        self._machine, self._session, self._word = machine, session, word
        self._accelerator, self._so_far = accelerator, so_far
        self._departure: Departure | None = None
        self._qemu: QemuMachine | None = None
        self._ran = self._live = False
        self._tasks: set[asyncio.Task[None]] = set()

    async def close(self) -> None:
        """Leave off."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def migrate(self, arguments: Mapping[str, object], client: Client) -> object:
        """Send the machine; answered once the real QEMU sends. Raises QmpError."""
        uri = arguments.get("uri")
        odd = sorted(arguments.keys() - _ARGUMENTS)
        if not isinstance(uri, str) or odd:
            raise QmpError(f"hpcore takes migrate with a uri, not with {', '.join(odd) or 'none'}")
        if arguments.get("resume"):
            raise QmpError(NO_POSTCOPY)
        async with self._word.beginning(waits=True):
            self._refuse(uri)
            place = await place_away(uri, client)
        more = {name: value for name, value in arguments.items() if name in ("blk", "inc")}
        departure = Departure(place, more, self._word.stands_still)
        task = asyncio.create_task(self._depart(departure))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        await asyncio.wait({departure.begun, task}, return_when=asyncio.FIRST_COMPLETED)
        if not departure.begun.done():
            raise QmpError(self._word.why or "the migration was left off")
        return {}

    async def save(
        self, session: Session, _file: str, decided: Callable[[], Awaitable[None]]
    ) -> None:
        """SAVE, by the controller: see `hpcore.run.controller.Saver`."""
        departure, qemu = self._departure, self._qemu
        assert departure is not None and qemu is not None, "migrate begins it"
        try:
            facts = await self._session.facts()
            await decided()
            head = Head(self._accelerator, facts, self._ran, self._so_far())
            await departure.go(qemu, head, partial(self._rest, head, decided), live=self._live)
        except NotTakenUp as error:
            raise AcceleratorError(str(error)) from error
        except (QemuError, LogError, OSError) as error:
            raise EffectError(words_of(error)) from error

    async def _rest(self, head: Head, decided: Callable[[], Awaitable[None]]) -> Rest:
        """What is sent beside `head`, of a machine that stands still by now."""
        await self._session.heard()
        await decided()
        log = self._so_far()
        if not log.startswith(head.log):
            raise QemuError("its log has gone on in another file meanwhile: try again")
        return Rest(log[len(head.log) :], self._session.own())

    def _refuse(self, uri: str) -> None:
        """Raise QmpError where the protocol refuses it now."""
        for event in decide(self._machine.state, stimuli.Save(uri)).events:
            if isinstance(event, ev.Refused):
                raise QmpError(event.message)

    async def _depart(self, departure: Departure) -> None:
        """Carry the machine away; where that fails it goes on as it went."""
        why: str | None = None
        self._ran = not self._machine.state.shared.paused
        self._departure = departure
        try:
            async with self._session.held() as self._qemu:
                self._qemu.migration.begin()
                self._live = self._ran and await self._session.carries_running()
                if self._ran and not self._live:
                    await (await self._machine.begin(stimuli.Pause())).ended()
                why = await self._saved(departure.place.uri)
                if self._live and why is None:  # QEMU has had it stand still
                    await (await self._machine.begin(stimuli.Pause())).ended()
        except (HpcoreError, OSError) as error:
            why = words_of(error)
        except Exception as error:
            _log.exception("a migration failed")
            why = f"hpcore failed: {type(error).__name__}"
        finally:
            self._departure = None
            departure.place.close()
        if why is not None:
            _log.error("the machine stays", why=why)
            if self._ran and not self._live:
                with suppress(RunError):
                    await (await self._machine.begin(stimuli.Resume())).ended()
        await self._word.ended(why)

    async def _saved(self, uri: str) -> str | None:
        """Why the machine was not carried away; None where it was."""
        command = await self._machine.begin(stimuli.Save(uri))
        await self._machine.until(
            lambda s: s.shared.step is not MachineStep.SAVE, "the end of the migration", ENDLESS
        )
        assert isinstance(command, MachineCommand), "a save is one"
        end = command.end
        return end.error if isinstance(end, ev.MachineStepFailed) else None
