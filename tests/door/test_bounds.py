"""Order and bounds of a conversation, with a QEMU of the test's own that talks as it is told."""

from __future__ import annotations

import array
import asyncio
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from attrs import define

from hpcore.door.qmp import Answers
from hpcore.door.qmp.conversation import Conversation
from hpcore.door.qmp.wire import Wire

MOST = 4 << 20
"""Bytes that a side may get rid of which nobody reads: the sockets' buffers, and the door's."""


@define
class Talk:
    """A negotiated conversation, and both ends of it."""

    conversation: Conversation
    client: socket.socket
    qemu: socket.socket

    async def hear(self, end: socket.socket, until: bytes) -> bytes:
        """What comes out at an end, up to something."""
        said = b""
        async with asyncio.timeout(30):
            while until not in said:
                more = await asyncio.get_running_loop().sock_recv(end, 1 << 16)
                assert more, said
                said += more
        return said

    async def say(self, end: socket.socket, data: bytes) -> None:
        await asyncio.get_running_loop().sock_sendall(end, data)

    async def takes(self, end: socket.socket, data: bytes) -> int:
        """How many bytes an end gets rid of, saying `data` for ever, until it has to wait."""
        sent = 0
        while True:
            try:
                async with asyncio.timeout(1):
                    await self.say(end, data)
            except TimeoutError:
                return sent
            sent += len(data)
            assert sent < 4 * MOST, "there is no bound"
            await asyncio.sleep(0)


@asynccontextmanager
async def talk(answers: Answers) -> AsyncIterator[Talk]:
    (client, front), (qemu, back) = socket.socketpair(), socket.socketpair()
    client.setblocking(False)
    qemu.setblocking(False)
    conversation = Conversation(Wire(front), Wire(back), answers)
    running = asyncio.create_task(conversation.run())
    made = Talk(conversation, client, qemu)
    try:
        await made.say(client, b"{'execute':'qmp_capabilities'}")
        await made.hear(qemu, b"capabilities")
        await made.say(qemu, b'{"return": {}}\r\n')
        await made.hear(client, b"return")
        yield made
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        client.close()
        qemu.close()


def play(scene: Callable[[Talk], Awaitable[None]], answers: Answers | None = None) -> None:
    async def main() -> None:
        async with talk(answers or Answers()) as made:
            await scene(made)

    asyncio.run(asyncio.wait_for(main(), 60))


async def stop(_arguments: Mapping[str, object]) -> object:
    return {"text": "x" * 10_000}


def test_an_answer_of_ours_waits_for_the_events_that_qemu_has_not_told_yet() -> None:
    async def scene(talk: Talk) -> None:
        await talk.say(talk.client, b"{'execute':'stop','id':1}")
        asked = await talk.hear(talk.qemu, b"hpcore-")
        id_ = asked.rpartition(b'"id": ')[2]
        await talk.say(talk.qemu, b'{"event": "STOP"}\r\n{"return": {}, "id": ' + id_ + b"\r\n")
        said = await talk.hear(talk.client, b'"id": 1')
        assert said.startswith(b'{"event": "STOP"}\r\n{"return": ') and b"hpcore-" not in said

    play(scene, Answers({"stop": stop}, after_events=frozenset({"stop"})))


def test_a_client_that_reads_no_answers_of_ours_is_read_from_no_more() -> None:
    async def scene(talk: Talk) -> None:
        command = b"{'execute':'stop','id':'" + b"y" * 1000 + b"'}"
        assert await talk.takes(talk.client, command) < MOST
        said = await talk.hear(talk.client, b"yyy")  # and it may still go on
        assert said.startswith(b'{"return": ')

    play(scene, Answers({"stop": stop}))


def test_qemu_is_listened_to_no_faster_than_the_client_reads() -> None:
    async def scene(talk: Talk) -> None:
        event = b'{"event": "MANY", "data": {"text": "' + b"x" * 10_000 + b'"}}\r\n'
        assert await talk.takes(talk.qemu, event) < MOST

    play(scene)


def test_requests_are_read_ahead_up_to_a_bound_while_one_is_answered() -> None:
    async def scene(talk: Talk) -> None:
        await talk.say(talk.client, b"{'execute':'query-name'}")
        await talk.hear(talk.qemu, b"query-name")  # which never answers
        assert await talk.takes(talk.client, b"{'execute':'query-name'}" * 50) < MOST

    play(scene)


def test_an_event_of_ours_waits_for_the_answer_that_is_being_made() -> None:
    goes_on = asyncio.Event()

    async def device_del(_arguments: Mapping[str, object]) -> object:
        await goes_on.wait()
        return {}

    async def scene(talk: Talk) -> None:
        await talk.say(talk.client, b"{'execute':'device_del','id':1}")
        await asyncio.sleep(0.05)
        talk.conversation.tell("DEVICE_DELETED", {})
        with suppress(TimeoutError):
            async with asyncio.timeout(0.1):
                raise AssertionError(await talk.hear(talk.client, b"DELETED"))
        goes_on.set()
        said = await talk.hear(talk.client, b"DEVICE_DELETED")
        assert said.startswith(b'{"return": {}, "id": 1}\r\n')

    play(scene, Answers({"device_del": device_del}))


def test_descriptors_of_a_command_of_ours_are_kept_for_the_next_that_is_passed_on() -> None:
    async def quick(_arguments: Mapping[str, object]) -> object:
        return {}

    async def scene(talk: Talk) -> None:
        pipes = [os.pipe() for _ in range(2)]
        try:
            before = open_files()
            for read, _ in pipes:
                rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [read]))]
                talk.client.sendmsg([b"{'execute':'stop'}"], rights)
                await talk.hear(talk.client, b"return")
            assert open_files() == before + 1, "the first one was replaced"
            await talk.say(talk.client, b"{'execute':'getfd'}")
            while True:
                with suppress(BlockingIOError):
                    _, ancillary, _, _ = talk.qemu.recvmsg(100, socket.CMSG_SPACE(8))
                    break
                await asyncio.sleep(0)
            (got,) = array.array("i", ancillary[0][2])
            assert same(got, pipes[1][0])
            os.close(got)
            assert open_files() == before
        finally:
            for pipe in pipes:
                os.close(pipe[0])
                os.close(pipe[1])

    play(scene, Answers({"stop": quick}))


def same(one: int, other: int) -> bool:
    return os.path.sameopenfile(one, other)


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_what_qemu_sends_with_descriptors_reaches_the_client_with_them() -> None:
    async def scene(talk: Talk) -> None:
        read, write = os.pipe()
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [read]))]
        talk.qemu.sendmsg([b'{"event": "HERE"}\r\n'], rights)
        while True:
            with suppress(BlockingIOError):
                data, ancillary, _, _ = talk.client.recvmsg(100, socket.CMSG_SPACE(8))
                break
            await asyncio.sleep(0)
        (got,) = array.array("i", ancillary[0][2])
        assert data == b'{"event": "HERE"}\r\n' and same(got, read)
        for descriptor in (got, read, write):
            os.close(descriptor)

    play(scene)
