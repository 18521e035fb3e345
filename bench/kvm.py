"""The KVM accelerator: what parked vCPUs save at start-up, and what an exit costs.

    python -m bench.kvm [--repeats 5]

Each measurement is a process of its own, the sizes interleaved. Where the machine has no
arm64 KVM they run in a nested guest, QEMU emulating EL2: there the times are TCG's, and
the ratios are what counts. Exits with 1 if realizing 1 of N is not 20 times cheaper.
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

SIZES = (64, 128)
WANTED = 20.0
PEERS = (
    "QEMU's research branch, TCG, 1 of 128 beside 128 of 128: start 51 and 251 ms (4.9 times), "
    "RSS 48 and 116 MB (2.4 times); its slides, KVM on a Kunpeng 920, to kernel load: "
    "120 and 410 ms (3.4 times)"
)
NESTED_SECONDS = 900.0
SAMPLE_SECONDS = 240

Sample = dict[str, Any]


@click.command()
@click.option("--repeats", default=5, show_default=True, help="Processes of each kind.")
@click.option("--cpu", default="max", show_default=True, help="Of the nested machine.")
@click.option("--out", type=click.Path(path_type=Path), help="Here and now; the result there.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON, too.")
def main(repeats: int, cpu: str, out: Path | None, as_json: bool) -> None:
    """Measure where a KVM is, and report."""
    set_up_diagnostics()
    if out is not None:
        out.write_bytes(orjson.dumps(measure(repeats)))
        return
    with tempfile.TemporaryDirectory() as directory:
        result = _elsewhere(Path(directory), repeats, cpu)
    good = report(Console(stderr=as_json), result)
    if as_json:
        print(orjson.dumps(result).decode())
    sys.exit(0 if good else 1)


def _elsewhere(directory: Path, repeats: int, cpu: str) -> Sample:
    words = ("python3", "-m", "bench.kvm", "--repeats", str(repeats), "--out")
    if has_kvm():
        path = directory / "kvm.json"
        subprocess.run([sys.executable, *words[1:], str(path)], check=True)
    else:
        ended = run(
            (*words, "/out/kvm.json"), directory, machine=NestedMachine(cpu=cpu),
            seconds=NESTED_SECONDS, progress=lambda text: click.echo(f"-- {text}", err=True),
        )  # fmt: skip
        if ended.status:
            raise click.ClickException(f"it failed in L1:\n{ended.output}")
        path = next(file for file in ended.files if file.name == "kvm.json")
    found: Sample = orjson.loads(path.read_bytes())
    return found


def measure(repeats: int) -> Sample:
    """All samples, taken here."""
    starts = []
    for _ in range(repeats):
        for possible in SIZES:
            for realized in (1, possible):
                starts.append(_sample("start", str(possible), str(realized)))
    return {"starts": starts, "exits": [_sample("exits") for _ in range(min(repeats, 3))]}


def _sample(*arguments: str) -> Sample:
    done = subprocess.run(
        [sys.executable, "-m", "bench.kvm_sample", *arguments],
        capture_output=True, text=True, timeout=SAMPLE_SECONDS, check=False,
    )  # fmt: skip
    if done.returncode:
        raise click.ClickException(f"{' '.join(arguments)} failed:\n{done.stderr}")
    found: Sample = orjson.loads(done.stdout.splitlines()[-1])
    return found


def report(people: Console, result: Sample) -> bool:
    """Print the tables; whether parking saves what it should."""
    good = True
    for possible in SIZES:
        one, every = (_of(result["starts"], possible, k) for k in (1, possible))
        table = Table(
            f"of {possible} possible", "1 realized", f"{possible} realized", "times",
            box=None, pad_edge=False,
        )  # fmt: skip
        for what, name, scale, digits in (
            ("start-up in all, ms", "start", 1e3, 1),
            ("  all vCPUs and the VGIC, ms", "create", 1e3, 1),
            ("  realization, ms", "realize", 1e3, 1),
            ("    reset and thread, ms", "thread", 1e3, 1),
            ("    GICC, enabled, ms", "enable", 1e3, 1),
            ("    to the first exit, ms", "run", 1e3, 1),
            ("memory of the process more, KiB", "rss", 1, 0),
            ("memory of the machine less, KiB", "used", 1, 0),
            ("threads more", "threads", 1, 0),
            ("files more", "files", 1, 0),
        ):
            low, high = one[name] * scale, every[name] * scale
            times = f"{high / low:.1f}" if low > 0 else ""
            table.add_row(what, f"{low:.{digits}f}", f"{high:.{digits}f}", times)
        people.print(table)
        people.print()
        good = good and every["realize"] >= WANTED * one["realize"]
    table = Table("exits", "a second", "microseconds", box=None, pad_edge=False)
    for name in result["exits"][0]:
        rate = max(sample[name] for sample in result["exits"])
        table.add_row(name, f"{rate:,.0f}", f"{1e6 / rate:.0f}")
    people.print(table)
    people.print(PEERS, style="dim")
    return good


def _of(starts: list[Sample], possible: int, realized: int) -> dict[str, float]:
    """The least times of one kind of sample, as what else runs only adds; medians of sizes."""
    mine = [s for s in starts if (s["possible"], s["realized"]) == (possible, realized)]
    found = {
        name: min(s[name] for s in mine)
        for name in ("start", "create", "realize", "thread", "enable", "run")
    }
    for name in ("rss", "threads", "files"):
        found[name] = statistics.median(s["running"][name] - s["before"][name] for s in mine)
    found["used"] = statistics.median(s["before"]["free"] - s["running"]["free"] for s in mine)
    return found


if __name__ == "__main__":
    main()
