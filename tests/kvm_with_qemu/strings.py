"""The strings of a puppet: orders to its vCPU 0 by the serial line, and what comes of them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from hpcore_kvm.smccc import Function

from hpcore.run.accelerator import Console
from tests.kvm_with_qemu import programs
from tests.support.waits import SECONDS

AFFINITY_INFO, SYSTEM_OFF, SYSTEM_RESET = 0xC400_0004, 0x8400_0008, 0x8400_0009
ON, OFF = 0, 1
PSCI_VERSION = 0x8400_0000
WORD = 8
ECHO = 0x5EED_0000_0000_0000
"""Begins what the puppet is told to repeat, and nothing else that it says."""


def mailbox(cpu: int) -> int:
    """The address of a vCPU's mailbox."""
    return programs.MAILBOXES + cpu * programs.MAILBOX_SIZE


class Strings:
    """One order at a time. The console, once there is one, is nobody else's to read."""

    def __init__(self, console: Callable[[], Console]) -> None:
        self._console = console
        self._said, self._orders = bytearray(), 0

    async def order(self, what: int, *words: int) -> int:
        """Have the guest's vCPU 0 do so; what comes of it, as a signed number."""
        self.send(what, *words)
        return await self.result()

    def send(self, what: int, *words: int) -> None:
        """As `order`, without waiting for what comes of it."""
        padded = (what, *words, *(0,) * (5 - len(words)))
        self._console().write(programs.ORDER.pack(*padded))

    async def result(self) -> int:
        """What comes of the order that was sent."""
        async with asyncio.timeout(SECONDS):
            while len(self._said) < WORD:
                await self._read()
        data = bytes(self._said[:WORD])
        del self._said[:WORD]
        return int.from_bytes(data, "little", signed=True)

    async def echo(self) -> None:
        """Have the guest repeat a number, and forget all that it has said before.

        So that nothing is left of an order that a reset has cut off.
        """
        self._orders += 1
        number = ECHO + self._orders
        self.send(programs.STORE_64, 0, mailbox(0) + programs.RESULT_AT, number)
        wanted = number.to_bytes(WORD, "little")
        async with asyncio.timeout(SECONDS):
            while wanted not in self._said:
                await self._read()
        del self._said[: self._said.index(wanted) + WORD]

    async def call(self, function: int, *words: int) -> int:
        """A call of vCPU 0's to PSCI."""
        return await self.order(programs.CALL, function, *words)

    async def cpu_on(self, slot: int) -> int:
        """vCPU 0 calls CPU_ON of `slot`, which is to wait for orders in its mailbox."""
        return await self.call(Function.CPU_ON_64, slot, programs.ENTRY, mailbox(slot))

    async def affinity_info(self, slot: int) -> int:
        """Whether the vCPU is ON or OFF, as PSCI says."""
        return await self.call(AFFINITY_INFO, slot)

    async def have(self, cpu: int, what: int, *words: int, lasts: bool = True) -> None:
        """Have another vCPU do so; returns as soon as it is told.

        Where the machine does not last beyond what it is told, vCPU 0 may have no time to
        answer, and is not waited for.
        """
        for number, word in enumerate(words, 1):
            await self.order(programs.STORE_64, 0, mailbox(cpu) + number * WORD, word)
        self.send(programs.STORE_64, 0, mailbox(cpu), what)
        if lasts:
            await self.result()

    async def done(self, cpu: int) -> int:
        """Wait until the vCPU has done what it was told last; what came of it."""
        async with asyncio.timeout(SECONDS):
            while await self.order(programs.LOAD_64, 0, mailbox(cpu)):
                pass
        return await self.order(programs.LOAD_64, 0, mailbox(cpu) + programs.RESULT_AT)

    async def cpu_off(self, cpu: int) -> None:
        """The vCPU calls CPU_OFF, and vCPU 0 waits until AFFINITY_INFO says so."""
        await self.have(cpu, programs.CALL, Function.CPU_OFF)
        async with asyncio.timeout(SECONDS):
            while await self.affinity_info(cpu) != OFF:
                pass
        await self.forget(cpu)

    async def forget(self, cpu: int) -> None:
        """Take the vCPU's last order back, or it would obey it when it comes back."""
        await self.order(programs.STORE_64, 0, mailbox(cpu), 0)

    async def _read(self) -> None:
        data = await self._console().read()
        assert data, "the machine is gone"
        self._said += data
