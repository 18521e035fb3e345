"""A guest on plain QEMU whose memory and devices a test pokes through the qtest socket.

The test plays the EL3 monitor: it sets cells of the hotplug page, pends the event
device's interrupt, and drains the ring.
"""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import attrs

from hpcore.guest.images import fetch_guest
from hpcore.guest.shell import Shell
from hpcore.model.config import MachineConfig
from hpcore.platform import firmware, hotplug_page, virt
from hpcore.platform.acpi.fadt import Conduit
from hpcore.platform.hotplug_page import RingRecord

RTC_RAW_STATUS, RTC_CLEAR = virt.RTC_BASE + 0x14, virt.RTC_BASE + 0x1C
GED_PENDING = virt.GICD_BASE + 0x200 + 4 * (virt.GED_GSI // 32)  # GICD_ISPENDR
WRAP = 1 << 32

Entry = tuple[RingRecord, int, int]
"""Kind, slot and argument of a record."""


class GuestMemory:
    """Reads and writes of guest physical memory, and the monitor's part built on them."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self.records: list[Entry] = []

    async def _ask(self, command: str) -> list[str]:
        self._writer.write(command.encode() + b"\n")
        while True:
            answer = (await self._reader.readline()).decode().split()
            assert answer, "QEMU closed the qtest socket"
            if answer[0] != "IRQ":
                assert answer[0] == "OK", f"{command}: {answer}"
                return answer[1:]

    async def word(self, address: int) -> int:
        return int((await self._ask(f"readl {address:#x}"))[0], 0)

    async def set_word(self, address: int, value: int) -> None:
        await self._ask(f"writel {address:#x} {value % WRAP:#x}")

    async def byte(self, offset: int, slot: int) -> int:
        return int((await self._ask(f"readb {hotplug_page.PAGE_BASE + offset + slot:#x}"))[0], 0)

    async def set_byte(self, offset: int, slot: int, value: int) -> None:
        await self._ask(f"writeb {hotplug_page.PAGE_BASE + offset + slot:#x} {value:#x}")

    async def raise_event(self) -> None:
        await self.set_word(GED_PENDING, 1 << virt.GED_GSI % 32)

    async def heads(self) -> tuple[int, int]:
        base = hotplug_page.PAGE_BASE
        return await self.word(base + hotplug_page.HEAD), await self.word(base + hotplug_page.TAIL)

    async def set_tail(self, tail: int) -> None:
        await self.set_word(hotplug_page.PAGE_BASE + hotplug_page.TAIL, tail)

    async def doorbell(self) -> bool:
        """Whether the doorbell has rung since the last call."""
        rung = bool(await self.word(RTC_RAW_STATUS) & 1)
        if rung:  # cleared unseen, a ring in between would be lost
            await self.set_word(RTC_CLEAR, 1)
        return rung

    async def drain(self) -> None:
        """What the monitor does when the doorbell rings."""
        head, tail = await self.heads()
        while tail != head:
            address = hotplug_page.PAGE_BASE + hotplug_page.RING
            address += tail % hotplug_page.RING_RECORDS * hotplug_page.RECORD_SIZE
            word = await self.word(address)
            argument = await self.word(address + 4)
            self.records.append((RingRecord(word & 0xFFFF), word >> 16, argument))
            tail = (tail + 1) % WRAP
        await self.set_tail(tail)

    async def until(self, done: Callable[[list[Entry]], bool], within: float = 30) -> list[Entry]:
        """Drain at every doorbell until the records satisfy `done`; return and forget them."""
        deadline = time.monotonic() + within
        while not done(self.records):
            assert time.monotonic() < deadline, f"only {self.records}"
            if await self.doorbell():
                await self.drain()
            else:
                await asyncio.sleep(0.002)
        records, self.records = self.records, []
        return records


class _Pipes:
    """The console over QEMU's standard input and output."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._input, self._output = process.stdin, process.stdout

    def write(self, data: bytes) -> None:
        self._input.write(data)

    async def read(self) -> bytes:
        return await self._output.read(1 << 16)


@asynccontextmanager
async def booted(
    config: MachineConfig, directory: Path
) -> AsyncIterator[tuple[Shell, GuestMemory]]:
    """Linux on QEMU's own PSCI (HVC) with our tables, its shell ready."""
    program = shutil.which("qemu-system-aarch64")
    assert program is not None, "QEMU is not installed: apt-get install qemu-system-arm"
    guest = fetch_guest()
    made = firmware.build(config, attrs.evolve(firmware.QEMU_VIRT, conduit=Conduit.HVC))
    blob, dtb, socket = directory / "blob", directory / "dtb", directory / "qtest"
    blob.write_bytes(made.blob)
    # QEMU itself puts the command line and the initrd's place into the tree with -kernel
    dtb.write_bytes(
        made.device_tree(bootargs="", initrd_size=0, kaslr_seed=bytes(8), rng_seed=bytes(32))
    )
    # maxcpus: QEMU's PSCI grants every CPU_ON, and Linux asks for all present vCPUs
    arguments = f"acpi=force console=ttyAMA0 panic=-1 maxcpus={config.topology.cpus}"
    process = await asyncio.create_subprocess_exec(
        program, "-machine", "virt,gic-version=3", "-accel", "tcg", "-cpu", config.cpu_model,
        "-smp", str(config.possible), "-m", str(config.memory), "-nodefaults", "-nographic",
        "-kernel", str(guest.kernel), "-initrd", str(guest.initramfs()), "-append", arguments,
        "-dtb", str(dtb), "-device", f"loader,file={blob},addr={virt.BLOB_BASE},force-raw=on",
        "-serial", "stdio", "-monitor", "none",
        "-qtest", f"unix:{socket},server=on,wait=off", "-qtest-log", "/dev/null",
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        shell = Shell(_Pipes(process))
        await shell.wait_ready(120)
        reader, writer = await asyncio.open_unix_connection(socket)
        try:
            yield shell, GuestMemory(reader, writer)
        finally:
            writer.close()
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
