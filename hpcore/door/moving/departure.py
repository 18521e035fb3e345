"""A machine on its way out: from the real QEMU, through this door, to where its client says."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping
from functools import partial
from pathlib import Path

import structlog

from hpcore.door.moving.frames import Frames, Kind, StreamError
from hpcore.door.moving.head import Head
from hpcore.door.moving.places import Place
from hpcore.door.moving.pump import QemuEnd, give_up_with
from hpcore.door.moving.rest import Rest
from hpcore.errors import printable
from hpcore.qemu.errors import QemuError
from hpcore.qemu.machine import QemuMachine
from hpcore.qemu.migration import ENDLESS, SWITCH_SECONDS, over, take_up
from hpcore.qemu.qmp import QmpRefused

_log = structlog.get_logger(__name__)

SOCKET = "away"
"""Where the real QEMU sends its stream, in its own directory."""
WORD_SECONDS = 30.0
"""For the first word of a door that has been sent everything. Who says nothing by then, and goes
on listening, is no door: it keeps the machine in a file."""


TakeRest = Callable[[], Coroutine[object, object, Rest]]
"""Awaited once the guest stands still: all that it has said is in the log by then."""


class Departure:
    """One try. `go` carries the machine; whatever goes wrong, this side still has it."""

    def __init__(
        self, place: Place, more: Mapping[str, object], go_on: Callable[[], Awaitable[None]]
    ) -> None:
        """`more` are the other arguments of `migrate`, for the real QEMU. `go_on` has it send the
        last of the machine, which stands still; or has its client do so."""
        self.place, self._more, self._go_on = place, more, go_on
        self.begun: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Done once the real QEMU sends."""
        self._fits = asyncio.Event()
        self._arrived = asyncio.Event()
        self._silent = asyncio.Event()  # the other side says nothing more
        self._refused: str | None = None

    async def go(self, qemu: QemuMachine, head: Head, rest: TakeRest, *, live: bool) -> None:
        """Carry the machine. With `live` it runs, until QEMU has it stand still at the end; where
        this fails it goes on then. Else it stands still. Raises QemuError, OSError."""
        channel = await self.place.connected()
        frames = Frames(channel)
        end = QemuEnd(frames)
        hears = self._begin_to_hear(frames, end, qemu)
        try:
            await channel.in_thread(partial(head.write, frames))
            await self._carry(qemu, frames, end, rest)
            await channel.in_thread(partial(frames.write, Kind.END))
            channel.end()
            await self._taken()
        except BaseException as error:
            await take_up(qemu, ran=live)
            if self._refused is not None:
                raise QemuError(f"the other side refuses it: {self._refused}") from error
            raise
        finally:
            channel.interrupt()
            end.stop()
            await asyncio.gather(*hears, return_exceptions=True)
            end.close()
        try:
            await self._closed()
        except QemuError:
            await take_up(qemu, ran=live)
            raise

    async def _carry(
        self, qemu: QemuMachine, frames: Frames, end: QemuEnd, rest: TakeRest
    ) -> None:
        """Have QEMU send its stream, and wait until it has, and all of it is written.

        Before it sends its vCPUs it waits: what it is loaded into must know by then which of them
        may be on.
        """
        with _listening(qemu.process.directory / SOCKET) as (path, listener):

            def send() -> None:
                end.accept(listener)
                end.take_to_frames(Kind.DATA)

            sends = asyncio.ensure_future(asyncio.to_thread(send))
            sends.add_done_callback(lambda done: give_up_with(qemu, done))
            try:
                await qemu.qmp.execute("migrate", {**self._more, "uri": f"unix:{path}"})
                if not self.begun.done():
                    self.begun.set_result(None)
                await qemu.migration.until("pre-switchover", ENDLESS)
                await qemu.migration.unless_interrupted(_send_rest(frames, rest))
                try:
                    await self._go_on()
                except QmpRefused:  # it was cancelled just then, and says so
                    await qemu.migration.until("completed", SWITCH_SECONDS)
                    raise
                await qemu.migration.until("completed", ENDLESS)
                await over(qemu.qmp)  # before that it takes no `cont`, which its client may give
                await asyncio.shield(sends)
            except BaseException as error:
                cause = sends.exception() if sends.done() else None
                with contextlib.suppress(OSError):  # whoever waits for QEMU waits no longer
                    listener.shutdown(socket.SHUT_RDWR)
                frames.channel.interrupt()
                end.stop()
                await asyncio.gather(sends, return_exceptions=True)
                if cause is not None and isinstance(error, QemuError):
                    raise cause from None
                raise

    async def _taken(self) -> None:
        """Wait for the other side's word that it has the machine, where it can give one.

        A door says first that the machine fits. Raises QemuError.
        """
        if not await _any(WORD_SECONDS, self._fits, self._silent):
            return
        if self._fits.is_set():
            await _any(None, self._arrived, self._silent)
        if self._refused is not None or (self._fits.is_set() and not self._arrived.is_set()):
            raise QemuError("the other side has not taken the machine in")

    async def _closed(self) -> None:
        """Close the channel; of a program, wait for its end. Raises QemuError."""
        self.place.close()
        if self.place.shell is not None:
            status = await asyncio.to_thread(self.place.shell.status)
            if status:
                raise QemuError(f"the program of '{self.place.uri}' ended with status {status}")

    def _begin_to_hear(
        self, frames: Frames, end: QemuEnd, qemu: QemuMachine
    ) -> list[asyncio.Future[None]]:
        if not frames.channel.both_ways:
            self._silent.set()
            return []
        tell = asyncio.get_running_loop().call_soon_threadsafe

        def hear() -> None:
            try:
                while (frame := frames.read()) is not None:
                    match frame.kind:
                        case Kind.FITS:
                            tell(self._fits.set)
                        case Kind.ARRIVED:
                            tell(self._arrived.set)
                        case Kind.BACK:
                            end.give(frame.data)
                        case Kind.REFUSED:
                            words = printable(bytes(frame.data).decode("utf-8", "replace"))
                            tell(self._is_refused, words, qemu)
            except (OSError, StreamError) as error:
                _log.info("the other side is heard no more", why=str(error))
            finally:
                tell(self._silent.set)

        return [asyncio.ensure_future(asyncio.to_thread(hear))]

    def _is_refused(self, words: str, qemu: QemuMachine) -> None:
        self._refused = words
        qemu.migration.interrupt(f"the other side refuses it: {words}")


async def _send_rest(frames: Frames, rest: TakeRest) -> None:
    found = await rest()
    await frames.channel.in_thread(partial(found.write, frames))


async def _any(seconds: float | None, *events: asyncio.Event) -> bool:
    """Wait until one of them is set. False where none is within `seconds`."""
    tasks = [asyncio.ensure_future(event.wait()) for event in events]
    try:
        done, _ = await asyncio.wait(tasks, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        return bool(done)
    finally:
        for task in tasks:
            task.cancel()


@contextlib.contextmanager
def _listening(path: Path) -> Iterator[tuple[Path, socket.socket]]:
    with socket.socket(socket.AF_UNIX) as listener:
        path.unlink(missing_ok=True)
        listener.bind(str(path))
        try:
            listener.listen(1)
            yield path, listener
        finally:
            path.unlink(missing_ok=True)
