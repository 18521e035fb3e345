"""The link of who attaches: what was missed first, then what never arrived, nothing twice."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from itertools import pairwise

from hpcore_tcg.kept_link import AT_ONCE, BARRIERS, KeptLink, Missed
from hpcore_tcg.protocol import REPLY, Decoder, Event, Frame, Op, Status, encode

from hpcore.session.turn import CallerTurn
from tests.support.waits import until

SINCE = 1000
SCAN = encode(Event.SCAN_STARTED)


class Attaching:
    """The monitor's side of the socket, the link of who attaches, and what it tells."""

    def __init__(self, link: KeptLink, sock: socket.socket, told: list[object]) -> None:
        self.link, self.sock, self.told = link, sock, told
        self._decoder = Decoder()
        self._asked: list[Frame] = []

    def execute(self, op: Op, slot: int) -> asyncio.Task[int]:
        """What a session does for a step; told is its end, as a controller would be."""

        async def step() -> int:
            turn = CallerTurn()
            try:
                return await self.link.send(op, slot, turn=turn)
            finally:
                turn.end()
                self.told.append((op.name, self.link.heard))

        return asyncio.create_task(step())

    async def asked(self) -> Frame:
        while not self._asked:
            data = await asyncio.get_running_loop().sock_recv(self.sock, 100)
            self._asked += self._decoder.feed(data)
        return self._asked.pop(0)

    def say(self, data: bytes) -> None:
        self.sock.sendall(data)

    async def caught_up(self) -> None:
        """Answer the barrier."""
        barrier = await self.asked()
        assert barrier.kind == Op.QUERY
        assert barrier["tag"] in BARRIERS
        self.say(reply(barrier["tag"]))
        await self.link.caught_up.wait()


def reply(tag: int, status: Status = Status.OK, value: int = 0) -> bytes:
    return encode(REPLY, tag=tag, status=status, value=value)


def tag(op: Op, slot: int) -> int:
    return (op & 0x1F) << 9 | slot


def play(missed: bytes, scene: Callable[[Attaching], Awaitable[None]]) -> list[object]:
    told: list[object] = []

    async def run() -> None:
        ours, theirs = socket.socketpair()
        theirs.setblocking(False)

        async def on_event(frame: Frame) -> None:
            link.told()
            told.append((Event(frame.kind).name, link.heard))

        streams = await asyncio.open_unix_connection(sock=ours)
        link = KeptLink(*streams, on_event, told.append, Missed(SINCE, missed))
        async with asyncio.timeout(10):
            await scene(Attaching(link, theirs, told))
        await link.close()
        theirs.close()

    asyncio.run(run())
    return told


def test_an_answer_that_was_missed_ends_the_step_and_is_not_asked_for_again() -> None:
    missed = SCAN + reply(tag(Op.WIRE, 3)) + SCAN

    async def scene(at: Attaching) -> None:
        step = at.execute(Op.WIRE, 3)
        await asyncio.sleep(0)
        at.link.go()
        await at.caught_up()
        assert await step == 0
        assert (at.link.taken_up.events, at.link.taken_up.answers) == (2, 1)
        assert at.link.taken_up.repeated == 0

    ends = [SINCE + len(SCAN), SINCE + len(missed) - len(SCAN), SINCE + len(missed)]
    assert play(missed, scene) == [
        ("SCAN_STARTED", ends[0]), ("WIRE", ends[1]), ("SCAN_STARTED", ends[2]),
    ]  # fmt: skip


def test_what_never_arrived_is_sent_once_the_barrier_is_answered_and_not_before() -> None:
    async def scene(at: Attaching) -> None:
        step = at.execute(Op.BIND, 2)
        await asyncio.sleep(0)
        at.link.go()
        await at.caught_up()
        again = await at.asked()
        assert (again.kind, again["slot"], again["tag"]) == (Op.BIND, 2, tag(Op.BIND, 2))
        at.say(reply(again["tag"], value=7))
        assert await step == 7
        assert at.link.taken_up.repeated == 1

    play(b"", scene)


