"""The interposer of a machine that was kept connects again, to an hpcore that has come back.

See link.c: it tries hpcore's path ten times a second, and gives the GED's eventfd and the policy
page. Before it is answered it grants nothing, because it knows of no hpcore.
"""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from collections.abc import Callable
from pathlib import Path

import structlog
from attrs import frozen

from hpcore.qemu.errors import QemuError
from hpcore_kvm_qemu import wire
from hpcore_kvm_qemu.link import Listener, Said
from hpcore_kvm_qemu.page import PolicyPage
from hpcore_kvm_qemu.wire import Message

log = structlog.get_logger(__name__)

POLL = 0.02


@frozen
class Again:
    """The link of an interposer that has come back, with all that it gave.

    `told` messages are in the page, and `missed` are those of them that it remembers, by their
    numbers. `asked` is the number of the one that waits for an answer, or 0.
    """

    sock: socket.socket
    event: int
    page: PolicyPage
    told: int
    asked: int
    missed: dict[int, Said]

    def close(self) -> None:
        """Let go of it, where nobody has taken it."""
        self.sock.close()
        os.close(self.event)
        self.page.close()


async def come_back(
    path: Path, pid: int, possible: int, seconds: float, lives: Callable[[], bool]
) -> Again:
    """Listen at `path` until the interposer in the process `pid` connects.

    What is off is granted no more when this returns, and what the interposer says waits in the
    socket. Raises QemuError where it doesn't come, where QEMU does not live meanwhile, and where
    what it gives is not of a machine of this user's, of this version and of `possible` vCPUs.
    """
    listener = Listener(path, again=True)
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    try:
        while lives():
            if (found := listener.accept()) is not None:
                sock, peer = found
                if peer == pid:
                    return await _greeted(sock, possible, deadline - loop.time())
                log.warning("a process that is not this machine's QEMU; hung up", pid=peer)
                sock.close()
            if loop.time() > deadline:
                raise QemuError(
                    f"the interposer in QEMU, process {pid}, does not come back to {path} within "
                    f"{seconds:g} s; it looks for hpcore ten times a second unless it was never "
                    "let run"
                )
            await asyncio.sleep(POLL)
        raise QemuError("QEMU ended while its interposer was waited for")
    finally:
        listener.close()


async def _greeted(sock: socket.socket, possible: int, seconds: float) -> Again:
    """The connection after AGAIN and RESUMED."""
    given: list[int] = []
    page: PolicyPage | None = None
    try:
        again = await _receive(sock, Message.AGAIN, given, seconds)
        if again.a != wire.VERSION or len(given) != 2:
            raise QemuError(
                f"the interposer in QEMU speaks version {again.a} of the link, and this hpcore "
                f"{wire.VERSION}: attach with the hpcore that has started the machine"
            )
        page = PolicyPage.again(given.pop(), possible)
        page.revoke_of_those_off(possible)  # before it knows of an hpcore again
        sock.send(wire.ANSWER.pack(Message.AGAIN, 0, wire.VERSION), socket.MSG_NOSIGNAL)
        resumed = await _receive(sock, Message.RESUMED, [], seconds)
        missed = _remembered(page, resumed.a)
        if (asks := missed.get(resumed.b)) is not None and asks.kind not in wire.ANSWERED:
            raise QemuError(f"the interposer in QEMU waits for an answer to {asks.kind.name}")
        event = given.pop()
        os.set_blocking(event, False)
        return Again(sock, event, page, resumed.a, resumed.b, missed)
    except BaseException as error:
        sock.close()
        for descriptor in given:
            os.close(descriptor)
        if page is not None:
            page.close()
        if isinstance(error, OSError | TimeoutError):
            raise QemuError(f"the interposer in QEMU came back, and went: {error}") from error
        raise


async def _receive(
    sock: socket.socket, kind: Message, given: list[int], seconds: float
) -> Said:
    """A message of that kind, with what it carries. Raises QemuError for any other."""
    loop = asyncio.get_running_loop()
    there = asyncio.Event()
    loop.add_reader(sock, there.set)
    try:
        await asyncio.wait_for(there.wait(), max(seconds, 1.0))
    except TimeoutError:
        raise QemuError(f"the interposer in QEMU came back, and does not say {kind.name}") from None
    finally:
        loop.remove_reader(sock)
    data, descriptors, _, _ = socket.recv_fds(sock, wire.MESSAGE.size + 1, 2)
    given += descriptors
    try:
        said = Said.of(*wire.MESSAGE.unpack(data))
    except (struct.error, ValueError):
        raise QemuError("the interposer in QEMU came back, and what it says is none") from None
    if said.kind is not kind:
        raise QemuError(f"the interposer in QEMU says {said.kind.name} where {kind.name} is due")
    return said


def _remembered(page: PolicyPage, told: int) -> dict[int, Said]:
    """The messages up to `told` that the page has, read before newer ones can have their place.

    Raises QemuError for what is no message.
    """
    missed = {}
    for number in range(max(told - wire.TOLD, 0) + 1, told + 1):
        try:
            missed[number] = Said.of(*page.message(number))
        except ValueError:
            raise QemuError(f"message {number} in the policy page is none") from None
    for number in range(max(told - wire.TOLD, 0) + 1, min(page.told - wire.TOLD, told) + 1):
        missed.pop(number, None)  # overwritten meanwhile, or as it was read
    return missed
