"""What a migration costs on our VMM: how long the guest stands still, beside a stock QEMU's.

    python -m bench.kvm_migration [--repeats 7] [--qemu 10]

Both machines run on the same KVM, in turns: each is stopped while the other is carried. The stock
one is QEMU's `virt` with `-accel kvm` and the same kernel. Where the machine has no arm64 KVM they
run in a nested guest, QEMU emulating EL2: there the times are TCG's, and the ratios are what
counts.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs
import click
from hpcore_kvm import saved
from hpcore_kvm.precopy import Precopy
from hpcore_kvm.session import KvmSession
from qemu.qmp import EventListener
from rich.console import Console
from rich.table import Table

from hpcore.cli.diagnostics import set_up_diagnostics
from hpcore.guest.errors import GuestError
from hpcore.guest.images import FetchedGuest, fetch_guest
from hpcore.guest.shell import Shell
from hpcore.model.config import MachineConfig
from hpcore.qemu.arguments import qmp_monitor, socket_chardev
from hpcore.qemu.console import SocketConsole
from hpcore.qemu.find import find_qemu
from hpcore.qemu.migration import over
from hpcore.qemu.process import QemuProcess
from hpcore.qemu.qmp import Qmp
from hpcore.qemu.runtime_directory import runtime_directory
from hpcore.run.accelerator import GuestImages
from hpcore.run.discovery import find
from hpcore.run.machine import LiveMachine
from hpcore.run.open import open_machine
from tests.conftest import has_kvm
from tests.nested.machine import NestedMachine, run
from tests.nested.qemu import SERIES

CONFIG = MachineConfig.of(cpus=2, maxcpus=4, memory=512)
SECONDS = 300.0
NESTED_SECONDS = 1800.0
BANDWIDTH = 1 << 60
"""As much as the socket takes."""

DIRTY = (
    "dd if=/dev/urandom of=/tmp/x bs=1M count=16 2>/dev/null; "
    "sh -c 'while :; do dd if=/tmp/x of=/tmp/y bs=64k conv=notrunc 2>/dev/null; done' & sleep 0.2"
)
"""Has the guest rewrite 16 MiB without end."""

CHECK = "sleep 0.1"
"""What a guest must still be able to do, timers and all."""

IDLE, BUSY = "idle", "rewrites 16 MiB"
GUEST_SECONDS = 100.0

OURS, STOCK = "kvm", "QEMU"
Sample = dict[str, float]


class Stock:
    """A QEMU without hpcore, carried as its manual says; the destination goes on by itself."""

    def __init__(self, guest: FetchedGuest) -> None:
        self._guest = guest

    async def boot(self) -> None:
        """Its Linux has a shell."""
        self._here = await self._start()
        self.shell = Shell(self._here.console)
        await self.shell.wait_ready(SECONDS)

    async def command(self, name: str) -> None:
        """A QMP command without arguments."""
        await self._here.qmp.execute(name)

    async def migrate(self) -> Sample:
        """How it went, by QEMU's own clock."""
        here, there = self._here, await self._start("-incoming", "defer")
        states = [{"capability": name, "state": True} for name in ("events", "return-path")]
        for side in (here, there):
            await side.qmp.execute("migrate-set-capabilities", {"capabilities": states})
        await here.qmp.execute("migrate-set-parameters", {"max-bandwidth": BANDWIDTH})
        address = {"uri": f"unix:{there.directory / 'incoming'}"}
        await there.qmp.execute("migrate-incoming", address)
        here.events.clear()  # of the pauses before
        began = time.time()
        await here.qmp.execute("migrate", address)
        gone_on = await there.said("RESUME")
        stopped = await here.said("STOP")
        how = await over(here.qmp)  # which may be after RESUME elsewhere
        found: Any = await here.qmp.execute("query-migrate")
        if how != "completed":
            raise SystemExit(f"the stock QEMU was not carried: {found}")
        await here.end()
        self._here, self.shell = there, Shell(there.console)
        return {
            "stood": gone_on - stopped, "in all": gone_on - began,
            "sent": found["ram"]["transferred"], "rounds": found["ram"]["dirty-sync-count"],
        }  # fmt: skip

    async def close(self) -> None:
        """End it."""
        await self._here.end()

    async def _start(self, *more: str) -> Qemu:
        directory = runtime_directory()
        argv = [
            str(find_qemu().path), "-no-user-config", "-nodefaults", "-display", "none",
            "-machine", "virt,gic-version=3", "-accel", "kvm", "-cpu", "host",
            "-smp", str(CONFIG.possible), "-m", f"{CONFIG.memory}M",
            *socket_chardev("console", directory / "console"), "-serial", "chardev:console",
            *qmp_monitor(directory / "qmp"),
            "-kernel", str(self._guest.kernel), "-initrd", str(self._guest.initramfs()),
            "-append", f"console=ttyAMA0 panic=-1 quiet maxcpus={CONFIG.topology.cpus}", *more,
        ]  # fmt: skip
        process = await QemuProcess.start(argv, directory)
        qmp = await Qmp.connect(process, directory / "qmp", lambda *_: None)
        console = SocketConsole(*await process.connect(directory / "console"))
        events = EventListener(("STOP", "RESUME"))
        qmp._client.register_listener(events)
        return Qemu(process, directory, qmp, console, events)


