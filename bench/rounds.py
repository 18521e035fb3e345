"""What rounds of plugs and unplugs cost: how long they take, and what they leave behind."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path

from attrs import frozen
from rich.console import Console
from rich.table import Table

PEER_MS = {"plug to registered": 51.0, "unplug to ejected": 132.0}
"""Medians of the research branch under TCG (device_add to enabled, device_del to deleted)."""


@frozen
class Use:
    """What a process holds: resident memory in KiB, threads, open file descriptors."""

    memory: int
    threads: int
    files: int

    @classmethod
    def of(cls, pid: int) -> Use:
        """Read it from /proc."""
        status = dict(
            line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines()
        )
        files = len(list(Path(f"/proc/{pid}/fd").iterdir()))
        return cls(int(status["VmRSS"].split()[0]), int(status["Threads"]), files)


def report(
    people: Console,
    latencies: Mapping[str, Sequence[float]],
    samples: Sequence[tuple[Use, Use]],
) -> None:
    """Print the latencies, given in seconds, and what was held in the first and last round.

    A sample is what QEMU holds after a round, and what hpcore's process does.
    """
    table = Table("ms", "min", "median", "max", "research branch", box=None, pad_edge=False)
    for name, values in latencies.items():
        if values:
            ms = [v * 1000 for v in values]
            peer = f"{PEER_MS[name]:.0f}" if name in PEER_MS else ""
            cells = (f"{x:.1f}" for x in (min(ms), statistics.median(ms), max(ms)))
            table.add_row(name, *cells, peer)
    people.print(table)
    if not samples:
        return
    held = Table("", "memory KiB", "threads", "files", box=None, pad_edge=False)
    for name, which in (("QEMU", 0), ("hpcore", 1)):
        for label, at in (("first", 0), ("middle", len(samples) // 2), ("last", -1)):
            use = samples[at][which]
            row = (str(use.memory), str(use.threads), str(use.files))
            held.add_row(f"{name}, {label} round", *row)
    people.print(held)
