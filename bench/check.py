"""The checker beside SPIN and TLC: one protocol, whole processes, time and memory.

    python -m bench.check [--repeats 3] [--long-repeats 1] [--only larger] [--with-tlc]

All of them explore the same states, which is checked: the models in specs/ and
`hpcore check` with the same options. Repeats are interleaved, medians are printed: of the
processors' time, user and system, and of the clock's, which on a machine with other work is
another figure. SPIN's verifier is compiled beforehand, which is not counted. TLC takes minutes,
so it is measured when asked for alone; at the larger size with `--long-repeats`, as SPIN is.
"""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import click
import orjson
from attrs import field, frozen
from rich.console import Console
from rich.table import Table

from tests.specs.tools import (
    SPECS,
    read_spin_states,
    read_tlc_states,
    tlc_command,
    write_tlc_config,
)

SIZES = {"smaller": (3, 1), "larger": (4, 0)}
"""Slots and faults; the second has 16 million states, and SPIN takes some 3 GiB for it."""

HASH_BITS = 26
"""Of SPIN's hash table: large enough for the larger size, so that it is not slowed down."""

DEPTH = 20_000_000
"""Of SPIN's search: with 2,500,000 that of the larger size is cut short."""


@frozen
class Run:
    """One process: the processors' and the clock's seconds, peak memory in MiB, its states."""

    cpu: float
    seconds: float
    memory: float
    states: int


@frozen
class Contender:
    """A command, and how its output says how many states it has explored."""

    name: str
    command: list[str]
    states: Callable[[str], int]
    cwd: Path | None = None
    long: bool = False
    """Whether it takes minutes at the larger size."""
    runs: list[Run] = field(factory=list)


def measure(contender: Contender) -> Run:
    """Run the command once."""
    began = time.monotonic()
    with tempfile.TemporaryFile("w+") as out:
        process = subprocess.Popen(
            contender.command, stdout=out, stderr=subprocess.STDOUT, cwd=contender.cwd
        )
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.monotonic() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        text = out.read()
    if process.returncode != 0:
        sys.exit(f"{contender.name} ended with {process.returncode}:\n{text[-2000:]}")
    cpu = usage.ru_utime + usage.ru_stime
    return Run(cpu, seconds, usage.ru_maxrss / 1024, contender.states(text))


def _json_states(text: str) -> int:
    return int(orjson.loads(text.strip().splitlines()[-1])["states"])


def _spin(work: Path, slots: int, faults: int, name: str, *flags: str) -> Contender:
    place = work / f"{name}-{slots}-{faults}".replace(" ", "-")
    place.mkdir()
    model = SPECS / "vcpu_hotplug.pml"
    subprocess.run(
        ["spin", "-a", f"-DN={slots}", f"-DFAULTS={faults}", str(model)],
        cwd=place, check=True, capture_output=True,
    )  # fmt: skip
    subprocess.run(
        ["gcc", "-O2", "-DSAFETY", "-w", *flags, "-o", "pan", "pan.c"], cwd=place, check=True
    )
    command = [str(place / "pan"), f"-m{DEPTH}", f"-w{HASH_BITS}"]
    return Contender(name, command, read_spin_states, place, long=True)


def _hpcore(slots: int, faults: int, engine: str) -> Contender:
    binary = shutil.which("hpcore", path=str(Path(sys.executable).parent)) or "hpcore"
    command = [
        binary, "check", "--slots", str(slots), "--boot", "1", "--guest", "hostile",
        "--faults", str(faults), "--no-power-off", "--power-on", "--engine", engine, "--json",
    ]  # fmt: skip
    return Contender(f"hpcore {engine}", command, _json_states, long=engine == "explicit")


def contenders(work: Path, slots: int, faults: int, with_tlc: bool) -> list[Contender]:
    """All of them, for one size."""
    out = [
        _hpcore(slots, faults, "symbolic"),
        _hpcore(slots, faults, "explicit"),
        _spin(work, slots, faults, "SPIN -O2 -DSAFETY"),
        _spin(work, slots, faults, "SPIN collapse", "-DCOLLAPSE"),
    ]
    if with_tlc:
        place = work / f"tlc-{slots}-{faults}"
        place.mkdir()
        write_tlc_config(place, slots, faults)
        out.append(
            Contender("TLC, 2 workers", tlc_command(place), read_tlc_states, place, long=True)
        )
    return out


@click.command()
@click.option("--repeats", default=3, show_default=True)
@click.option("--long-repeats", type=int, help="Of what takes minutes at the larger size.")
@click.option("--only", type=click.Choice(list(SIZES)), help="Measure this size alone.")
@click.option("--with-tlc", is_flag=True, help="TLC as well: minutes a size.")
def main(repeats: int, long_repeats: int | None, only: str | None, with_tlc: bool) -> None:
    """Measure both sizes."""
    people = Console(width=100)
    with tempfile.TemporaryDirectory() as folder:
        for name, (slots, faults) in SIZES.items():
            if only not in (None, name):
                continue
            most = repeats if name == "smaller" or long_repeats is None else long_repeats
            field_of = contenders(Path(folder), slots, faults, with_tlc)
            for repeat in range(repeats):
                for one in field_of:
                    if not one.long or repeat < most:
                        one.runs.append(measure(one))
                        people.print(f"{one.name}: {one.runs[-1]}, load {os.getloadavg()[0]:.1f}")
            counts = {run.states for one in field_of for run in one.runs}
            if len(counts) != 1:
                sys.exit(f"they do not agree on the states: {counts}")
            people.print(_table(field_of, slots, faults, counts.pop()))


def _table(field_of: list[Contender], slots: int, faults: int, states: int) -> Table:
    title = f"{slots} slots, {faults} faults: {states:,} states"
    table = Table(
        "", "runs", "CPU s", "times symbolic", "seconds", "times symbolic", "MiB",
        title=title, box=None, pad_edge=False,
    )  # fmt: skip
    first = field_of[0].runs
    best = statistics.median(r.cpu for r in first)
    soonest = statistics.median(r.seconds for r in first)
    for one in field_of:
        cpu = statistics.median(r.cpu for r in one.runs)
        seconds = statistics.median(r.seconds for r in one.runs)
        memory = statistics.median(r.memory for r in one.runs)
        table.add_row(
            one.name, str(len(one.runs)), f"{cpu:.2f}", f"{cpu / best:.1f}",
            f"{seconds:.2f}", f"{seconds / soonest:.1f}", f"{memory:.0f}",
        )  # fmt: skip
    return table


if __name__ == "__main__":
    main()
