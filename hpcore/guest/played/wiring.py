"""How a played guest reaches its machine, and the registers that it finds there.

The register block is QEMU's (docs/specs/acpi_cpu_hotplug.rst), the GED's event register
ACPI's (ACPI 6.5, 5.6.9; hw/acpi/generic_event_device.c).
"""

from __future__ import annotations

import asyncio
from enum import IntEnum, IntFlag
from typing import Protocol

from attrs import field, frozen

GED = 0x0908_0000
GED_CPU_EVENT = 0x08
BLOCK = 0x090C_0000
SELECTOR, FLAGS, COMMAND, DATA = BLOCK, BLOCK + 4, BLOCK + 5, BLOCK + 8


class Flag(IntFlag):
    """The flags of the selected vCPU; each but the first is cleared or done by writing it."""

    ENABLED = 1 << 0
    INSERT = 1 << 1
    REMOVE = 1 << 2
    EJECT = 1 << 3


class Command(IntEnum):
    """What the command register takes."""

    NEXT_EVENT = 0
    """Move the selector to a vCPU with an event; the data register then has its number."""
    OST_EVENT = 1
    OST_STATUS = 2


class Notify(IntEnum):
    """What AML tells the kernel about a device (ACPI 6.5, 5.6.6)."""

    DEVICE_CHECK = 0x1
    EJECT_REQUEST = 0x3


class Wiring(Protocol):
    """A played guest's way to its machine; an accelerator implements it.

    Registers have absolute guest addresses, sizes are in bytes. A call returns when the
    machine has done it; one made while the machine is paused returns after the pause.
    """

    async def read(self, address: int, size: int) -> int:
        """Read a register."""

    async def write(self, address: int, size: int, value: int) -> None:
        """Write a register."""

    async def cpu_on(self, caller: int, cpu: int) -> int:
        """PSCI CPU_ON of vCPU `cpu` by vCPU `caller`; a PSCI return code.

        0 is success, -2 INVALID_PARAMETERS, -3 DENIED, -4 ALREADY_ON.
        """

    async def cpu_off(self, cpu: int) -> None:
        """PSCI CPU_OFF by vCPU `cpu`; returns when it is off."""

    async def system_reset(self) -> None:
        """PSCI SYSTEM_RESET. The accelerator calls the guest's `stop`, and later `start`."""

    async def system_off(self) -> None:
        """PSCI SYSTEM_OFF."""


@frozen
class Firmware:
    """The machine's AML, as far as it touches registers. One method at a time, by its mutex."""

    wiring: Wiring
    possible: int
    _mutex: asyncio.Lock = field(factory=asyncio.Lock)

    async def ged_event(self) -> bool:
        """`_EVT`: take the GED's event bits; whether one was the vCPUs'."""
        return bool(await self.wiring.read(GED, 4) & GED_CPU_EVENT)

    async def scan(self) -> list[tuple[int, Notify]]:
        """Take every event bit that is set, and return what the kernel is to be told.

        Ends where the block finds no more, and in any case after a bounded number of
        events, so that bits which come faster than they are taken don't hold the kernel.
        """
        told: list[tuple[int, Notify]] = []
        async with self._mutex:
            await self.wiring.write(SELECTOR, 4, 0)
            for _ in range(2 * self.possible + 1):
                await self.wiring.write(COMMAND, 1, Command.NEXT_EVENT)
                flags = await self.wiring.read(FLAGS, 1)
                if not flags & (Flag.INSERT | Flag.REMOVE):
                    break
                cpu = await self.wiring.read(DATA, 4)
                # both, never one else the other: a removal would be lost (peer's CSCN)
                for flag, notification in (
                    (Flag.INSERT, Notify.DEVICE_CHECK), (Flag.REMOVE, Notify.EJECT_REQUEST),
                ):  # fmt: skip
                    if flags & flag:
                        await self.wiring.write(FLAGS, 1, flag)
                        told.append((cpu, notification))
        return told

    async def enabled(self, cpu: int) -> bool:
        """`_STA`'s enabled bit."""
        async with self._mutex:
            await self.wiring.write(SELECTOR, 4, cpu)
            return bool(await self.wiring.read(FLAGS, 1) & Flag.ENABLED)

    async def eject(self, cpu: int) -> None:
        """`_EJ0`."""
        async with self._mutex:
            await self.wiring.write(SELECTOR, 4, cpu)
            await self.wiring.write(FLAGS, 1, Flag.EJECT)

    async def ost(self, cpu: int, source: int, status: int) -> None:
        """`_OST`."""
        async with self._mutex:
            await self.wiring.write(SELECTOR, 4, cpu)
            await self.wiring.write(COMMAND, 1, Command.OST_EVENT)
            await self.wiring.write(DATA, 4, source)
            await self.wiring.write(COMMAND, 1, Command.OST_STATUS)
            await self.wiring.write(DATA, 4, status)
