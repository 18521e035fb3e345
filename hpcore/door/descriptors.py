"""The descriptors that a forked process has from its caller, and should not keep."""

from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import Path


def leave_standard_streams() -> None:
    """Have standard input, output and error go nowhere."""
    null = os.open(os.devnull, os.O_RDWR)
    for number in range(3):
        os.dup2(null, number)
    os.close(null)


def all_but(kept: Collection[int]) -> list[int]:
    """Everything else that is open beside the standard streams."""
    opened = [int(entry.name) for entry in Path("/proc/self/fd").iterdir()]
    return [number for number in opened if number > 2 and number not in kept and _is_open(number)]


def close_all_but(kept: Collection[int]) -> None:
    """Close everything else that is open beside the standard streams.

    Who waits for the end of what the caller has opened would otherwise wait for ours.
    """
    for number in all_but(kept):
        os.close(number)


def _is_open(number: int) -> bool:
    """Whether it is still: the one that lists them was listed, too."""
    try:
        os.fstat(number)
    except OSError:
        return False
    return True
