"""The caller's monitors, opened before QEMU is, so that what cannot be had is said at once."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from hpcore.door.monitors import MonitorAsked, dial, listen
from hpcore.door.options import ArgumentRefused
from hpcore.door.qmp import Dialled, Listening, Monitor
from hpcore.door.remade import MonitorSocket


def sockets_below(directory: Path, monitors: Sequence[MonitorAsked]) -> list[MonitorSocket]:
    """Where the real QEMU is to listen for each of the caller's monitors."""
    return [
        MonitorSocket(directory / f"qmp{n}", monitor.pretty) for n, monitor in enumerate(monitors)
    ]


async def opened(
    monitors: Sequence[MonitorAsked], sockets: Sequence[MonitorSocket]
) -> tuple[Monitor, ...]:
    """The monitors, listening or connected; those that wait for a client have one.

    Raises ArgumentRefused.
    """
    fronts = []
    for asked, own in zip(monitors, sockets, strict=True):
        fronts.append(Monitor(await _front(asked), own.path, own.pretty))
    return tuple(fronts)


async def _front(asked: MonitorAsked) -> Listening | Dialled:
    if not asked.serves:
        return _dialled(asked)
    sock = listen(asked)
    if asked.waits:
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
