"""The host's end of the link: requests answered by tag, and events, in the link's order.

Order is the point of this file. The monitor answers and reports on one line, and whoever
hears of it must hear in that order, though an answer travels through an awaiting
coroutine and an event through a call. So the reader stops after an answer until the
coroutine that waited for it has had its say: until its turn is over (hpcore.session.turn).
"""

from __future__ import annotations

import asyncio
import fcntl
import struct
import termios
from collections.abc import Awaitable, Callable, Generator

import structlog
from attrs import define, frozen

from hpcore.run.gate import ENDED
from hpcore.session.turn import CallerTurn
from hpcore_tcg import protocol
from hpcore_tcg.protocol import MEANING, Decoder, Frame, Op, Status

log = structlog.get_logger(__name__)

READ_SIZE = 64 * 1024
QUIET_LOOKS = 3
"""Passes of the event loop that find nothing to read: what the last one read has woken the
reader by then."""


class ResetMeanwhile(Exception):
    """The machine was reset while the request was under way: nobody will answer it."""


class LinkGone(Exception):
    """The link ended, or the session did. The text says why."""


class RequestRefused(Exception):
    """The monitor refused a request; `status` says why, and nothing has changed."""

    def __init__(self, op: Op, slot: int, status: int) -> None:
        meaning = MEANING.get(status, f"unknown status {status}")
        super().__init__(f"the EL3 monitor refused {op.name} of vCPU {slot}: {meaning}")
        self.status = status


@define(eq=False)
class Pending:
    """A request that was sent, or is to be, and has no answer yet."""

    op: Op
    slot: int
    future: asyncio.Future[int]
    turn: CallerTurn | None
    sent: float


@frozen
class Interrupted:
    """What a reset found under way: the request, and the turn that it belongs to."""

    op: Op
    slot: int
    turn: CallerTurn | None


OnEvent = Callable[[Frame], Awaitable[None]]
OnEnd = Callable[[str], None]


