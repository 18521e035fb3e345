"""What a migration costs: how long the guest stands still, on `tcg` and a stock QEMU in turns.

    python -m bench.migration [--repeats 7]

The stock machine is QEMU's `virt` of the same size with the same kernel, and QEMU's own PSCI. Each
is stopped while the other is carried. Where QEMU is older than 9.0, hpcore has its guest stand
still from the start (docs/tcg.md), and `--live` has it carried live all the same, to compare.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import attrs
import click
from hpcore_tcg.machine import TcgMachine
from hpcore_tcg.session import TcgSession
from qemu.qmp import EventListener
from rich.console import Console
from rich.table import Table

from hpcore.cli.diagnostics import set_up_diagnostics
from hpcore.guest.images import FetchedGuest, fetched_guest
from hpcore.guest.shell import Shell
from hpcore.model.config import MachineConfig
from hpcore.qemu.arguments import qmp_monitor, socket_chardev
from hpcore.qemu.find import find_qemu
from hpcore.qemu.machine import QemuMachine
from hpcore.qemu.migration import BANDWIDTH
from hpcore.qemu.process import QemuProcess
from hpcore.qemu.runtime_directory import directory_of_a_start
from hpcore.run.accelerator import GuestImages
from hpcore.run.discovery import find
from hpcore.run.machine import LiveMachine
from hpcore.run.open import open_machine

CONFIG = MachineConfig.of(cpus=2, maxcpus=4)
SECONDS = 120.0
DIRTY = (
    "dd if=/dev/urandom of=/tmp/x bs=1M count=64 2>/dev/null; "
    "sh -c 'while :; do dd if=/tmp/x of=/tmp/y bs=64k conv=notrunc 2>/dev/null; done' & sleep 0.2"
)
"""Has the guest rewrite 64 MiB without end."""


@attrs.define
class Told:
    """Who is told of a stock machine: nobody."""

    lost: Callable[[str], None] = lambda _why: None
    shut_down: Callable[[str], None] = lambda _why: None
    reset_still: Callable[[], None] = lambda: None


class Times:
    """When each QEMU of a machine's has said STOP or RESUME last, by QEMU's own clock.

    Who hears of it later, because it has no CPU, counts for neither side.
    """

    def __init__(self) -> None:
        self.last: dict[str, float] = {}
        self._hears: list[asyncio.Task[None]] = []

    def watch(self, machine: QemuMachine) -> None:
        """Take note of what `machine` says from now on."""
        events = EventListener(("STOP", "RESUME"))
        machine.qmp._client.register_listener(events)
        self._hears.append(asyncio.create_task(self._hear(events)))

    async def _hear(self, events: EventListener) -> None:
        async for said in events:
            at = said["timestamp"]
            assert isinstance(at, dict), "QMP's specification says so"
            self.last[str(said["event"])] = at["seconds"] + at["microseconds"] / 1e6

    async def of_a_move(self, asked: float, begin: float) -> tuple[float, float]:
        """Milliseconds from STOP to RESUME, and from `begin` to RESUME, of a move that was
        `asked` for then."""
        deadline = time.monotonic() + SECONDS
        while self.last.get("STOP", 0) < asked or self.last.get("RESUME", 0) < begin:
            if time.monotonic() > deadline:
                raise SystemExit("the machine did not go on")
            await asyncio.sleep(0.001)
        gone_on = self.last["RESUME"]
        return (gone_on - self.last["STOP"]) * 1000, (gone_on - begin) * 1000


class Stock:
    """A QEMU without hpcore, carried as its manual says; the destination goes on by itself."""

    def __init__(self, guest: FetchedGuest) -> None:
        self._guest, self.times = guest, Times()

    async def boot(self) -> None:
        """Its Linux has a shell."""
        self.machine, _ = await self._start()
        assert self.machine.console is not None
        self.shell = Shell(self.machine.console)
        await self.shell.wait_ready(SECONDS * 5)

    async def migrate(self) -> tuple[float, float]:
        """As `Times.of_a_move`."""
        here = self.machine
        there, path = await self._start(incoming=True)
        states = [{"capability": name, "state": True} for name in ("events", "return-path")]
        for machine in (here, there):
            await machine.qmp.execute("migrate-set-capabilities", {"capabilities": states})
            machine.migration.begin()
        await here.qmp.execute("migrate-set-parameters", {"max-bandwidth": BANDWIDTH})
        await there.qmp.execute("migrate-incoming", {"uri": f"unix:{path}"})
        begin = time.time()
        await here.qmp.execute("migrate", {"uri": f"unix:{path}"})
        await there.migration.until("completed", SECONDS)
        took = await self.times.of_a_move(begin, begin)
        assert there.console is not None
        self.machine, self.shell = there, Shell(there.console)
        await here.quit()
        await here.close()
        return took

    async def _start(self, *, incoming: bool = False) -> tuple[QemuMachine, Path]:
        with directory_of_a_start() as directory:
            argv = [
                str(find_qemu().path), "-no-user-config", "-nodefaults", "-display", "none",
                "-machine", "virt,gic-version=3", "-accel", "tcg,thread=multi",
                "-cpu", CONFIG.cpu_model, "-smp", str(CONFIG.possible), "-m", f"{CONFIG.memory}M",
                *socket_chardev("console", directory / "console"), "-serial", "chardev:console",
                *qmp_monitor(directory / "qmp"),
                "-kernel", str(self._guest.kernel), "-initrd", str(self._guest.initramfs()),
                "-append", "console=ttyAMA0 panic=-1 maxcpus=2",
                *(["-incoming", "defer"] if incoming else []),
            ]  # fmt: skip
            machine = QemuMachine(await QemuProcess.start(argv, directory), Told())
            await machine.connect(directory / "qmp", directory / "console")
        self.times.watch(machine)
        return machine, directory / "incoming"


async def ours(machine: LiveMachine, times: Times, *, live: bool) -> tuple[float, float]:
    """Carry hpcore's machine; as `Times.of_a_move`, from QEMU's `migrate` on."""
    session = machine._c.session
    assert isinstance(session, TcgSession) and session._elsewhere is not None
    elsewhere, here = session._elsewhere, session._running()
    execute = here.qmp.execute
    asked, began = time.time(), list[float]()

    async def begin() -> TcgMachine:
        there = await elsewhere.begin()
        times.watch(there)
        return there

    async def executed(
        command: str, arguments: Mapping[str, object] | None = None, seconds: float = SECONDS
    ) -> object:
        if command == "migrate":
            began.append(time.time())
        return await execute(command, arguments, seconds)

    here.qmp.execute = executed  # type: ignore[method-assign]
    session._elsewhere = attrs.evolve(elsewhere, begin=begin, live=live or elsewhere.live)
    await machine.migrate()
    session._elsewhere = elsewhere
    return await times.of_a_move(asked, began[0])


async def measure(repeats: int, live: bool, people: Console) -> None:
    """The table."""
    guest = fetched_guest()
    if guest is None:
        raise SystemExit("there is no guest to boot; run `hpcore guest fetch` first")
    images = GuestImages(guest.kernel, guest.initramfs())
    stock = Stock(guest)
    await stock.boot()
    with tempfile.TemporaryDirectory() as work:
        async with open_machine(find("tcg"), CONFIG, images, log=f"{work}/log.jsonl") as machine:
            await machine.boot()
            times = Times()
            assert isinstance(machine._c.session, TcgSession)
            times.watch(machine._c.session._running())
            for what in ("idle", "rewrites 64 MiB"):
                if what != "idle":
                    for shell in (stock.shell, machine.guest._shell):  # type: ignore[attr-defined]
                        await shell.run(DIRTY)
                found: dict[str, list[tuple[float, float]]] = {"hpcore": [], "stock": []}
                for _ in range(repeats):
                    await stock.machine.qmp.execute("stop")
                    found["hpcore"].append(await ours(machine, times, live=live))
                    await machine.pause()
                    await stock.machine.qmp.execute("cont")
                    found["stock"].append(await stock.migrate())
                    await machine.resume()
                load = ", ".join(f"{one:.0f}" for one in os.getloadavg())
                people.print(_table(what, found), f"load {load}", sep="\n")
    await stock.machine.close()


def _table(what: str, found: Mapping[str, list[tuple[float, float]]]) -> Table:
    table = Table(f"ms, {what}", "hpcore", "stock", "ratio", box=None, pad_edge=False)
    for at, name in enumerate(("STOP to RESUME", "migrate to RESUME")):
        samples = [[pair[at] for pair in found[who]] for who in ("hpcore", "stock")]
        middle = [statistics.median(values) for values in samples]
        cells = (
            f"{m:.1f} ({min(v):.1f} to {max(v):.1f})" for m, v in zip(middle, samples, strict=True)
        )
        table.add_row(name, *cells, f"{middle[0] / middle[1]:.2f}")
    return table


@click.command()
@click.option("--repeats", type=click.IntRange(min=1), default=7, show_default=True)
@click.option("--live", is_flag=True, help="Carry live also on a QEMU before 9.0.")
def main(repeats: int, live: bool) -> None:
    """Measure, and print the medians with the least and the most."""
    set_up_diagnostics()
    asyncio.run(measure(repeats, live, Console(file=sys.stderr)))


if __name__ == "__main__":
    main()
