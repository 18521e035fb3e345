"""A machine on an accelerator, under a core, whose guest is the puppet: it does as it is told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from hpcore_kvm.smccc import Function

from hpcore.guest.initramfs import cpio
from hpcore.model import stimuli
from hpcore.model.config import MachineConfig
from hpcore.model.events import Event, MachineWasReset
from hpcore.model.states import State, initial
from hpcore.run.accelerator import GuestImages
from hpcore.run.controller import Controller
from hpcore.run.deadlines import Patience
from hpcore.run.discovery import find, usable
from hpcore.run.machine import LiveMachine
from tests.kvm_with_qemu import programs
from tests.support.logs import ListLog
from tests.support.waits import SECONDS, until

MEMORY = 256
AFFINITY_INFO, SYSTEM_OFF, SYSTEM_RESET = 0xC400_0004, 0x8400_0008, 0x8400_0009
ON, OFF = 0, 1
PSCI_VERSION = 0x8400_0000
WORD = 8
ECHO = 0x5EED_0000_0000_0000
"""Begins what the puppet is told to repeat, and nothing else that it says."""


def images(directory: Path) -> GuestImages:
    """The puppet, and an initrd that it has no use for."""
    kernel, initrd = directory / "puppet", directory / "initrd"
    kernel.write_bytes(programs.kernel())
    initrd.write_bytes(cpio([]))
    return GuestImages(kernel, initrd, shell=False)


def mailbox(cpu: int) -> int:
    """The address of a vCPU's mailbox."""
    return programs.MAILBOXES + cpu * programs.MAILBOX_SIZE


class Puppet:
    """The machine, and the strings to its guest. One order at a time."""

    def __init__(self, directory: Path, config: MachineConfig, accelerator: str) -> None:
        self.log = ListLog()
        self._said, self._heard, self._orders = bytearray(), asyncio.Event(), 0
        guest, found = images(directory), usable(find(accelerator))
        self.core = Controller(
            initial(config), lambda: self.log, lambda report: found.open(config, guest, report),
            Patience(boot=SECONDS, end=SECONDS),
        )  # fmt: skip
        self.live = LiveMachine(self.core, self._printed, shell=False)

    @property
    def events(self) -> list[Event]:
        return self.log.events

    async def boot(self) -> None:
        """Start the guest, which then waits for orders."""
        await self.live.start()
        await self.echo()

    async def order(self, what: int, *words: int, seconds: float = SECONDS) -> int:
        """Have the guest's vCPU 0 do so; what comes of it, as a signed number."""
        self._send(what, *words)
        return int.from_bytes(await self._read(seconds), "little", signed=True)

    async def echo(self) -> None:
        """Have the guest repeat a number, and forget all that it has said before.

        So that nothing is left of an order that a reset has cut off.
        """
        self._orders += 1
        number = ECHO + self._orders
        self._send(programs.STORE_64, 0, mailbox(0) + programs.RESULT_AT, number)
        wanted = number.to_bytes(WORD, "little")
        async with asyncio.timeout(SECONDS):
            while wanted not in self._said:
                self._heard.clear()
                await self._heard.wait()
        del self._said[: self._said.index(wanted) + WORD]

    def begin(self, what: int, *words: int) -> asyncio.Task[int]:
        """As `order`, in a task: what comes of it may be called off by a reset."""
        self._send(what, *words)
        return asyncio.create_task(self._result())

    async def call(self, function: int, *words: int) -> int:
        """A call of vCPU 0's to PSCI."""
        return await self.order(programs.CALL, function, *words)

    async def cpu_on(self, slot: int) -> int:
        """vCPU 0 calls CPU_ON of `slot`, which is to wait for orders in its mailbox."""
        return await self.call(Function.CPU_ON_64, slot, programs.ENTRY, mailbox(slot))

    async def affinity_info(self, slot: int) -> int:
        """Whether the vCPU is ON or OFF, as PSCI says."""
        return await self.call(AFFINITY_INFO, slot)

    async def have(self, cpu: int, what: int, *words: int) -> None:
        """Have another vCPU do so; returns as soon as it is told."""
        for number, word in reversed(list(enumerate((what, *words)))):
            await self.order(programs.STORE_64, 0, mailbox(cpu) + number * WORD, word)

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

    async def plug(self, slot: int) -> None:
        """Plug the vCPU; this guest never says that it has seen it."""
        await self.core.submit(stimuli.DeviceAdd(f"cpu{slot}", (("core-id", slot),)))
        await self.until(lambda s: self.live.slot(slot).enabled)

    async def revoke(self, slot: int) -> None:
        """Take the vCPU by force."""
        await self.core.submit(stimuli.DeviceDel(f"cpu{slot}", force=True))
        await self.until(lambda s: s.slots[slot].id is None)

    async def until(self, holds: Callable[[State], bool]) -> None:
        await self.core.until(holds, SECONDS, "what the test waits for")

    async def reset_is_over(self, times: int) -> None:
        """Wait until the machine was reset so often, and its guest obeys again."""
        await until(lambda: sum(isinstance(e, MachineWasReset) for e in self.events) >= times)
        await self.until(lambda s: s.shared.phase.value == "running" and s.shared.step is None)
        await self.echo()
        for cpu in range(1, self.core.state.config.possible):
            await self.forget(cpu)

    def _send(self, what: int, *words: int) -> None:
        console = self.core.session.console
        assert console is not None, "the machine has booted"
        padded = (what, *words, *(0,) * (5 - len(words)))
        console.write(programs.ORDER.pack(*padded))

    async def _result(self) -> int:
        return int.from_bytes(await self._read(SECONDS), "little", signed=True)

    async def _read(self, seconds: float) -> bytes:
        async with asyncio.timeout(seconds):
            while len(self._said) < WORD:
                self._heard.clear()
                await self._heard.wait()
        data = bytes(self._said[:WORD])
        del self._said[:WORD]
        return data

    def _printed(self, data: bytes) -> None:
        self._said += data
        self._heard.set()


@asynccontextmanager
async def puppet(
    directory: Path, cpus: int, maxcpus: int, accelerator: str = "kvm-qemu"
) -> AsyncIterator[Puppet]:
    """A machine whose guest is the puppet, not booted yet."""
    config = MachineConfig.of(cpus=cpus, maxcpus=maxcpus, memory=MEMORY)
    rig = Puppet(directory, config, accelerator)
    async with rig.core:
        yield rig