class Link:
    """Speaks with the monitor. `on_event` is awaited for every event before the next frame.

    `on_end` is called once, when the other side closes the link.
    """

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        on_event: OnEvent,
        on_end: OnEnd,
    ) -> None:
        self._reader, self._writer = reader, writer
        self._on_event, self._on_end = on_event, on_end
        self._decoder = Decoder()
        self._dropped_said = 0
        self._pending: dict[int, Pending] = {}
        self._next_tag = 0
        self._gone: str | None = None
        self._at = self._heard = 0
        self._answering: CallerTurn | None = None
        self._whole: CallerTurn | None = None
        self.silent = True
        """Whether nothing has ever come."""
        self._idle = False  # all that was read has been delivered
        self._begun = asyncio.Event()
        self._begun.set()
        self._answered = asyncio.Event()
        self._answered.set()
        self._task = asyncio.create_task(self._read())

    @property
    def heard(self) -> int:
        """How many bytes of the link have been told on, frame by frame.

        An event has been told on once it is reported, an answer once its caller's turn is
        over. So who reads the link anew from here hears everything else, and nothing twice.
        """
        answered = self._answering is not None and self._answering.over
        return self._at if answered else self._heard

    @property
    def begun(self) -> bool:
        """Whether what comes is told on: its QEMU does not wait for its machine any more."""
        return self._begun.is_set()

    def wait_for_machine(self) -> None:
        """Tell nothing on before `go_on_from`, or `begin`: a machine is to come to its QEMU."""
        self._begun.clear()

    def begin(self) -> None:
        """Tell on what comes."""
        self._begun.set()

    def go_on_from(self, other: Link) -> None:
        """The machine has come from the QEMU of `other`, all of which has been heard: go on where
        that ends, which may be amid a frame."""
        self._decoder, self._dropped_said = other._decoder, other._dropped_said
        self._at, self._heard = other._at, other._heard
        self.begin()

    def told(self) -> None:
        """What the frame that is being delivered says is reported now."""
        self._heard = self._at

    def one_by(self, turn: CallerTurn) -> None:
        """The answers until the end of `turn` count as one, because it is done whole or anew."""
        self._whole = turn

    def send(
        self, op: Op, slot: int = 0, arg: int = 0, *, turn: CallerTurn | None = None
    ) -> Request:
        """Send a request at once, and return it to be awaited.

        With `turn`, no frame that follows the answer is delivered before the turn ends.
        Raises LinkGone.
        """
        if self._gone is not None:
            raise LinkGone(self._gone)
        loop = asyncio.get_running_loop()
        tag = self._tag(op, slot)
        pending = Pending(op, slot, loop.create_future(), turn, loop.time())
        self._pending[tag] = pending
        self._answered.clear()
        self._put(tag, protocol.encode(op, tag=tag, slot=slot, arg=arg))
        return Request(pending.future)

    def oldest(self) -> tuple[Op, int, float] | None:
        """The request that has waited longest: op, slot, and when it was sent."""
        waiting = min(self._pending.values(), key=lambda p: p.sent, default=None)
        return None if waiting is None else (waiting.op, waiting.slot, waiting.sent)

    async def answered(self) -> None:
        """Wait until nothing that was sent waits for its answer."""
        await self._answered.wait()

    @property
    def at_end(self) -> bool:
        """Whether QEMU has closed it, and all that came before that has been delivered."""
        return self._task.done()

    async def heard_all(self) -> None:
        """Wait until all is delivered that the monitor of a machine that stands still has sent.

        QEMU hands on each byte as the monitor writes it, so all of it is in the socket.
        """
        quiet = 0
        while quiet < QUIET_LOOKS and self._gone is None and not self.at_end:
            quiet = quiet + 1 if self._idle and not self._unread() else 0
            await asyncio.sleep(0)

    def interrupt(self) -> list[Interrupted]:
        """End every request under way with ResetMeanwhile, and say which they were."""
        interrupted = []
        for pending in self._take():
            pending.future.set_exception(ResetMeanwhile())
            interrupted.append(Interrupted(pending.op, pending.slot, pending.turn))
        return interrupted

    def end(self, why: str) -> None:
        """End every request under way, and every later one, with LinkGone. Idempotent."""
        if self._gone is None:
            self._gone = why
        for pending in self._take():
            pending.future.set_exception(LinkGone(self._gone))

    async def close(self) -> None:
        """Stop reading and close the socket."""
        self.end(ENDED)
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        self._writer.close()

    def _tag(self, _op: Op, _slot: int) -> int:
        """A tag for a request, which no other one under way has."""
        while self._next_tag in self._pending:
            self._next_tag = (self._next_tag + 1) % protocol.TAGS
        tag = self._next_tag
        self._next_tag = (tag + 1) % protocol.TAGS
        return tag

    def _put(self, _tag: int, request: bytes) -> None:
        """Send the bytes of a request."""
        self._writer.write(request)

    def _take(self) -> list[Pending]:
        waiting = [p for p in self._pending.values() if not p.future.done()]
        self._pending.clear()
        self._answered.set()
        return waiting

    def _unread(self) -> int:
        sock = self._writer.get_extra_info("socket")
        (size,) = struct.unpack("i", fcntl.ioctl(sock.fileno(), termios.FIONREAD, bytes(4)))
        return int(size)

    async def _more(self) -> bytes:
        self._idle = True
        try:
            return await self._reader.read(READ_SIZE)
        finally:
            self._idle = False

    async def _read(self) -> None:
        try:
            while data := await self._more():
                self.silent = False
                await self._take_in(data)
            why = "QEMU closed it"
        except OSError as error:
            why = str(error)
        self._on_end(why)

    async def _take_in(self, data: bytes) -> None:
        """Deliver what `data` completes, in order."""
        await self._begun.wait()
        for frame in self._decoder.frames(data):
            self._at = self._decoder.at
            await self._deliver(frame)
            self._answering = None
            if self._whole is None or self._whole.over:
                self._heard = self._at
        self._say_dropped()

    async def _deliver(self, frame: Frame) -> None:
        if frame.kind == protocol.REPLY:
            await self._answer(frame)
        elif frame.kind > protocol.REPLY:
            await self._on_event(frame)
        else:
            log.warning("a request came from the monitor; dropped", kind=frame.kind)

    async def _answer(self, frame: Frame) -> None:
        pending = self._pending.pop(frame["tag"], None)
        if not self._pending:
            self._answered.set()
        if pending is None or pending.future.done():  # asked before a reset, or given up
            log.warning("an answer that nobody waits for; dropped", tag=frame["tag"])
            return
        self._answering = pending.turn
        if frame["status"] == Status.OK:
            pending.future.set_result(frame["value"])
        else:
            pending.future.set_exception(RequestRefused(pending.op, pending.slot, frame["status"]))
        if pending.turn is not None:
            await pending.turn.wait()

    def _say_dropped(self) -> None:
        dropped = self._decoder.dropped
        if dropped >= 2 * self._dropped_said and dropped > self._dropped_said:
            log.warning("bytes on the link that are no frame; dropped", total=dropped)
            self._dropped_said = dropped


class Request:
    """A request that was sent. Await it for the value of the answer.

    Raises RequestRefused, ResetMeanwhile or LinkGone.
    """

    def __init__(self, future: asyncio.Future[int]) -> None:
        self._future = future
        # one that is never awaited must not complain when the machine ends
        future.add_done_callback(lambda done: done.cancelled() or done.exception())

    def __await__(self) -> Generator[object, None, int]:
        return self._future.__await__()
