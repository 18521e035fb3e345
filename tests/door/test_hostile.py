"""A client that floods, stalls, or talks garbage harms no other client and fills no memory."""

from __future__ import annotations

import asyncio
import resource
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager

import pytest
from attrs import frozen

from hpcore.door.qmp import Answers
from hpcore.door.qmp.outbox import MAX_TOLD
from hpcore.door.qmp.requests import MAX_BYTES
from tests.door.rig import SECONDS, Client, Door, door, real
from tests.qemu.support import needs_qemu

pytestmark = needs_qemu

AT_ONCE = 0.25
"""Seconds: what Kata's runtime-rs waits for an answer."""
ASKED = 40


@frozen
class Two:
    """A hostile client, with its greeting unread, and a friendly one on another monitor."""

    door: Door
    hostile: Client
    friendly: Client


@asynccontextmanager
async def two() -> AsyncIterator[Two]:
    async with real(2) as qemu, door(qemu, qemu.paths) as before:
        hostile = await Client.to(before.fronts[0])
        friendly = await Client.ready(before.fronts[1])
        try:
            yield Two(before, hostile, friendly)
        finally:
            await hostile.close()
            await friendly.close()


async def answers_at_once(client: Client) -> bool:
    """Whether most answers come at once; other tests run beside this one."""
    took = []
    for _ in range(ASKED):
        began = time.monotonic()
        assert "return" in await client.ask("query-status")  # type: ignore[operator]
        took.append(time.monotonic() - began)
    return sorted(took)[ASKED // 2] < AT_ONCE


async def for_ever(client: Client, data: bytes, read: bool) -> None:
    while True:
        await client.send(data)
        if read:
            await client.reader.read(1 << 16)
        await asyncio.sleep(0)


NEGOTIATE = b"{'execute':'qmp_capabilities'}"
FLOODS = {
    "commands": (NEGOTIATE + b"{'execute':'query-status'}" * 500, True),
    "commands whose answers it does not read": (b"{'execute':'query-version'}" * 500, False),
    "garbage": (bytes(range(256)) * 16, True),
    "a string without an end": (b'"' + b"x" * (1 << 16), True),
    "tokens without an end": (b"[" + b"1," * (1 << 15), True),
    "nothing but blanks": (b" " * (1 << 16), False),
    "half a command, and no more": (b"{'execute':'query-", None),
}


@pytest.mark.parametrize("flood", FLOODS)
def test_another_monitor_answers_at_once_during(flood: str) -> None:
    async def work() -> None:
        data, read = FLOODS[flood]
        async with two() as clients:
            if read is None:
                await clients.hostile.send(data)
                assert await answers_at_once(clients.friendly)
                return
            flooding = asyncio.create_task(for_ever(clients.hostile, data, read))
            try:
                assert await answers_at_once(clients.friendly)
                assert not flooding.done(), flooding
            finally:
                flooding.cancel()
                await asyncio.gather(flooding, return_exceptions=True)

    within(work)


def within(work: Callable[[], Awaitable[None]]) -> None:
    """Run it, and hold that this process did not grow by more than a few requests."""
    before = peak()
    asyncio.run(asyncio.wait_for(work(), 120))
    assert peak() - before < 8 * MAX_BYTES


def peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10


BOUND = 1 << 20
"""More bytes than the door and the sockets before it hold of a client that does not read."""
LONG = "an answer " * (8 << 10)


async def long_answer(_arguments: Mapping[str, object]) -> object:
    return LONG


async def sent_before_it_stalls(sock: socket.socket, data: bytes, friendly: Client) -> int:
    """Send `data` over and over and read nothing, until no more of it is taken; the bytes sent.

    No more is taken if none is while another client has ASKED answers: the door passes a client
    over for one or two.
    """
    sent = idle = 0
    left = memoryview(b"")
    while idle < ASKED and sent < BOUND:
        left = left or memoryview(data)
        try:
            taken = sock.send(left)
        except BlockingIOError:
            assert "return" in await friendly.ask("query-status")  # type: ignore[operator]
            idle += 1
        else:
            left, sent, idle = left[taken:], sent + taken, 0
    return sent


async def read_until(sock: socket.socket, last: bytes) -> None:
    """Read until `last` has come."""
    said = b""
    while last not in said:
        came = await asyncio.get_running_loop().sock_recv(sock, 1 << 16)
        assert came, "the connection has ended"
        said = said[-len(last) :] + came


def test_a_client_is_read_from_no_faster_than_it_reads_its_answers() -> None:
    async def work() -> None:
        answers = Answers({"long-answer": long_answer})
        async with real(2) as qemu, door(qemu, qemu.paths, answers) as before:
            friendly = await Client.ready(before.fronts[1])
            # a stream of asyncio's would read ahead, however little is asked of it
            with socket.socket(socket.AF_UNIX) as hostile:
                hostile.setblocking(False)
                await asyncio.get_running_loop().sock_connect(hostile, str(before.fronts[0]))
                hostile.send(NEGOTIATE)
                await read_until(hostile, b'{"return": {}}')
                data = b"{'execute':'long-answer','id':'" + b"x" * 1000 + b"'}"
                assert await sent_before_it_stalls(hostile, data, friendly) < BOUND
                assert await answers_at_once(friendly)
                for _ in range(3):  # and it may still go on
                    await asyncio.wait_for(read_until(hostile, b'"id"'), SECONDS)
            await friendly.close()

    within(work)


def test_events_are_kept_for_a_client_that_does_not_read_up_to_a_bound() -> None:
    async def work() -> None:
        async with real(1) as qemu, door(qemu, qemu.paths) as before:
            client = await Client.ready(before.fronts[0])
            for n in range(3 * MAX_TOLD):
                before.monitors.tell("OF_OURS", {"n": n, "text": "x" * 500})
            assert await client.ask("query-name") == {"return": {}}
            told = [line for line in client.heard if b"OF_OURS" in line]
            assert MAX_TOLD <= len(told) < 2 * MAX_TOLD

    within(work)


def test_a_request_that_is_too_long_is_refused_in_qemus_words_and_the_next_is_answered() -> None:
    async def work() -> None:
        async with two() as clients:
            client = clients.hostile
            await client.line()
            sending = asyncio.create_task(client.send(b'{"execute":"' + b"x" * (MAX_BYTES + 20000)))
            assert await answers_at_once(clients.friendly)
            error = {"class": "GenericError", "desc": "JSON token size limit exceeded"}
            assert await client.message() == {"error": error}
            await sending
            await client.send(b"\xff\n" + NEGOTIATE)
            while await client.message() != {"return": {}}:
                pass

    within(work)


def test_ten_megabytes_on_one_monitor_keep_no_other_waiting() -> None:
    async def work() -> None:
        async with two() as clients:
            long = b"{'execute':'x','arguments':{'a':[" + b"'y'," * (10 << 18) + b"1]}}"
            sending = asyncio.create_task(clients.hostile.send(long))
            try:
                assert await answers_at_once(clients.friendly)
            finally:
                sending.cancel()
                await asyncio.gather(sending, return_exceptions=True)

    within(work)
