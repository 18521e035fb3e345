"""How much memory there is, how much was used, and how much a search will want."""

from __future__ import annotations

import resource
from pathlib import Path


def peak() -> int:
    """The most memory that this process has had, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def available() -> int:
    """The memory that a new search could have, in bytes, by Linux's own estimate."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return 1 << 62
    for line in lines:
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return 1 << 62


def human(size: float) -> str:
    """Bytes in words: `1.5 GiB`."""
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if size < 1024 or unit == "TiB":
            return f"{size:.1f} {unit}" if unit not in ("B",) else f"{size:.0f} B"
        size /= 1024
    raise AssertionError
