"""A machine that is waited for: it comes from another door or a file into the real QEMU."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping
from enum import Enum, auto
from functools import partial

import attrs
import structlog

from hpcore.door.front import MovingSession
from hpcore.door.moving.channel import Channel, words_of
from hpcore.door.moving.frames import LARGEST, STILL_SINCE, Frames, Kind, StreamError
from hpcore.door.moving.head import LONGEST_LOG, Head, log_of
from hpcore.door.moving.places import Place
from hpcore.door.moving.pump import QemuEnd, give_up_with
from hpcore.door.moving.rest import Rest, section_of
from hpcore.errors import HpcoreError
from hpcore.model.config import MachineConfig
from hpcore.model.states import State
from hpcore.qemu.errors import QemuError
from hpcore.qemu.machine import QemuMachine
from hpcore.qemu.migration import ENDLESS
from hpcore.run.log_state import LogState

_log = structlog.get_logger(__name__)

SOCKET = "here"
"""Where the real QEMU takes its stream, in its own directory."""

WORDS_SECONDS = 5.0
"""For the other side to have read why its machine is refused, and to have closed."""
LONGEST_WORDS = 4096

MOST_SECTIONS = 64
"""Of one machine; today's have one at most."""

Settle = Callable[[Head, LogState], Awaitable[None]]
"""Makes what has come the door's machine."""


class Stage(Enum):
    """How far a machine that is waited for has come."""

    AWAITED = auto()  # nobody has said yet where it comes from
    ON_ITS_WAY = auto()
    HERE = auto()


class Arrival:
    """The one machine that comes to this door. `take` is given where from, once.

    The real QEMU listens for it at SOCKET by then.
    """

    def __init__(
        self, accelerator: str, here: Callable[[], State], session: MovingSession
    ) -> None:
        """`here` is what clients have said of the machine that is to come."""
        self._accelerator, self._here, self._session = accelerator, here, session
        self.stage = Stage.AWAITED
        self._news = asyncio.Event()

    async def settled(self) -> None:
        """Wait for the end of what is on its way; at once where nothing is."""
        if self.stage is Stage.ON_ITS_WAY:
            await self._news.wait()

    async def take(self, place: Place, settle: Settle) -> None:
        """Take the machine in. Raises HpcoreError or OSError where it does not come; the real
        QEMU is of no use any more then."""
        self.stage = Stage.ON_ITS_WAY
        try:
            await self._take(place, settle)
        finally:
            place.close()
            self._news.set()

    async def _take(self, place: Place, settle: Settle) -> None:
        channel = await place.connected()
        frames = Frames(channel)
        try:
            head = await channel.in_thread(partial(Head.read, frames))
            log = log_of(head)
            refuse_unlike(self._accelerator, self._here(), head, log.state)
            qemu = await self._session.meet(head.facts)
            coming = Coming(head, log, self._session.expect)
            await self._load(qemu, frames, coming)
            self._session.arrived(coming.log.state)
            await settle(coming.head, coming.log)
            self.stage = Stage.HERE
            if channel.both_ways:
                await channel.in_thread(partial(frames.write, Kind.ARRIVED))
        except (HpcoreError, OSError) as error:
            if channel.both_ways and self.stage is not Stage.HERE:
                _log.error("the machine is refused", why=words_of(error))
                words = words_of(error).encode()[:LONGEST_WORDS]
                with contextlib.suppress(OSError):
                    await channel.in_thread(partial(frames.write, Kind.REFUSED, words))
                    channel.end()
                    await self._read_to_end(channel)
            if self.stage is not Stage.HERE:
                raise
        finally:
            channel.end()

    async def _read_to_end(self, channel: Channel) -> None:
        """Drop what still comes: to close before that would take back the words, on TCP."""
        room = memoryview(bytearray(LARGEST))

        def read() -> None:
            while channel.read_some(room):
                pass

        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(channel.in_thread(read), WORDS_SECONDS)

    async def _load(self, qemu: QemuMachine, frames: Frames, coming: Coming) -> None:
        """Have QEMU take the stream, to its end. Raises HpcoreError, OSError."""
        channel = frames.channel
        if channel.both_ways:
            await channel.in_thread(partial(frames.write, Kind.FITS))
        path = qemu.incoming = qemu.process.directory / SOCKET
        end = QemuEnd(frames)
        end.have(await qemu.process.connect_socket(path))
        loop = asyncio.get_running_loop()

        def still(rest: Rest) -> None:
            asyncio.run_coroutine_threadsafe(coming.stands_still(rest), loop).result()

        gives = asyncio.ensure_future(asyncio.to_thread(give, frames, end, still))
        gives.add_done_callback(lambda done: give_up_with(qemu, done))
        back = asyncio.ensure_future(_back(frames, end))
        try:
            await qemu.migration.until("completed", ENDLESS)
            await asyncio.shield(gives)
        except BaseException as error:
            cause = gives.exception() if gives.done() else None
            if isinstance(error, QemuError) and isinstance(cause, HpcoreError):
                raise cause from None
            raise
        finally:
            channel.interrupt()
            end.stop()
            await asyncio.gather(gives, back, return_exceptions=True)
            end.close()
            path.unlink(missing_ok=True)


