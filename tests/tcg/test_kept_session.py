"""The session of who attaches, with a QEMU that is played: what QEMU tells in between."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path
from types import SimpleNamespace
from typing import cast

from hpcore_tcg.kept import KeptTcgSession
from hpcore_tcg.kept_link import KeptLink, Missed
from hpcore_tcg.kept_machine import KeptMachine
from hpcore_tcg.protocol import Event, encode

from hpcore.model.stimuli import PowerOffSeen, Stimulus
from tests.support.waits import until
from tests.support.world import World


class OffAtOnce:
    """The QMP of a guest that powers off as soon as it runs, before QEMU has answered `cont`."""

    def __init__(self, session: KeptTcgSession, monitor: socket.socket) -> None:
        self._session, self._monitor = session, monitor

    async def execute(self, command: str) -> None:
        assert command == "cont"
        self._monitor.sendall(encode(Event.SYSTEM_OFF))
        self._session._told().shut_down("guest-shutdown")
        for _ in range(5):  # what was told is done
            await asyncio.sleep(0)


def test_a_guest_that_powers_off_as_it_is_let_go_on_is_off_and_nobody_waits_for_it() -> None:
    async def run() -> None:
        reports: list[Stimulus] = []
        state = World().boot().state
        session = KeptTcgSession(state.config, reports.append, Path("/nowhere"), boots=True)
        session._attaches(state)
        ours, theirs = socket.socketpair()
        link = KeptLink(
            *await asyncio.open_unix_connection(sock=ours),
            session._event, lambda _why: None, Missed(0, b""),
        )  # fmt: skip
        found = SimpleNamespace(
            status="running", qmp=OffAtOnce(session, theirs), link=link,
            migration=SimpleNamespace(interrupt=lambda _why: None),
        )  # fmt: skip
        session._found = session._machine = cast("KeptMachine", found)
        async with asyncio.timeout(10):
            await session.take_up()
            await session.taken_up()
            await until(lambda: bool(reports), "the power-off is reported")
        assert reports == [PowerOffSeen()]
        await link.close()
        theirs.close()

    asyncio.run(run())
