"""The descriptors that a forked process has from its caller, and should not keep."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Collection
from pathlib import Path


def leave_standard_streams() -> None:
    """Have standard input, output and error go nowhere."""
    null = os.open(os.devnull, os.O_RDWR)
    for number in range(3):
        os.dup2(null, number)
    os.close(null)


def close_all_but(kept: Collection[int]) -> None:
    """Close everything else that is open beside the standard streams.

    Who waits for the end of what the caller has opened would otherwise wait for ours.
    """
    opened = [int(entry.name) for entry in Path("/proc/self/fd").iterdir()]
    for number in opened:
        if number > 2 and number not in kept:
            with contextlib.suppress(OSError):  # it was the one that lists them
                os.close(number)
