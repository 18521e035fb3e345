"""What the interposer costs: plain QEMU, `kvm-qemu` and `kvm` in turns, with the same small guest.

    python -m bench.kvm_qemu_cost [--repeats 7] [--qemu 10]

Each sample is a machine of its own, of 1 vCPU that boots and 2 that can be plugged. Where the
machine has no arm64 KVM they run in a nested guest, QEMU emulating EL2: there the times are
TCG's, and the ratios are what counts.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import click
import orjson
from hpcore_kvm.smccc import Function
from rich.console import Console
from rich.table import Table

from hpcore.cli.diagnostics import set_up_diagnostics
from hpcore.platform import virt
from tests.conftest import has_kvm
from tests.kvm_with_qemu import programs
from tests.kvm_with_qemu.by_hand import qemu
from tests.kvm_with_qemu.puppet import Puppet, puppet
from tests.kvm_with_qemu.strings import Strings, mailbox
from tests.nested.machine import NestedMachine, run
from tests.nested.qemu import SERIES

STOCK = "QEMU alone"
KINDS = (STOCK, "kvm-qemu", "kvm")
VCPUS = 3
TARGET = 1
FLAGS = virt.UART0_BASE + 0x18
"""The serial line's UARTFR: a load of it is an exit that QEMU answers."""

LOADS = 4000
CALLS = 100
NESTED_SECONDS = 3600.0

Sample = dict[str, float]


@click.command()
@click.option("--repeats", default=7, show_default=True, help="Machines of each kind.")
@click.option("--qemu", "series", type=click.Choice(list(SERIES)), default="7.2",
              show_default=True, help="Of the nested machine.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print the samples as JSON, too.")
def main(repeats: int, series: str, as_json: bool) -> None:
    """Measure where a KVM is, and report."""
    set_up_diagnostics()
    if not has_kvm():
        words = ("python3", "-m", "bench.kvm_qemu_cost", "--repeats", str(repeats), "--json")
        with tempfile.TemporaryDirectory() as directory:
            ended = run(
                words, Path(directory), machine=NestedMachine(qemu=series),
                seconds=NESTED_SECONDS, hear=lambda text: click.echo(text, nl=False),
            )  # fmt: skip
        sys.exit(ended.status)
    samples: dict[str, list[Sample]] = {kind: [] for kind in KINDS}
    for _ in range(repeats):
        for kind in KINDS:
            samples[kind].append(asyncio.run(measured(kind)))
    report(Console(stderr=as_json), samples)
    if as_json:
        click.echo(orjson.dumps(samples).decode())


async def measured(kind: str) -> Sample:
    """One machine's life, in seconds, and in ticks of the guest's counter for a load."""
    with tempfile.TemporaryDirectory() as directory:
        began = time.perf_counter()
        if kind == STOCK:
            async with alone() as guest:
                return {"start": time.perf_counter() - began, **await common(guest)}
        async with puppet(Path(directory), 1, VCPUS, kind) as rig:
            await rig.boot()
            started = time.perf_counter() - began
            return {"start": started, **await plugged(rig)}


@asynccontextmanager
async def alone() -> AsyncIterator[Strings]:
    """Plain QEMU, whose guest has begun to obey."""
    async with qemu(None, vcpus=VCPUS) as made:
        guest = await made.connect()
        await made.command("cont")
        await guest.echo()
        yield guest


async def plugged(rig: Puppet) -> Sample:
    """What only a machine with hotplug has, around what all have."""
    began = time.perf_counter()
    await rig.plug(TARGET)
    plug = time.perf_counter() - began
    found = await common(rig)
    began = time.perf_counter()
    await rig.revoke(TARGET)
    return {"plug": plug, **found, "revoke": time.perf_counter() - began}


async def common(guest: Strings) -> Sample:
    """Loads of a device of QEMU's; a vCPU that is called on and goes off."""
    ticks = await guest.order(programs.LOADS, 0, FLAGS, LOADS)
    began = time.perf_counter()
    failed = await guest.order(
        programs.CHURN, Function.CPU_ON_64, TARGET, programs.ENTRY, mailbox(TARGET), CALLS
    )
    assert failed == 0, f"{failed} of {CALLS} CPU_ONs failed"
    return {"load": ticks / LOADS, "on and off": (time.perf_counter() - began) / CALLS}


def report(people: Console, samples: dict[str, list[Sample]]) -> None:
    """Medians, least and most, and the ratio to plain QEMU of the same round."""
    beside = [f"{kind} / {STOCK}" for kind in KINDS[1:]]
    table = Table("", *KINDS, *beside, box=None, pad_edge=False)
    for name, unit, scale in (
        ("start", "ms", 1e3), ("load", "ticks", 1), ("on and off", "ms", 1e3),
        ("plug", "ms", 1e3), ("revoke", "ms", 1e3),
    ):  # fmt: skip
        row = [f"{name}, {unit}"]
        for kind in KINDS:
            values = [sample[name] * scale for sample in samples[kind] if name in sample]
            row.append(_spread(values, 1) if values else "")
        for kind in KINDS[1:]:
            pairs = zip(samples[kind], samples[STOCK], strict=True)
            ratios = [mine[name] / stock[name] for mine, stock in pairs if name in stock]
            row.append(_spread(ratios, 2) if ratios else "")
        table.add_row(*row)
    people.print(table)


def _spread(values: list[float], digits: int) -> str:
    low, middle, high = min(values), statistics.median(values), max(values)
    return f"{middle:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


if __name__ == "__main__":
    main()
