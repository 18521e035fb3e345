"""The qtest accelerator beside its raw socket: registers, machine starts, steps.

    python -m bench.qtest [--repeats 5] [--json out.json]

Figures are a second of one process and one QEMU, medians of repeats, which are interleaved:
a round measures everything once. README.md says what is compared, and why.
"""

from __future__ import annotations

import asyncio
import json
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import click
from hpcore_qtest import QtestAccelerator
from hpcore_qtest.qemu import launch
from hpcore_qtest.qemu.client import Qtest
from hpcore_qtest.qemu.machine import Ears
from hpcore_qtest.virt.machine import VirtMachine, arguments
from rich.console import Console
from rich.table import Table

from hpcore.cli.diagnostics import set_up_diagnostics
from hpcore.model.config import MachineConfig
from hpcore.model.effects import MachineStep, RunMachineStep, RunStep
from hpcore.model.rules import TEARDOWN
from hpcore.model.states import initial
from hpcore.platform import virt
from hpcore.promises.rig import COLD_BUILD
from hpcore.qemu import find_qemu
from hpcore.run.accelerator import GuestScript
from hpcore.run.controller import Controller
from hpcore.run.machine import LiveMachine
from hpcore.scenario import values as sc
from hpcore.scenario.play import Player
from tests.support.logs import NoLog

CONFIG = MachineConfig.of(cpus=2, maxcpus=4, memory=256)
REGISTER = virt.redistributor(0) + 0x14
LINE = b"readl %#x\n" % REGISTER
READS, CHUNK, STARTS, CYCLES, ROUNDS = 20_000, 128, 5, 40, 20
A_CYCLE = (*COLD_BUILD, *TEARDOWN)
A_ROUND = (
    sc.Line(sc.PlugStep("core3", {"core-id": 3}), 1, "plug"),
    sc.Line(sc.OnlineStep("core3"), 2, "online"),
    sc.Line(sc.UnplugStep("core3"), 3, "unplug"),
)

RATIOS = (
    ("read one by one", "raw socket, one by one"),
    ("read pipelined", "raw socket, pipelined"),
    ("machine starts", "bare QEMU starts"),
)

Figures = dict[str, list[float]]


class Raw:
    """A QEMU and the plainest client there can be: blocking, unchecked."""

    def __init__(self, directory: Path) -> None:
        sockets = launch.Sockets.below(directory, 0)
        argv = launch.command_line(find_qemu(), arguments(CONFIG), sockets)
        self.process = subprocess.Popen(argv, stderr=subprocess.DEVNULL)
        self.socket = socket.socket(socket.AF_UNIX)
        while True:
            try:
                self.socket.connect(str(sockets.qtest))
                break
            except OSError:
                time.sleep(0.001)
        self.lines = self.socket.makefile("rb")
        self.read()

    def read(self) -> None:
        """One register."""
        self.socket.sendall(LINE)
        self.lines.readline()

    def read_chunk(self) -> None:
        """CHUNK registers in one go."""
        self.socket.sendall(LINE * CHUNK)
        for _ in range(CHUNK):
            self.lines.readline()

    def close(self) -> None:
        """End it."""
        self.process.kill()
        self.process.wait()
        self.lines.close()
        self.socket.close()


@contextmanager
def raw() -> Iterator[Raw]:
    """A raw QEMU, ended afterwards."""
    with tempfile.TemporaryDirectory(prefix="hp-", dir="/tmp") as directory:
        made = Raw(Path(directory))
        try:
            yield made
        finally:
            made.close()


@asynccontextmanager
async def playing() -> Any:
    """A machine whose played guest has booted, and what plays scenario steps on it."""

    def open_session(report: Any) -> Any:
        return QtestAccelerator().open(CONFIG, GuestScript(), report)

    async with Controller(initial(CONFIG), NoLog, open_session) as controller:
        player = Player(LiveMachine(controller))
        assert await player.play((sc.Line(sc.BootStep(), 1, "boot"),))
        yield player


async def per_second(count: int, work: Awaitable[object]) -> float:
    """How many of `count` things that `work` does are done in a second."""
    began = time.perf_counter()
    await work
    return count / (time.perf_counter() - began)


