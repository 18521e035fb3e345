"""Threads only once CPU_ON comes: what the protocol `deferred` saves at start-up, and costs later.

    python -m bench.kvm_deferred [--repeats 7]

Machines of 8 and of 64 possible vCPUs, of which 1 boots, or all, by hpcore's own protocol and by
`deferred` in turns, each in a process of its own. Where the machine has no arm64 KVM they run in
a nested guest, QEMU emulating EL2: there the times are TCG's, and the ratios are what counts.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import click
import orjson
from rich.console import Console
from rich.table import Table

from hpcore.cli.diagnostics import set_up_diagnostics
from tests.conftest import has_kvm
from tests.nested.machine import NestedMachine, run

SIZES = (8, 64)
HOW = ("today", "deferred")
SAMPLE_SECONDS = 240
NESTED_SECONDS = 1800.0

Sample = dict[str, Any]


@click.command()
@click.option("--repeats", type=click.IntRange(min=1), default=7, show_default=True,
              help="Processes of each kind.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print the samples as JSON, too.")
def main(repeats: int, as_json: bool) -> None:
    """Measure where a KVM is, and print the medians with the least and the most."""
    set_up_diagnostics()
    if not has_kvm():
        words = ("python3", "-m", "bench.kvm_deferred", "--repeats", str(repeats))
        with tempfile.TemporaryDirectory() as directory:
            ended = run(
                words, Path(directory), machine=NestedMachine(), seconds=NESTED_SECONDS,
                hear=lambda text: click.echo(text, nl=False),
            )  # fmt: skip
        sys.exit(ended.status)
    kinds = [(n, k) for n in SIZES for k in (1, n)]
    samples: list[Sample] = []
    people = Console(stderr=as_json, width=120)
    try:
        for _ in range(repeats):
            for n, k in kinds:
                samples += [sample(n, k, how) for how in HOW]
    finally:  # also of fewer, where there was no time for all
        for n, k in kinds:
            mine = [s for s in samples if (s["possible"], s["realized"]) == (n, k)]
            if mine:
                people.print(table(mine), f"{len(mine) // 2} each\n", sep="\n")
        if as_json:
            click.echo(orjson.dumps(samples).decode())


def sample(possible: int, realized: int, how: str) -> Sample:
    """One machine, in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "bench.kvm_sample", "power", str(possible), str(realized), how],
        capture_output=True, text=True, timeout=SAMPLE_SECONDS, check=False,
    )  # fmt: skip
    if done.returncode:
        raise click.ClickException(done.stderr)
    found: Sample = orjson.loads(done.stdout.splitlines()[-1])
    for name, sign in (("rss", 1), ("threads", 1), ("free", -1)):
        for moment in ("started", "running"):
            found[f"{name} {moment}"] = sign * (found[moment][name] - found["before"][name])
    return found


def table(samples: list[Sample]) -> Table:
    """What one kind of machine costs, both ways."""
    one = samples[0]
    head = f"{one['realized']} of {one['possible']}"
    made = Table(head, *HOW, "times", box=None, pad_edge=False)
    for says, name, scale, digits in (
        ("start to vCPU 0's first exit, ms", "start", 1e3, 0),
        ("  all vCPUs and the VGIC, ms", "create", 1e3, 0),
        ("  what boots is built, ms", "build", 1e3, 1),
        ("  vCPU 0 is on, ms", "run", 1e3, 1),
        ("threads more by then", "threads started", 1, 0),
        ("memory of the process more, KiB", "rss started", 1, 0),
        ("memory of the host less, KiB", "free started", 1, 0),
        ("a plug of vCPU 1, ms", "plug", 1e3, 1),
        ("its first CPU_ON, ms", "first", 1e3, 1),
        ("its next CPU_ON, ms", "again", 1e3, 1),
        ("CPU_ON of all the others, ms", "rest", 1e3, 0),
        ("threads more at the end", "threads running", 1, 0),
        ("memory of the host less then, KiB", "free running", 1, 0),
    ):
        if (name == "plug" and one["realized"] > 1) or (name == "rest" and one["realized"] == 1):
            continue
        of = {how: [s[name] * scale for s in samples if s["how"] == how] for how in HOW}
        cells = [
            f"{statistics.median(v):.{digits}f} ({min(v):.{digits}f} to {max(v):.{digits}f})"
            for v in of.values()
        ]
        today, deferred = (statistics.median(v) for v in of.values())
        made.add_row(says, *cells, f"{deferred / today:.2f}" if today > 0 else "")
    return made


if __name__ == "__main__":
    main()
