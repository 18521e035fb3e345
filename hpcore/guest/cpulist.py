"""The kernel's lists of CPUs, "0-3,5" (lib/bitmap-str.c, bitmap_parselist)."""

from __future__ import annotations

import re
from collections.abc import Iterable

HIGHEST = 8191
"""The largest NR_CPUS of any architecture, less one (arch/*/Kconfig)."""


def parse_cpu_list(text: str) -> frozenset[int]:
    """The CPUs that `text` names; none for an empty text. Raises ValueError for another form."""
    cpus: set[int] = set()
    for part in text.strip().split(",") if text.strip() else []:
        match = re.fullmatch(r"(\d+)(?:-(\d+))?", part)
        if match is None or (match[2] is not None and int(match[2]) < int(match[1])):
            raise ValueError(f"{part!r} in {text!r} is no CPU or range of CPUs such as 3 or 0-3")
        first, last = int(match[1]), int(match[2] or match[1])
        if last > HIGHEST:
            raise ValueError(f"{part!r} goes beyond {HIGHEST}, the highest CPU that Linux can have")
        cpus.update(range(first, last + 1))
    return frozenset(cpus)


def format_cpu_list(cpus: Iterable[int]) -> str:
    """`cpus` as the kernel prints them: sorted, neighbours joined, empty for none."""
    parts: list[list[int]] = []
    for cpu in sorted(set(cpus)):
        if parts and parts[-1][1] == cpu - 1:
            parts[-1][1] = cpu
        else:
            parts.append([cpu, cpu])
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in parts)
