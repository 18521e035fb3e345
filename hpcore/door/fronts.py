"""The caller's monitors, opened before QEMU is, so that what cannot be had is said at once."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path

from attrs import frozen

from hpcore.door.monitors import MonitorAsked, dial, listen
from hpcore.door.options import ArgumentRefused
from hpcore.door.qmp import Answers, Dialled, Listening, Monitor, Monitors, PromptMonitor
from hpcore.door.qmp.prompt import Lines
from hpcore.door.remade import MonitorSocket

OWN, SESSIONS, RENEWALS = "own", "session", "renewal"
"""The monitors of the real QEMU that are hpcore's: the door's, the accelerator's, and one for
what is done before a guest starts anew from its disk."""


def sockets_below(directory: Path, monitors: Sequence[MonitorAsked]) -> list[MonitorSocket]:
    """Where the real QEMU is to listen for each of the caller's monitors."""
    speak_qmp = (monitor for monitor in monitors if not monitor.has_prompt)
    return [
        MonitorSocket(directory / f"qmp{n}", monitor.pretty) for n, monitor in enumerate(speak_qmp)
    ]


@frozen
class Opened:
    """The caller's monitors: those that speak QMP, and those with a prompt."""

    qmp: Monitors
    prompts: tuple[PromptMonitor, ...]

    async def serve(self, answers: Answers, lines: Lines | None, gone: Callable[[], bool]) -> None:
        """Serve them all until QEMU is `gone`. Prompts are answered by `lines`."""
        prompts = [asyncio.create_task(p.serve(lines)) for p in self.prompts if lines is not None]
        try:
            await self.qmp.serve(answers, gone)
            await asyncio.gather(*prompts)
        finally:
            for task in prompts:
                task.cancel()
            await asyncio.gather(*prompts, return_exceptions=True)

    def close(self) -> None:
        """Take no more clients. Idempotent."""
        self.qmp.close()
        for prompt in self.prompts:
            prompt.front.close()


async def opened(
    monitors: Sequence[MonitorAsked], sockets: Iterable[MonitorSocket], *, waits: bool = True
) -> Opened:
    """The monitors, listening or connected; those that wait for a client have one.

    Without `waits` none of them waits: the machine runs already. Raises ArgumentRefused.
    """
    qmp, prompts, own = [], [], iter(sockets)
    for asked in monitors:
        front = await _front(asked, waits=waits)
        if asked.has_prompt:
            prompts.append(PromptMonitor(front, asked.telnet))
        else:
            place = next(own)
            qmp.append(Monitor(front, place.path, place.pretty))
    return Opened(Monitors(tuple(qmp)), tuple(prompts))


async def _front(asked: MonitorAsked, *, waits: bool) -> Listening | Dialled:
    if not asked.serves:
        return _dialled(asked)
    sock = listen(asked)
    if waits and asked.waits:
        await _somebody(sock)
    return Listening(sock)


def _dialled(asked: MonitorAsked) -> Dialled:
    """A monitor that goes to its client; with a descriptor it is there already."""
    if asked.reconnect is not None:
        return Dialled(partial(dial, asked), asked.reconnect)
    try:
        first = dial(asked)
    except OSError as error:
        raise ArgumentRefused(asked.said, f"cannot be connected to: {error.strerror}") from error
    return Dialled(lambda: first)


async def _somebody(sock: socket.socket) -> None:
    """Wait until somebody has connected."""
    loop, there = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(sock, there.set)
    try:
        await there.wait()
    finally:
        loop.remove_reader(sock)
