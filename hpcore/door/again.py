"""Another door for a VM that has outlived its own: its machine is taken up, its monitors served."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

from attrs import define, frozen

from hpcore.door import keyval
from hpcore.door.asked import Asked, read
from hpcore.door.console import CONSOLE, ConsoleCopy, with_copy
from hpcore.door.front import BeforeStart
from hpcore.door.fronts import OWN, RENEWALS, SESSIONS, Opened, opened, sockets_below
from hpcore.door.journal import Journal
from hpcore.door.keeping import STAYS, KeepingFronted, Opening, Stays
from hpcore.door.machine import lived
from hpcore.door.monitors import MonitorAsked
from hpcore.door.renewal import Renewal
from hpcore.qemu.kept import KeptQemu
from hpcore.run.accelerator import Kept, KeptSession, Report
from hpcore.run.attach import Attached, attached_by
from hpcore.run.discovery import look_up
from hpcore.run.kept import NotKept, open_kept
from hpcore.run.machine import LiveMachine
from hpcore.session.kept import finding


@frozen
class Again:
    """A VM whose machine was taken up again.

    `monitors` are its command line's, which `serve` serves until QEMU has ended.
    """

    attached: Attached
    monitors: tuple[MonitorAsked, ...]
    serve: Callable[[], Awaitable[None]]


@asynccontextmanager
async def opened_again(log: Path, *, serves: bool = True) -> AsyncIterator[Again]:
    """The VM of `log`, an absolute path, with its monitors opened again, or without `serves` not.

    On leaving, the VM goes on, unless it has ended, or is to (`LiveMachine.end_when_left`). This
    process is where the VM was started from then on, for relative paths.

    Raises as `attach_machine` does, and ArgumentRefused where a monitor cannot be had again;
    the VM goes on as it was then.
    """
    kept_log = await asyncio.to_thread(open_kept, log)
    with kept_log.writer as writer:
        opening = Opening.read(kept_log.kept.place)
        found = look_up(writer.header.accelerator)
        fronted = found.accelerator
        if not isinstance(fronted, KeepingFronted):
            raise NotKept(f"{log}: the accelerator '{found.name}' here opens no door again")
        asked = read(opening.words)
        _go_to(opening.working, asked)
        _diagnose(log, opening.diagnostics)
        door = _Door(asked, opening, fronted, kept_log.kept, serves)
        try:
            async with attached_by(door.attach, kept_log, str(log), found) as attached:
                yield Again(attached, asked.monitors, partial(door.serve, attached.machine))
        finally:
            if door.monitors is not None:
                door.monitors.close()


@define
class _Door:
    """A door that is being opened again. `attach` finds its QEMU, and opens its monitors."""

    asked: Asked
    opening: Opening
    fronted: KeepingFronted
    kept: Kept
    serves: bool
    qemu: KeptQemu | None = None
    monitors: Opened | None = None

    async def attach(self, report: Report) -> KeptSession:
        """See `attached_by`. What cannot be had again is known before QEMU is touched."""
        place, asked = self.kept.place, self.asked.monitors
        with finding():
            self.qemu = qemu = await KeptQemu.attach(place, place / OWN)
        try:
            if self.serves:
                self.monitors = await opened(asked, sockets_below(place, asked), waits=False)
            return await self.fronted.attach_kept(
                self.kept, qemu, place / SESSIONS, report, self._before(qemu, report)
            )
        except BaseException:
            qemu.leave()
            raise

    def _before(self, qemu: KeptQemu, report: Report) -> BeforeStart | None:
        if self.opening.images is None:
            return None
        renewal = Renewal(
            self.asked, self.fronted.board, self.opening.images, qemu, self.kept.place / RENEWALS
        )
        return partial(renewal.renew, report)

    async def serve(self, machine: LiveMachine) -> None:
        """Serve the monitors until QEMU has ended."""
        assert self.qemu is not None and self.monitors is not None, "it was attached to serve"
        pipe = self.kept.place / CONSOLE
        console = None if with_copy(self.asked, pipe) is None else ConsoleCopy(pipe)
        try:
            await lived(
                self.asked, Stays(machine, STAYS), self.qemu, self.kept.place / OWN,
                self.monitors, console, again=True,
            )  # fmt: skip
        finally:
            if console is not None:
                console.close()


def _go_to(working: Path, asked: Asked) -> None:
    """Be where the VM was started, if something of its command line is a path from there."""
    try:
        os.chdir(working)
    except OSError as error:
        relative = [path for path in _paths(asked) if not Path(path).is_absolute()]
        if relative:
            raise NotKept(
                f"{working}, where the VM was started, cannot be had ({error.strerror}), and its "
                f"command line has a path from there: {relative[0]}"
            ) from error


def _paths(asked: Asked) -> list[str]:
    """Those that a door needs again."""
    sockets = [
        monitor.device["path"] for monitor in asked.monitors
        if "path" in monitor.device and not keyval.is_on(monitor.device.get("abstract", "off"))
    ]  # fmt: skip
    return sockets if asked.boots.disk is None else [*sockets, str(asked.boots.disk.image)]


def _diagnose(log: Path, diagnostics: Path) -> None:
    try:
        Journal(log, diagnostics).diagnose()
    except OSError as error:
        raise NotKept(f"{diagnostics} cannot be written: {error.strerror}") from error