def test_what_the_monitor_still_had_is_answered_before_the_barrier_and_not_sent_again() -> None:
    async def scene(at: Attaching) -> None:
        step = at.execute(Op.BIND, 2)
        await asyncio.sleep(0)
        at.link.go()
        await at.link.replayed.wait()
        at.say(encode(Event.GARBLED) + reply(tag(Op.BIND, 2), value=9))
        await at.caught_up()
        assert await step == 9
        assert at.link.taken_up.repeated == 0

    assert play(b"", scene) == [("BIND", SINCE + 2 + len(reply(0)))]


def test_a_barrier_is_none_that_an_attachment_before_has_sent() -> None:
    missed = reply(BARRIERS[0]) + reply(BARRIERS[1])

    async def scene(at: Attaching) -> None:
        at.link.go()
        barrier = await at.asked()
        assert barrier["tag"] == BARRIERS[2]

    play(missed, scene)


def test_a_reset_that_drops_the_barrier_has_it_sent_again() -> None:
    async def scene(at: Attaching) -> None:
        at.link.go()
        first = await at.asked()
        at.say(encode(Event.HELLO, version=1, epoch=3))
        assert await at.asked() == first
        at.say(reply(first["tag"]))
        await at.link.caught_up.wait()

    play(b"", scene)


def test_a_power_off_that_is_being_obeyed_is_waited_for() -> None:
    async def scene(at: Attaching) -> None:
        step = at.execute(Op.POWER_OFF, 1)
        await asyncio.sleep(0)
        at.link.go()
        await at.caught_up()
        again = await at.asked()
        at.say(reply(again["tag"], Status.BUSY) + SCAN)
        await until(lambda: bool(at.told), "the event behind it")
        assert not step.done()
        at.say(reply(again["tag"]))
        assert await step == 0

    first = SINCE + 2 * len(reply(0)) + len(SCAN)
    assert play(b"", scene) == [("SCAN_STARTED", first), ("POWER_OFF", first + len(reply(0)))]


def test_whoever_asks_for_an_event_of_what_was_missed_hears_the_answer_behind_it() -> None:
    """A RESTART waits for HELLO; what the killed one's was answered comes right behind that."""
    missed = encode(Event.HELLO, version=1, epoch=3) + reply(tag(Op.INIT, 0), value=4)

    async def scene(at: Attaching) -> None:
        hello = asyncio.Event()

        async def restart() -> int:
            await hello.wait()
            return await at.link.send(Op.INIT)

        waiting = asyncio.create_task(restart())
        told = at.told.append
        at.link._on_event = lambda _frame: _set(hello, told)
        at.link.go()
        await at.caught_up()
        assert await waiting == 4

    play(missed, scene)


def test_events_that_were_missed_are_handed_on_many_at_a_time_and_not_all_at_once() -> None:
    """The controller writes in one go what is there: a write for each would take minutes."""
    passes: list[int] = []

    async def scene(at: Attaching) -> None:
        async def count() -> None:
            while not at.link.replayed.is_set():
                passes.append(len(at.told))
                await asyncio.sleep(0)

        counting = asyncio.create_task(count())
        at.link.go()
        await at.caught_up()
        await counting

    assert len(play(10 * AT_ONCE * SCAN, scene)) == 10 * AT_ONCE
    assert max(b - a for a, b in pairwise(passes)) == AT_ONCE
    assert len(passes) < 30


async def _set(event: asyncio.Event, told: Callable[[object], None]) -> None:
    event.set()
    told("HELLO")


def test_the_answers_of_one_effect_count_as_heard_once_it_is_over() -> None:
    async def scene(at: Attaching) -> None:
        turn = CallerTurn()
        at.link.one_by(turn)
        first, last = at.link.send(Op.INIT), at.link.send(Op.RUN, turn=turn)
        await asyncio.sleep(0)
        at.link.go()
        await first
        assert at.link.heard == SINCE
        await last
        assert at.link.heard == SINCE
        turn.end()
        assert at.link.heard == SINCE + 2 * len(reply(0))

    play(reply(tag(Op.INIT, 0)) + reply(tag(Op.RUN, 0)), scene)