@attrs.frozen
class Qemu:
    """One process of the stock machine's."""

    process: QemuProcess
    directory: Path
    qmp: Qmp
    console: SocketConsole
    events: EventListener

    async def said(self, name: str) -> float:
        """When QEMU has said so, by its own clock: the first time that was not heard yet."""
        async with asyncio.timeout(SECONDS):
            while True:
                event = await self.events.get()
                if event["event"] == name:
                    at: Any = event["timestamp"]
                    return float(at["seconds"] + at["microseconds"] / 1e6)

    async def end(self) -> None:
        """End it, its connections first."""
        await self.qmp.close()
        await self.console.close()
        await self.process.close()


async def ours(machine: LiveMachine) -> Sample:
    """Carry our machine; what the guest stood still for, in parts."""
    session = machine._c.session
    assert isinstance(session, KvmSession)
    parts: Sample = {}
    with timed(Precopy, "finish", parts, "last pages"), timed(saved, "carry", parts, "state"):
        began = time.perf_counter()
        await machine.migrate()
        took = time.perf_counter() - began
    moved = session.moved
    assert moved is not None
    return {
        "stood": moved.stood, "in all": took, "sent": moved.sent, "rounds": moved.rounds, **parts
    }  # fmt: skip


@contextmanager
def timed(where: Any, name: str, into: Sample, what: str) -> Iterator[None]:
    """Note in `into` how long a call of `where.name` takes."""
    real: Callable[..., object] = getattr(where, name)

    def measured(*arguments: object) -> object:
        began = time.perf_counter()
        try:
            return real(*arguments)
        finally:
            into[what] = time.perf_counter() - began

    setattr(where, name, measured)
    try:
        yield
    finally:
        setattr(where, name, real)


async def goes_on(who: str, shell: Shell, line: str) -> None:
    """Have a guest run `line`; ends the measurement where it does not."""
    try:
        await shell.run(line, GUEST_SECONDS)
    except GuestError as error:
        raise SystemExit(f"the guest of {who} does not go on: {error}") from error


async def measure(repeats: int, whats: tuple[str, ...], people: Console) -> None:
    """The tables."""
    guest = fetch_guest()
    images = GuestImages(guest.kernel, guest.initramfs())
    stock = Stock(guest)
    await stock.boot()
    with tempfile.TemporaryDirectory() as work:
        async with open_machine(find("kvm"), CONFIG, images, log=f"{work}/log.jsonl") as machine:
            await machine.boot()
            mine = machine.guest._shell  # type: ignore[attr-defined]
            for what in whats:
                if what != IDLE:
                    await goes_on(OURS, mine, DIRTY)
                    await goes_on(STOCK, stock.shell, DIRTY)
                samples: dict[str, list[Sample]] = {OURS: [], STOCK: []}
                try:
                    for _ in range(repeats):
                        await stock.command("stop")
                        samples[OURS].append(await ours(machine))
                        await goes_on(OURS, mine, CHECK)
                        await machine.pause()
                        await stock.command("cont")
                        samples[STOCK].append(await stock.migrate())
                        await goes_on(STOCK, stock.shell, CHECK)
                        await machine.resume()
                finally:
                    load = f"load {os.getloadavg()[0]:.0f}"
                    moves = " and ".join(f"{len(samples[who])} moves of {who}" for who in samples)
                    people.print(_table(what, samples), f"{moves}, {load}", sep="\n")
    await stock.close()


def _table(what: str, samples: dict[str, list[Sample]]) -> Table:
    table = Table(what, OURS, STOCK, "times", box=None, pad_edge=False)
    for says, name, scale, digits in (
        ("the guest stands still, ms", "stood", 1e3, 1), ("  of that the last pages", "last pages",
        1e3, 1), ("  of that all else", "state", 1e3, 1), ("in all, ms", "in all", 1e3, 0),
        ("sent, MiB", "sent", 1 / (1 << 20), 1), ("rounds", "rounds", 1, 0),
    ):  # fmt: skip
        cells, middle = [], []
        for who in (OURS, STOCK):
            values = [sample[name] * scale for sample in samples[who] if name in sample]
            if values:
                middle.append(statistics.median(values))
                spread = f"{min(values):.{digits}f} to {max(values):.{digits}f}"
                cells.append(f"{middle[-1]:.{digits}f} ({spread})")
        times = f"{middle[0] / middle[1]:.2f}" if len(middle) == 2 else ""
        table.add_row(says, *cells, *[""] * (2 - len(cells)), times)
    return table


@click.command()
@click.option("--repeats", type=click.IntRange(min=1), default=7, show_default=True)
@click.option("--qemu", "series", type=click.Choice(list(SERIES)), default="7.2",
              show_default=True, help="Of the nested machine.")  # fmt: skip
@click.option("--only", type=click.Choice([IDLE, BUSY]), help="Leave the other guest out.")
def main(repeats: int, series: str, only: str | None) -> None:
    """Measure where a KVM is, and print the medians with the least and the most."""
    set_up_diagnostics()
    if has_kvm():
        whats = (IDLE, BUSY) if only is None else (only,)
        asyncio.run(measure(repeats, whats, Console(width=120)))
        return
    words: tuple[str, ...] = ("python3", "-m", "bench.kvm_migration", "--repeats", str(repeats))
    if only is not None:
        words += ("--only", only)
    with tempfile.TemporaryDirectory() as directory:
        ended = run(
            words, Path(directory), machine=NestedMachine(qemu=series), seconds=NESTED_SECONDS,
            hear=lambda text: click.echo(text, nl=False),
        )  # fmt: skip
    sys.exit(ended.status)


if __name__ == "__main__":
    main()
