"""What the host's own kernel says to it: the same load with the interposer and without.

    python -m bench.kvm_qemu_host [--bursts 20] [--qemu 10] [--repeats 3]

vCPU 1 is called on and goes off, over and over, while QEMU is stopped and goes on at random. Both
vCPUs count their cycles, so that each of their threads has a perf event of KVM's, which the kernel
makes, takes off its CPU and ends at every one of these turns. Four kinds of machine take turns:
with the interposer and without, with a PMU and with `pmu=off`. Then the host's kernel log is looked
at: an oops or a warning is counted for the kind under which it came.

Where the machine has no arm64 KVM it runs in a nested guest, QEMU emulating EL2. Exits with 1
where the kernel complains.
"""

from __future__ import annotations

import asyncio
import re
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random

import click
from attrs import define, frozen
from hpcore_kvm.smccc import Function

from hpcore.cli.diagnostics import set_up_diagnostics
from tests.conftest import has_kvm
from tests.kvm_with_qemu import programs
from tests.kvm_with_qemu.by_hand import ByHand, begun, qemu
from tests.kvm_with_qemu.strings import Strings, mailbox
from tests.nested.machine import NestedMachine, run
from tests.nested.payload import COMPLAINTS
from tests.nested.qemu import SERIES
from tests.support.tools import run_tool

TARGET, VCPUS = 1, 2
BURST = 25
"""CPU_ONs, each with a CPU_OFF."""
APART, STOPPED = 0.1, 0.02
"""Seconds between two stops, and of one, at most."""
NESTED_SECONDS = 3 * 3600.0


@frozen
class Kind:
    """A kind of machine."""

    interposer: bool
    pmu: bool

    @property
    def name(self) -> str:
        """For people."""
        qemu_has = "interposer" if self.interposer else "QEMU alone"
        return f"{qemu_has}, pmu={'on' if self.pmu else 'off'}"


KINDS = tuple(Kind(interposer, pmu) for pmu in (True, False) for interposer in (False, True))


@define
class Done:
    """What was done on machines of one kind, and what the kernel said meanwhile."""

    machines: int = 0
    calls: int = 0
    stops: int = 0
    seconds: float = 0.0
    complaints: int = 0


@click.command()
@click.option("--bursts", default=20, show_default=True, help=f"Of {BURST} CPU_ONs, a machine.")
@click.option("--repeats", default=3, show_default=True, help="Machines of each kind.")
@click.option("--seed", default=1, show_default=True)
@click.option("--qemu", "series", type=click.Choice(list(SERIES)), default="10",
              show_default=True, help="Of the nested machine.")  # fmt: skip
def main(bursts: int, repeats: int, seed: int, series: str) -> None:
    """Do it where a KVM is, and report."""
    set_up_diagnostics()
    if not has_kvm():
        words = ("python3", "-m", "bench.kvm_qemu_host", "--bursts", str(bursts),
                 "--repeats", str(repeats), "--seed", str(seed))  # fmt: skip
        with tempfile.TemporaryDirectory() as directory:
            ended = run(
                words, Path(directory), machine=NestedMachine(qemu=series),
                seconds=NESTED_SECONDS, hear=lambda text: click.echo(text, nl=False),
            )  # fmt: skip
        click.echo(ended.complaints)
        sys.exit(1 if ended.complaints else ended.status)
    done = {kind: Done() for kind in KINDS}
    before = complaints()
    for number in range(repeats):
        for kind in KINDS:
            asyncio.run(load(kind, done[kind], bursts, Random(seed + number)))
            said = complaints()
            done[kind].complaints += len(said) - len(before)
            before = said
            click.echo(f"{kind.name}: {done[kind]}")
    sys.exit(1 if any(each.complaints for each in done.values()) else 0)


async def load(kind: Kind, done: Done, bursts: int, dice: Random) -> None:
    """One machine of that kind, and its bursts."""
    began = time.monotonic()
    async with started(kind) as (made, guest):
        for _ in range(bursts):
            entry = programs.COUNTED_ENTRY if kind.pmu else programs.ENTRY
            guest.send(
                programs.CHURN, Function.CPU_ON_64, TARGET, entry, mailbox(TARGET), BURST
            )
            burst = asyncio.create_task(guest.result())
            while not burst.done():
                await asyncio.wait({burst}, timeout=dice.uniform(0, APART))
                await made.command("stop")
                await asyncio.sleep(dice.uniform(0, STOPPED))
                await made.command("cont")
                done.stops += 1
            assert burst.result() == 0, f"{burst.result()} of {BURST} CPU_ONs failed"
            done.calls += BURST
    done.machines += 1
    done.seconds = round(done.seconds + time.monotonic() - began, 1)


@asynccontextmanager
async def started(kind: Kind) -> AsyncIterator[tuple[ByHand, Strings]]:
    """A machine whose guest obeys."""
    cpu = "host" if kind.pmu else "host,pmu=off"
    if kind.interposer:
        with tempfile.TemporaryDirectory() as directory:
            link = Path(directory) / "link"
            async with begun(
                link, TARGET, vcpus=VCPUS, cpu=cpu, counted=kind.pmu
            ) as (made, side, guest):
                await made.command("cont")
                await side.tell("run")
                await guest.echo()
                yield made, guest
        return
    async with qemu(None, vcpus=VCPUS, cpu=cpu, counted=kind.pmu) as made:
        guest = await made.connect()
        await made.command("cont")
        await guest.echo()
        yield made, guest


def complaints() -> list[str]:
    """What the kernel's log has of them."""
    return [line for line in run_tool("dmesg").splitlines() if re.search(COMPLAINTS, line)]


if __name__ == "__main__":
    main()
