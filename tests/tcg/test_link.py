"""The link's order: what follows an answer waits until whoever awaited it has spoken."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable

import pytest
from hpcore_tcg.link import Link, LinkGone, RequestRefused, ResetMeanwhile
from hpcore_tcg.protocol import REPLY, Decoder, Event, Frame, Op, Status, encode

from hpcore.session.turn import CallerTurn
from tests.support.waits import until


class Far:
    """The monitor's side of a socket pair, played by the test."""

    def __init__(self, link: Link, sock: socket.socket, heard: list[object]) -> None:
        self.link, self.sock, self.heard = link, sock, heard

    async def asked(self) -> Frame:
        loop = asyncio.get_running_loop()
        decoder = Decoder()
        while not (frames := decoder.feed(await loop.sock_recv(self.sock, 100))):
            pass
        return frames[0]

    def say(self, data: bytes) -> None:
        self.sock.sendall(data)


def answer(tag: int, status: Status = Status.OK, value: int = 0) -> bytes:
    return encode(REPLY, tag=tag, status=status, value=value)


def play(scene: Callable[[Far], Awaitable[None]]) -> list[object]:
    heard: list[object] = []

    async def run() -> None:
        ours, theirs = socket.socketpair()
        theirs.setblocking(False)

        async def on_event(frame: Frame) -> None:
            heard.append(Event(frame.kind).name)

        streams = await asyncio.open_unix_connection(sock=ours)
        link = Link(*streams, on_event, heard.append)
        async with asyncio.timeout(10):
            await scene(Far(link, theirs, heard))
        await link.close()
        theirs.close()

    asyncio.run(run())
    return heard


def test_a_done_callback_runs_before_the_event_that_follows_the_answer() -> None:
    async def scene(far: Far) -> None:
        async def execute() -> None:
            turn = CallerTurn()
            try:
                await far.link.send(Op.WIRE, 3, turn=turn)
                for _ in range(5):  # the caller may take its time
                    await asyncio.sleep(0)
            finally:
                turn.end()

        async def caller() -> None:
            await execute()

        task = asyncio.create_task(caller())
        task.add_done_callback(lambda _: far.heard.append("done"))
        frame = await far.asked()
        far.say(encode(Event.SCAN_STARTED) + answer(frame["tag"]) + encode(Event.SCAN_ENDED))
        await until(lambda: "SCAN_ENDED" in far.heard, "the event")

    assert play(scene) == ["SCAN_STARTED", "done", "SCAN_ENDED"]


def test_a_failing_caller_does_not_stop_the_link() -> None:
    async def scene(far: Far) -> None:
        async def execute() -> None:
            turn = CallerTurn()
            try:
                await far.link.send(Op.WIRE, 3, turn=turn)
            finally:
                turn.end()

        task = asyncio.create_task(execute())
        frame = await far.asked()
        far.say(answer(frame["tag"], Status.NOT_BOUND) + encode(Event.SCAN_ENDED))
        with pytest.raises(RequestRefused, match="WIRE of vCPU 3: the CPU interface is not bound"):
            await task
        await until(lambda: bool(far.heard), "something is heard")

    assert play(scene) == ["SCAN_ENDED"]


def test_a_cancelled_caller_does_not_stop_the_link() -> None:
    async def scene(far: Far) -> None:
        async def execute() -> None:
            turn = CallerTurn()
            try:
                await far.link.send(Op.WIRE, 3, turn=turn)
            finally:
                turn.end()

        task = asyncio.create_task(execute())
        frame = await far.asked()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        far.say(answer(frame["tag"]) + encode(Event.SCAN_ENDED))
        await until(lambda: bool(far.heard), "something is heard")

    assert play(scene) == ["SCAN_ENDED"]


def test_an_answer_that_nobody_waits_for_is_dropped() -> None:
    async def scene(far: Far) -> None:
        far.say(answer(77) + b"\x01\x02garbage" + encode(Event.SCAN_ENDED))
        await until(lambda: bool(far.heard), "something is heard")

    assert play(scene) == ["SCAN_ENDED"]


def test_answers_find_their_requests_by_tag_not_by_order() -> None:
    async def scene(far: Far) -> None:
        first, second = far.link.send(Op.BIND, 1), far.link.send(Op.BIND, 2)
        frame = await far.asked()
        far.say(answer(frame["tag"] + 1, value=2) + answer(frame["tag"], value=1))
        assert [await first, await second] == [1, 2]

    play(scene)


def test_a_reset_ends_what_is_under_way_and_its_late_answer_is_dropped() -> None:
    async def scene(far: Far) -> None:
        request = far.link.send(Op.BIND, 1)
        frame = await far.asked()
        assert [(i.op, i.slot) for i in far.link.interrupt()] == [(Op.BIND, 1)]
        with pytest.raises(ResetMeanwhile):
            await request
        again = far.link.send(Op.BIND, 1)
        far.say(answer(frame["tag"], value=9) + answer(frame["tag"] + 1, value=1))
        assert await again == 1

    play(scene)


def test_the_end_of_the_link_is_told_once_and_ends_requests() -> None:
    async def scene(far: Far) -> None:
        request = far.link.send(Op.BIND, 1)
        far.sock.close()
        await until(lambda: bool(far.heard), "something is heard")
        far.link.end("it broke")
        with pytest.raises(LinkGone, match="it broke"):
            await request
        with pytest.raises(LinkGone, match="it broke"):
            far.link.send(Op.BIND, 1)

    assert len(play(scene)) == 1


def test_a_frame_that_begins_in_one_qemu_and_ends_in_the_next_is_read_whole() -> None:
    """The guest stands still at any instruction: amid what the monitor sends, too."""
    heard: list[int] = []

    async def run() -> None:
        async def on_event(frame: Frame) -> None:
            heard.append(frame["slot"])

        async def linked() -> tuple[Link, socket.socket]:
            ours, theirs = socket.socketpair()
            streams = await asyncio.open_unix_connection(sock=ours)
            return Link(*streams, on_event, lambda _why: None), theirs

        here, from_here = await linked()
        there, from_there = await linked()
        there.wait_for_machine()
        said = b"".join(encode(Event.CPU_OFF, slot=slot) for slot in (1, 2, 3))
        half = len(said) // 2  # amid the second one
        from_there.sendall(said[half:])  # it runs there, before all is heard
        from_here.sendall(said[:half])
        await until(lambda: not there.silent, "it is said there")
        assert not there.begun
        await here.heard_all()
        assert heard == [1]
        there.go_on_from(here)
        await until(lambda: len(heard) == 3, "the rest is told on")
        assert there.heard == len(said)
        for link, sock in ((here, from_here), (there, from_there)):
            await link.close()
            sock.close()

    asyncio.run(run())
    assert heard == [1, 2, 3]
