"""The link of a machine that outlives hpcore: what a killed hpcore had sent, and what it missed.

QEMU keeps every byte that the monitor sends in a file. A tag is a function of the request's op
and slot, and a slot has one step under way, so that an answer in the file tells what it answers.
Of the requests that the killed one had sent, the monitor may have obeyed some, QEMU may hold
sixteen bytes still, and the rest is lost. So:

1. Who attaches has the machine stand still, connects, and begins again every effect that the
   log has as under way. The requests of these effects are held back.
2. What the file has beyond what was heard is delivered like any other frame. An answer there is
   that of a request held back.
3. A QUERY is sent, whose tag is in no unread answer. Once it is answered, so is everything before
   it: what is held back still has never arrived, and is sent now.
"""

from __future__ import annotations

import asyncio

import structlog
from attrs import frozen

from hpcore.run.accelerator import TakenUp
from hpcore_tcg import protocol
from hpcore_tcg.link import Interrupted, Link, OnEnd, OnEvent
from hpcore_tcg.protocol import REPLY, Decoder, Event, Frame, Op, Status

log = structlog.get_logger(__name__)

SLOTS = 1 << 9
"""Tags of one op: one a slot."""
BARRIERS = range(SLOTS)
"""Tags that no request of an op has, because there is no op 0."""
SPARE = range(0x05 * SLOTS, 0x10 * SLOTS)
"""Nor these, because there are no such ops."""

AT_ONCE = 32
"""Events of what was missed between two passes of the event loop."""

HARMLESS = (Op.REASSERT, Op.RAISE_GED)
"""Sent to be sure, whether they had arrived or not."""


def usual_tag(op: Op, slot: int) -> int:
    """The tag of a request, by which its answer tells what it answers."""
    return (op % (protocol.TAGS // SLOTS)) * SLOTS + slot


@frozen
class Missed:
    """What the file has that nobody has heard: its bytes, and how many are before them."""

    since: int
    data: bytes


class KeptLink(Link):
    """See above. `missed` is given by who attaches, who calls `go` once the effects are begun."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        on_event: OnEvent,
        on_end: OnEnd,
        missed: Missed | None = None,
    ) -> None:
        self.replayed, self.caught_up = asyncio.Event(), asyncio.Event()
        """What was missed has been told on; and what never arrived is sent again."""
        self.taken_up = TakenUp()
        """What it came to."""
        self.hellos: list[int] = []
        """Where each HELLO ends, of those that were delivered."""
        self._go = asyncio.Event()
        self._missed = missed
        self._barrier: int | None = None
        self._tags_seen: set[int] = set()
        self._held: dict[int, bytes] = {}
        self._delivered = 0
        super().__init__(reader, writer, on_event, on_end)
        if missed is None:
            for event in (self._go, self.replayed, self.caught_up):
                event.set()
        else:
            self._decoder = Decoder(missed.since)
            self._at = self._heard = missed.since

    def go_on_from(self, other: Link) -> None:
        """See Link: the file goes on, too."""
        assert isinstance(other, KeptLink), "the machine is kept wherever it is"
        super().go_on_from(other)
        self.hellos = other.hellos

    def begin_behind(self, hello: int) -> None:
        """The machine was kept nowhere before; its file begins with a HELLO, which ends there."""
        self._decoder = Decoder(hello)
        self._at = self._heard = hello
        self.hellos.append(hello)

    def go(self) -> None:
        """Deliver what was missed, and then what comes."""
        self._go.set()

    def end(self, why: str) -> None:
        """See Link. Nothing is waited for any more."""
        super().end(why)
        self.replayed.set()
        self.caught_up.set()

    def interrupt(self) -> list[Interrupted]:
        """See Link. What is held back is not sent any more."""
        self._held.clear()
        return super().interrupt()

    def _tag(self, op: Op, slot: int) -> int:
        tag = usual_tag(op, slot)
        if tag not in self._pending:
            return tag
        # A second RAISE_GED, say, whose answer means nothing
        return next(tag for tag in SPARE if tag not in self._pending)

    def _put(self, tag: int, request: bytes) -> None:
        if self.caught_up.is_set():
            super()._put(tag, request)
        else:
            self._held.pop(tag, None)  # one that was given up; the order is that of the last
            self._held[tag] = request

    async def _read(self) -> None:
        await self._go.wait()
        if self._missed is not None:
            self.silent = False
            await self._take_in(self._missed.data)
            self._missed = None
            self.replayed.set()
            self._barrier = next(tag for tag in BARRIERS if tag not in self._tags_seen)
            self._ask()
        await super()._read()

    def _ask(self) -> None:
        request = protocol.encode(Op.QUERY, tag=self._barrier or 0, slot=0, arg=0)
        super()._put(0, request)

    async def _deliver(self, frame: Frame) -> None:
        if frame.kind == Event.HELLO:
            self.hellos.append(self._at)
        if self.caught_up.is_set():
            await super()._deliver(frame)
            return
        if frame.kind == Event.GARBLED:
            log.info("the killed hpcore left half a request")
            return
        if not self.replayed.is_set():
            self._count(frame)
        await super()._deliver(frame)
        if frame.kind == REPLY:
            self._tags_seen.add(frame["tag"])
        elif frame.kind == Event.HELLO:
            # A RESTART has waited for it, and asks now what the next frame may be the answer to.
            for _ in range(2):
                await asyncio.sleep(0)
            if self._barrier is not None:
                self._ask()  # a reset drops what the monitor has not read
        else:
            self._delivered += 1
            if self._delivered % AT_ONCE == 0:  # so that the controller decides them, in one write
                await asyncio.sleep(0)

    def _count(self, frame: Frame) -> None:
        if frame.kind != REPLY:
            self.taken_up.events += 1
        elif frame["tag"] in self._pending:
            self.taken_up.answers += 1

    async def _answer(self, frame: Frame) -> None:
        tag = frame["tag"]
        if tag in BARRIERS:
            if tag == self._barrier:
                self._send_held()
            return
        pending = self._pending.get(tag)
        if pending and pending.op is Op.POWER_OFF and frame["status"] == Status.BUSY:
            return  # the request of the one that was killed is being obeyed, and has this tag
        await super()._answer(frame)

    def _send_held(self) -> None:
        self._barrier = None
        held, self._held = self._held, {}
        self.caught_up.set()
        for tag, request in held.items():
            pending = self._pending.get(tag)
            if pending is not None and not pending.future.done():
                self.taken_up.repeated += pending.op not in HARMLESS
                super()._put(tag, request)
