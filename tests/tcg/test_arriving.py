"""A machine that goes on by itself where it is carried: what it says there waits for its turn."""

from __future__ import annotations

import asyncio

from hpcore_tcg.arriving import Arriving
from hpcore_tcg.machine import DEAF, TcgMachine, Told
from hpcore_tcg.protocol import Event, Frame


class Qemu(TcgMachine):
    """One of which nothing runs: the tests say what it says."""

    def __init__(self) -> None:
        self._told: Told = DEAF
        self._on_event = DEAF.event

    async def says(self, kind: Event) -> None:
        """As its link does."""
        await self._hear(Frame(kind, {}))


class Session:
    """Keeps what it is told, in its order."""

    def __init__(self) -> None:
        self.heard: list[str] = []
        self.told = Told(
            self._event, self.heard.append, self.heard.append, lambda: self.heard.append("reset")
        )

    async def _event(self, frame: Frame) -> None:
        self.heard.append(Event(frame.kind).name)


def test_what_it_says_before_it_is_taken_is_told_then_and_in_its_order() -> None:
    async def run() -> None:
        qemu, session = Qemu(), Session()
        arriving = Arriving(qemu)
        qemu._told.shut_down("guest-shutdown")
        qemu._told.reset_still()
        says = asyncio.create_task(qemu.says(Event.SYSTEM_OFF))
        await asyncio.sleep(0)
        assert session.heard == []
        arriving.taken(session.told)
        await says
        await qemu.says(Event.HELLO)
        assert session.heard == ["guest-shutdown", "reset", "SYSTEM_OFF", "HELLO"]

    asyncio.run(run())


def test_where_it_has_ended_before_it_is_taken_that_is_told_too() -> None:
    qemu, session = Qemu(), Session()
    arriving = Arriving(qemu)
    qemu._told.lost("QEMU is gone")
    arriving.taken(session.told)
    assert session.heard == ["QEMU is gone"]