async def measure(figures: Figures) -> None:
    """One round of everything."""

    async def note(name: str, count: int, work: Callable[[], Awaitable[object]]) -> None:
        figures.setdefault(name, []).append(await per_second(count, work()))

    with raw() as plain:
        await note("raw socket, one by one", READS, lambda: _times(READS, plain.read))
        chunks = READS // CHUNK
        await note(
            "raw socket, pipelined", chunks * CHUNK, lambda: _times(chunks, plain.read_chunk)
        )
    machine = await VirtMachine.start(CONFIG, find_qemu(), Ears())
    try:
        qtest = machine.qemu.qtest
        await note("read one by one", READS, lambda: _one_by_one(qtest))
        await note("read pipelined", READS, lambda: qtest.read_all((REGISTER,) * READS, 4))
    finally:
        await machine.qemu.close()
    await note("bare QEMU starts", STARTS, lambda: _times(STARTS, _start_bare))
    await note("machine starts", STARTS, _start_machines)
    await note("sessions until the GIC is checked", STARTS, _start_sessions)
    await note("steps of a slot", CYCLES * len(A_CYCLE), _cycles)
    async with playing() as player:
        await note("rounds of plug, online, unplug", ROUNDS, lambda: player.play(A_ROUND * ROUNDS))
        migrate = (sc.Line(sc.MigrateStep(), 1, "migrate"),)
        await note("migrations", STARTS, lambda: player.play(migrate * STARTS))
        reset = (sc.Line(sc.ResetStep(), 1, "reset"),)
        await note("resets", ROUNDS, lambda: player.play(reset * ROUNDS))
        assert all(result.error is None for result in player.results)


async def _times(count: int, work: Callable[[], None]) -> None:
    for _ in range(count):
        work()


async def _one_by_one(qtest: Qtest) -> None:
    for _ in range(READS):
        await qtest.read(REGISTER, 4)


def _start_bare() -> None:
    with raw():
        pass


async def _start_machines() -> None:
    for _ in range(STARTS):
        machine = await VirtMachine.start(CONFIG, find_qemu(), Ears())
        await machine.qemu.close()


async def _start_sessions() -> None:
    for _ in range(STARTS):
        session = await QtestAccelerator().open(CONFIG, None, lambda _stimulus: None)
        for step in (MachineStep.CREATE_VCPUS, MachineStep.INIT_GIC):
            await session.execute(RunMachineStep(step))
        await session.close()


async def _cycles() -> None:
    session = await QtestAccelerator().open(CONFIG, None, lambda _stimulus: None)
    for step in (MachineStep.CREATE_VCPUS, MachineStep.INIT_GIC):
        await session.execute(RunMachineStep(step))
    for _ in range(CYCLES):
        for slot_step in A_CYCLE:
            await session.execute(RunStep(slot_step, 3))
    await session.close()


@click.command()
@click.option("--repeats", default=5, show_default=True)
@click.option("--json", "path", type=click.Path(path_type=Path))
def main(repeats: int, path: Path | None) -> None:
    """Measure, and print medians and the ratios to the raw socket."""
    set_up_diagnostics()
    figures: Figures = {}
    for _ in range(repeats):
        asyncio.run(measure(figures))
    table = Table("a second", "median", "least", "most", box=None, pad_edge=False)
    for name, values in figures.items():
        cells = (f"{x:,.1f}" if x < 100 else f"{x:,.0f}" for x in (
            statistics.median(values), min(values), max(values)))  # fmt: skip
        table.add_row(name, *cells)
    ratios = {
        f"{ours} / {theirs}": statistics.median(
            a / b for a, b in zip(figures[ours], figures[theirs], strict=True)
        )
        for ours, theirs in RATIOS
    }
    people = Console()
    people.print(table)
    for name, ratio in ratios.items():
        people.print(f"{name}: {ratio:.2f}")
    if path is not None:
        path.write_text(json.dumps({"figures": figures, "ratios": ratios}, indent=1))


if __name__ == "__main__":
    sys.exit(main())
