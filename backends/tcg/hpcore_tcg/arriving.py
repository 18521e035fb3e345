"""A QEMU to which a machine is carried that will run there by itself, before anybody says so.

What its guest says is kept until all is heard that it had said before, where it was. Where the
machine does not come, nothing of that is told.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from hpcore_tcg.machine import TcgMachine, Told
from hpcore_tcg.protocol import Frame


class Arriving:
    """One such QEMU, from before its machine is sent."""

    def __init__(self, machine: TcgMachine) -> None:
        self._machine = machine
        self._told: Told | None = None
        self._taken = asyncio.Event()
        self._later: list[Callable[[Told], None]] = []
        machine.tell(
            Told(
                self._event,
                lambda why: self._later.append(lambda told: told.lost(why)),
                lambda reason: self._later.append(lambda told: told.shut_down(reason)),
                lambda: self._later.append(lambda told: told.reset_still()),
            )
        )

    def taken(self, told: Told) -> None:
        """The machine has come: tell `told` what was kept, in its order, and all that follows."""
        self._told = told
        self._machine.tell(told)
        for tell in self._later:
            tell(told)
        self._taken.set()

    async def _event(self, frame: Frame) -> None:
        await self._taken.wait()
        assert self._told is not None, "taken"
        await self._told.event(frame)
