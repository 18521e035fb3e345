"""How a played guest reaches a machine whose QEMU plugs vCPUs itself, and what is told of it.

The guest's accesses go to QEMU's own registers, and the core hears of them what it would
hear of ours. Two things the guest does not get to do before the core has had its say: it
sees nothing of a vCPU that is being plugged, and its `_EJ0` does not reach QEMU, which
would carry it out unasked.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping

from hpcore.model.stimuli import (
    EjectCalled,
    InsertAcked,
    OstReported,
    RemoveAcked,
    ScanEnded,
    ScanStarted,
)
from hpcore.platform import virt
from hpcore.platform.hotplug_registers import (
    COMMAND,
    DATA,
    FLAGS,
    SELECTOR,
    Flag,
    RegisterCommand,
    Store,
    pieces,
)
from hpcore.run.accelerator import AcceleratorError, Report
from hpcore_qtest.native.block import Block
from hpcore_qtest.native.boards import GED_CPU_EVENT, NativeBoard
from hpcore_qtest.power import PsciCalls, Reached

EVENT = Flag.INSERT | Flag.REMOVE
OST_SECONDS = 20.0
"""For QEMU to tell of an `_OST`; it does so at once."""


class NativeHardware(PsciCalls):
    """A `hpcore.guest.played.Hardware`: arm's addresses outside, those of `board` inside."""

    def __init__(self, session: Reached, block: Block, board: NativeBoard, report: Report) -> None:
        super().__init__(session)
        self._block, self._board, self._report = block, board, report
        self._scanning = self._raised_again = False
        self._osts: deque[asyncio.Future[None]] = deque()
        self._ejects: dict[int, list[asyncio.Future[None]]] = {}

    # ------------------------------------------------------------------ the guest's

    async def read(self, address: int, size: int) -> int:
        """Read a register of the hotplug block or of the GED; all else reads as 0."""
        await self._reached.guest_may_act()
        if address == virt.GED_BASE and size == 4:
            return await self._take_events()
        offset = address - virt.CPU_HOTPLUG_BASE
        value = 0
        if 0 <= offset < virt.CPU_HOTPLUG_SIZE:
            for start, width in pieces(offset, size):
                value |= await self._block.read(start, width) << 8 * (start - offset)
        return value

    async def write(self, address: int, size: int, value: int) -> None:
        """Write a register of the hotplug block; stores elsewhere are dropped."""
        await self._reached.guest_may_act()
        offset = address - virt.CPU_HOTPLUG_BASE
        if 0 <= offset < virt.CPU_HOTPLUG_SIZE:
            for start, width in pieces(offset, size):
                await self._store(start, value >> 8 * (start - offset) & (1 << 8 * width) - 1)

    # ---------------------------------------------------------------- the session's

    def raise_again(self) -> None:
        """The next read of the event register has the vCPUs' bit, whatever QEMU says."""
        self._raised_again = True

    def ost_seen(self, info: Mapping[str, object]) -> None:
        """QEMU tells of an `_OST`, by ACPI_DEVICE_OST; one for each status stored."""
        if not self._osts:
            return
        waiting = self._osts.popleft()
        if waiting.done():  # whoever stored it is no more
            return
        slot, source, status = (int(str(info[name])) for name in ("slot", "source", "status"))
        self._report(OstReported(slot, source, status))
        waiting.set_result(None)

    def eject_settled(self, slot: int) -> None:
        """The core has carried out or refused what the guest's `_EJ0` asked for."""
        for waiting in self._ejects.pop(slot, ()):
            if not waiting.done():
                waiting.set_result(None)

    def reset(self) -> None:
        """No guest is there any more that waits for anything."""
        self._scanning = self._raised_again = False
        self._ejects.clear()

    def end(self, why: str) -> None:
        """Whoever waits learns that the machine is gone."""
        ejects = (future for waiting in self._ejects.values() for future in waiting)
        for future in (*self._osts, *ejects):
            if not future.done():
                future.set_exception(AcceleratorError(why))
                future.exception()  # whoever waited may never ask
        self._osts.clear()
        self._ejects.clear()

    # -------------------------------------------------------------------- registers

    async def _take_events(self) -> int:
        events = await self._board.events.take(self._block.qtest)
        if self._raised_again:
            self._raised_again = False
            events |= GED_CPU_EVENT
        if events & GED_CPU_EVENT:
            self._scanning = True
            self._report(ScanStarted())
        return events

    async def _store(self, offset: int, value: int) -> None:
        if offset == SELECTOR:
            await self._block.select(value)
        elif self._block.selected is None:
            return
        elif offset == FLAGS:
            await self._store_flags(self._block.selected, value)
        elif offset == COMMAND:
            flags = await self._block.give_command(value)
            if value == RegisterCommand.NEXT_WITH_EVENT and self._scanning and not flags & EVENT:
                self._scanning = False
                self._report(ScanEnded())
        elif offset == DATA:
            await self._store_data(value)

    async def _store_flags(self, slot: int, value: int) -> None:
        """QEMU heeds the lowest bit alone. That firmware shall eject is not offered."""
        if value & Store.CLEAR_INSERT:
            if await self._block.write_flags(Store.CLEAR_INSERT) & Flag.INSERT:
                self._report(InsertAcked(slot))
        elif value & Store.CLEAR_REMOVE:
            if await self._block.write_flags(Store.CLEAR_REMOVE) & Flag.REMOVE:
                self._report(RemoveAcked(slot))
        elif value & Store.EJECT:
            settled = asyncio.get_running_loop().create_future()
            self._ejects.setdefault(slot, []).append(settled)
            self._report(EjectCalled(slot))
            await settled

    async def _store_data(self, value: int) -> None:
        """Wait for QEMU's word of an `_OST`, so that it comes before what the guest does next."""
        if self._block.command != RegisterCommand.OST_STATUS:
            await self._block.write_data(value)
            return
        told: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._osts.append(told)
        await self._block.write_data(value)
        try:
            await asyncio.wait_for(told, OST_SECONDS)
        except TimeoutError:
            raise AcceleratorError(
                f"QEMU did not tell of an _OST within {OST_SECONDS:g} s; is it too old?"
            ) from None
