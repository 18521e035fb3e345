"""QEMU's own CPU hotplug registers, between a guest that must not notice and a session.

Both use them, through one selector. The guest's is known here at any time, and is put back
after each visit of the session's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from hpcore.platform.hotplug_registers import COMMAND, DATA, FLAGS, SELECTOR, RegisterCommand, Store
from hpcore_qtest.native.boards import NativeBoard
from hpcore_qtest.qemu import lines
from hpcore_qtest.qemu.client import Qtest
from hpcore_qtest.qemu.lines import Line

NO_SLOT = 0xFFFF_FFFF
"""A selector beyond all slots: reads give 0, stores are dropped."""


class Block:
    """The registers of `board`; of its slots the first `possible` are there for the guest."""

    def __init__(self, qtest: Qtest, board: NativeBoard, possible: int) -> None:
        self.qtest, self._board, self._possible = qtest, board, possible
        self._lock = asyncio.Lock()
        self.selector = 0
        self.command = int(RegisterCommand.NEXT_WITH_EVENT)

    @property
    def selected(self) -> int | None:
        """The slot that the guest has selected, or None for one that is not there."""
        return self.selector if self.selector < self._possible else None

    async def set_up(self) -> None:
        """Have the registers answer: on x86 the old ones, a bitmap, are there until a store."""
        if self._board.ports:
            await self.qtest.send([self._store(SELECTOR, 4, 0)])

    # --------------------------------------------- the guest's, one piece at a time

    async def read(self, offset: int, size: int) -> int:
        """Load a naturally aligned piece of at most 4 bytes."""
        async with self._lock:
            (answer,) = await self.qtest.send([self._load(offset, size)])
            return int(answer, 16)

    async def select(self, selector: int) -> None:
        """Store the selector; one beyond the guest's slots is one beyond QEMU's."""
        async with self._lock:
            self.selector = selector if selector < self._possible else NO_SLOT
            await self.qtest.send([self._store(SELECTOR, 4, self.selector)])

    async def give_command(self, command: int) -> int:
        """Store the command, and return the flags of what is selected then."""
        async with self._lock:
            if self.selected is not None and command <= max(RegisterCommand):
                self.command = command
            sent = [self._store(COMMAND, 1, command), self._load(DATA, 4), self._load(FLAGS, 1)]
            _, data, flags = await self.qtest.send(sent)
            if self.selected is not None and command == RegisterCommand.NEXT_WITH_EVENT:
                self.selector = int(data, 16)  # to the next vCPU with an event, if there is one
            return int(flags, 16)

    async def write_data(self, value: int) -> None:
        """Store the data register."""
        async with self._lock:
            await self.qtest.send([self._store(DATA, 4, value)])

    async def write_flags(self, value: int) -> int:
        """Store the flags of the selected slot, and return what they were."""
        async with self._lock:
            sent = [self._load(FLAGS, 1), self._store(FLAGS, 1, value)]
            before, _ = await self.qtest.send(sent)
            return int(before, 16)

    # ------------------------------------------------------------- the session's

    async def flags(self, slot: int) -> int:
        """The flags of `slot`."""
        return await self.visit(slot, ())

    async def visit(self, slot: int, stores: Sequence[Store]) -> int:
        """Store each of `stores` to the flags of `slot`; what they are then."""
        async with self._lock:
            sent = [self._store(SELECTOR, 4, slot)]
            sent += [self._store(FLAGS, 1, store) for store in stores]
            sent += [self._load(FLAGS, 1), self._store(SELECTOR, 4, self.selector)]
            return int((await self.qtest.send(sent))[-2], 16)

    def _load(self, offset: int, size: int) -> Line:
        make = lines.port_read if self._board.ports else lines.read
        return make(self._board.block + offset, size)

    def _store(self, offset: int, size: int, value: int) -> Line:
        make = lines.port_write if self._board.ports else lines.write
        return make(self._board.block + offset, size, value)
