"""Real QEMUs that are traced while something happens, for what an import makes of the trace."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import attrs
from hpcore_qtest.native.block import Block
from hpcore_qtest.native.boards import GED_CPU_EVENT, NativeBoard
from hpcore_qtest.qemu.client import Qtest

from hpcore.foreign import Imported, import_files
from hpcore.platform.hotplug_registers import Flag, RegisterCommand
from hpcore.qemu.find import X86_64
from hpcore.triage.verdict import Verdict, judge
from tests.qtest.test_known_flaws import Raw, qemus_scan, raw

EVENTS = ("cpuhp_acpi*", "gicv3_*", "cpu_reset", "*qmp*", "acpi_gpe_*")
Scene = Callable[[Raw], Awaitable[None]]


@attrs.frozen
class Piix4:
    """General purpose event 2 of the PIIX4, whose ports need no setting up.

    Source: hw/acpi/piix4.c (GPE_BASE, GPE_LEN).
    """

    STATUS, ENABLE = 0xAFE0, 0xAFE2
    BIT = 1 << 2

    async def set_up(self, qtest: Qtest) -> None:
        """Let the event raise the SCI."""
        await qtest.port_write(self.ENABLE, 1, self.BIT)

    async def take(self, qtest: Qtest) -> int:
        """Clear its status as AML does before it scans."""
        if not await qtest.port_read(self.STATUS, 1) & self.BIT:
            return 0
        await qtest.port_write(self.STATUS, 1, self.BIT)
        return GED_CPU_EVENT


PC = NativeBoard(
    name="x86 pc",
    program=X86_64,
    machine="pc",
    block=0xAF00,
    events=Piix4(),
    controller="/machine/i440fx/ioapic",
    line=9,
    most=255,
    ports=True,
)
"""An i440FX with a PIIX4. No accelerator is for it: an import takes its traces."""


def traced(board: NativeBoard, trace: Path, *, times: bool = True) -> NativeBoard:
    """The board, its QEMU tracing to the file `trace`."""
    options = ["-D", str(trace), *(word for event in EVENTS for word in ("-trace", event))]
    options += ["-msg", "timestamp=on"] * times
    return attrs.evolve(board, options=(*board.options, *options))


def play(board: NativeBoard, trace: Path, scene: Scene, *, times: bool = True) -> None:
    """Have `scene` happen on a QEMU that is traced."""

    async def whole() -> None:
        async with raw(traced(board, trace, times=times)) as it:
            await scene(it)

    asyncio.run(whole())


def verdict_on(tmp_path: Path, *files: Path) -> tuple[Imported, Verdict]:
    """What an import makes of files, and the verdict on that."""
    log = tmp_path / "imported.jsonl"
    done = import_files([str(file) for file in files], log, overwrite=True)
    return done, judge(log)


async def ost(block: Block, slot: int, source: int, status: int) -> None:
    """The guest's word on an event, as AML writes it."""
    await block.select(slot)
    await block.give_command(RegisterCommand.OST_EVENT)
    await block.write_data(source)
    await block.give_command(RegisterCommand.OST_STATUS)
    await block.write_data(status)


async def plugged(it: Raw, slot: int = 2) -> None:
    """A vCPU is plugged, and the guest has seen it."""
    await it.machine.add(slot)
    await it.machine.board.events.take(it.machine.qemu.qtest)
    assert (slot, Flag.INSERT) in await qemus_scan(it)
    await ost(it.block, slot, 1, 0)


async def unplugged(it: Raw, slot: int = 2) -> None:
    """A vCPU is asked for, and given back as the guest should."""
    await it.machine.request_removal(slot)
    await it.machine.board.events.take(it.machine.qemu.qtest)
    assert (slot, Flag.REMOVE) in await qemus_scan(it)
    await it.eject(slot)
    await ost(it.block, slot, 3, 0)

