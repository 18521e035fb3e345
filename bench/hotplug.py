r"""Rounds of plug, online and unplug in one guest: latencies, and what they leave behind.

    python -m bench.hotplug --rounds 200
    python -m tests.nested --qemu 10 --seconds 9000 -- \
        python3 -m bench.hotplug --accel kvm-qemu --rounds 500

Prints medians beside what QEMU's research branch measured on a machine of this kind, and
the memory, threads and file descriptors of QEMU and of this process at the start and the end.
Exits with 1 if a round failed.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import sys
import tempfile
from pathlib import Path

import click
import orjson
from attrs import asdict
from rich.console import Console

from bench.rounds import Use, report
from hpcore.cli.diagnostics import set_up_diagnostics
from hpcore.guest.images import fetch_guest
from hpcore.model.config import MachineConfig
from hpcore.run.accelerator import GuestImages
from hpcore.run.discovery import find
from hpcore.scenario import values as sc
from hpcore.scenario.play import StepResult
from hpcore.scenario.runner import Job, run_job
from hpcore.triage.replay import replay

WORK = "taskset 8 cut -d' ' -f39 /proc/self/stat"
"""A program on vCPU 3 alone, which says where it ran."""


def child_qemu() -> int:
    """The QEMU that this process has started."""
    for task in Path("/proc/self/task").iterdir():
        for pid in (task / "children").read_text().split():
            if "qemu" in Path(f"/proc/{pid}/comm").read_text():
                return int(pid)
    raise RuntimeError("no QEMU runs")


def rounds(count: int) -> sc.Scenario:
    """`count` rounds on the last of 4 vCPUs."""
    one = (
        sc.Line(sc.PlugStep("core3", {"core-id": 3}), 2, "plug core3"),
        sc.Line(sc.OnlineStep("core3"), 3, "online core3"),
        sc.Line(sc.ShellStep(WORK, "3"), 4, "work on it"),
        sc.Line(sc.UnplugStep("core3"), 5, "unplug core3"),
    )
    return sc.Scenario(
        "rounds", "", MachineConfig.of(cpus=2, maxcpus=4), "",
        (sc.Line(sc.BootStep(), 1, "boot"), sc.Line(sc.RepeatStep(count, one), 6, "rounds")),
    )  # fmt: skip


@click.command()
@click.option("--rounds", "count", default=200, show_default=True)
@click.option("--accel", default="tcg", show_default=True, help="One that starts a QEMU.")
@click.option("--json", "as_json", is_flag=True)
def main(count: int, accel: str, as_json: bool) -> None:
    """Measure COUNT rounds."""
    set_up_diagnostics()
    people = Console(stderr=as_json)
    guest = fetch_guest()
    samples: list[tuple[Use, Use]] = []

    def progress(line: sc.Line, result: StepResult | None) -> None:
        if result is not None and isinstance(line.step, sc.UnplugStep):
            samples.append((Use.of(child_qemu()), Use.of(os.getpid())))
            if len(samples) % 20 == 0:
                people.print(f"{len(samples)} rounds")

    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "rounds.jsonl"
        images = GuestImages(guest.kernel, guest.initramfs())
        job = Job(rounds(count), find(accel), images, log)
        outcome = asyncio.run(run_job(job, progress))
        verified = replay(log)
    ok = outcome.ok and verified.ok and len(samples) == count
    report(people, outcome.latencies.named, samples)
    if not ok:
        wrong = next((r.error for r in outcome.results if r.error), outcome.error)
        people.print(f"failed after {len(samples)} rounds: {wrong}", style="red")
    people.print(f"{verified.events} events logged; the log replays: {verified.ok}")
    if as_json:
        first, last = samples[0], samples[-1]
        print(orjson.dumps({
            "ok": ok, "rounds": len(samples), "events": verified.events,
            "medians_ms": {
                k: statistics.median(v) * 1000 for k, v in outcome.latencies.named.items()
            },
            "qemu": [asdict(first[0]), asdict(last[0])],
            "hpcore": [asdict(first[1]), asdict(last[1])],
        }).decode())  # fmt: skip
    sys.exit(0 if ok else 1)


if __name__ == "__main__":
    main()