class Coming:
    """What is known of the machine that comes: its head, with all that has come to its log."""

    def __init__(
        self, head: Head, log: LogState, expect: Callable[[State, Mapping[str, bytes]], None]
    ) -> None:
        self.head, self.log, self._expect = head, log, expect

    async def stands_still(self, rest: Rest) -> None:
        """The `rest` of it is here, and QEMU has yet to be given its vCPUs. Raises HpcoreError."""
        if rest.log:
            self.head = attrs.evolve(self.head, log=self.head.log + rest.log)
            self.log = log_of(self.head)
        self._expect(self.log.state, rest.sections)


def give(frames: Frames, end: QemuEnd, still: Callable[[Rest], None]) -> None:
    """In a thread: give QEMU its stream, and `still`, once, what comes beside it.

    Raises StreamError where it is not whole, what `still` raises, OSError.
    """
    try:
        _give(frames, end, still)
    except BaseException:
        end.stop()
        raise


def _give(frames: Frames, end: QemuEnd, still: Callable[[Rest], None]) -> None:
    log, sections, waits = bytearray(), dict[str, bytes](), True
    while (frame := frames.read()) is not None:
        match frame.kind:
            case Kind.DATA:
                end.give(frame.data)
            case Kind.LOG if waits and len(log) < LONGEST_LOG:
                log += frame.data
            case Kind.SECTION if waits and len(sections) < MOST_SECTIONS:
                sections |= section_of(bytes(frame.data))
            case Kind.STILL if waits:
                waits = False
                still(Rest(bytes(log), sections))
            case Kind.END if not waits:
                return
            case Kind.END if frames.format < STILL_SINCE:
                still(Rest(bytes(log), sections))
                return
            case _:
                break
    raise StreamError("it was cut short")


async def _back(frames: Frames, end: QemuEnd) -> None:
    """What QEMU says to the other QEMU, where that can hear it."""
    if frames.channel.both_ways:
        await asyncio.to_thread(end.take_to_frames, Kind.BACK)


class Unlike(HpcoreError):
    """The machine that comes is not the one that this door was started for."""


def refuse_unlike(accelerator: str, here: State, head: Head, there: State) -> None:
    """Raise Unlike where the machine that comes is another one than was made ready here."""
    if head.accelerator != accelerator:
        raise Unlike(
            f"the machine comes from the accelerator '{head.accelerator}', and is waited for on "
            f"'{accelerator}': start both with the same -accel"
        )
    for option, found in _OPTIONS.items():
        comes, awaited = found(there.config), found(here.config)
        if comes != awaited:
            raise Unlike(
                f"the machine that comes was started with {option} {comes}, and this one with "
                f"{option} {awaited}: start both with the same"
            )
    coming, waited = _plugged(there), _plugged(here)
    if coming != waited:
        raise Unlike(
            f"of the machine that comes {_listed(coming)}, and here {_listed(waited)}: before "
            "migrate-incoming, plug here what is plugged there, under the same ids"
        )


def _smp(config: MachineConfig) -> str:
    return ",".join(f"{name}={n}" for name, n in attrs.asdict(config.topology).items())


_OPTIONS: dict[str, Callable[[MachineConfig], object]] = {
    "-smp": _smp,
    "-m": lambda config: config.memory,
    "-cpu": lambda config: config.cpu_model,
}


def _plugged(state: State) -> dict[int, str]:
    return {
        index: slot.id for index, slot in enumerate(state.slots)
        if slot.id is not None and not state.config.cold_booted(index)
    }  # fmt: skip


def _listed(plugged: dict[int, str]) -> str:
    if not plugged:
        return "no vCPU is plugged"
    return "these are plugged: " + ", ".join(f"vCPU {i} as {id_!r}" for i, id_ in plugged.items())
