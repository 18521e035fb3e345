"""The AML that a played guest evaluates, access by access as RegisterTransport's has it."""

from __future__ import annotations

import asyncio

from attrs import field, frozen

from hpcore.guest.played.hardware import Hardware
from hpcore.model.acpi import Notification
from hpcore.platform import virt
from hpcore.platform.ged import EVENTS, EVENTS_SIZE, GedEvent
from hpcore.platform.hotplug_registers import (
    COMMAND,
    DATA,
    FLAGS,
    SELECTOR,
    Flag,
    RegisterCommand,
    Store,
)

BLOCK = virt.CPU_HOTPLUG_BASE
EVENTS_A_SCAN = 4
"""Of a vCPU at most. AML has no such limit; a played guest is to come to an end."""


_TOLD = (
    (Flag.INSERT, Store.CLEAR_INSERT, Notification.DEVICE_CHECK),
    (Flag.REMOVE, Store.CLEAR_REMOVE, Notification.EJECT_REQUEST),
)


@frozen
class PlayedAml:
    """The methods. All but the first hold AML's mutex, for the block has one selector."""

    hardware: Hardware
    possible: int
    _mutex: asyncio.Lock = field(factory=asyncio.Lock)

    async def events(self) -> list[tuple[int, Notification]]:
        """The GED's `_EVT`: take its events, scan if one is a vCPU's; what the kernel is told."""
        events = await self.hardware.read(virt.GED_BASE + EVENTS, EVENTS_SIZE)
        return await self._scan() if events & GedEvent.CPU_HOTPLUG else []

    async def enabled(self, cpu: int) -> bool:
        """Whether `_STA` has bit 1."""
        async with self._mutex:
            await self._write(SELECTOR, 4, cpu)
            return bool(await self._read(FLAGS, 1) & Flag.ENABLED)

    async def eject(self, cpu: int) -> None:
        """`_EJ0`."""
        async with self._mutex:
            await self._write(SELECTOR, 4, cpu)
            await self._write(FLAGS, 1, Store.EJECT)

    async def ost(self, cpu: int, source: int, status: int) -> None:
        """`_OST`."""
        async with self._mutex:
            await self._write(SELECTOR, 4, cpu)
            await self._write(COMMAND, 1, RegisterCommand.OST_EVENT)
            await self._write(DATA, 4, source)
            await self._write(COMMAND, 1, RegisterCommand.OST_STATUS)
            await self._write(DATA, 4, status)

    async def _scan(self) -> list[tuple[int, Notification]]:
        told: list[tuple[int, Notification]] = []
        async with self._mutex:
            await self._write(SELECTOR, 4, 0)
            for _ in range(EVENTS_A_SCAN * self.possible):
                await self._write(COMMAND, 1, RegisterCommand.NEXT_WITH_EVENT)
                cpu = await self._read(DATA, 4)
                flags = await self._read(FLAGS, 1)
                if not flags & (Flag.INSERT | Flag.REMOVE):
                    break
                for flag, clear, notification in _TOLD:
                    if flags & flag:
                        await self._write(FLAGS, 1, clear)
                        told.append((cpu, notification))
        return told

    async def _read(self, offset: int, size: int) -> int:
        return await self.hardware.read(BLOCK + offset, size)

    async def _write(self, offset: int, size: int, value: int) -> None:
        await self.hardware.write(BLOCK + offset, size, value)
