"""What a kernel's command line says of its CPUs (Documentation/admin-guide/kernel-parameters)."""

from __future__ import annotations

import re

from attrs import frozen


@frozen
class CpuLimits:
    """How many CPUs the kernel may have (`nr_cpus`), and boots with (`maxcpus`, `nosmp`).

    None is no limit.
    """

    possible: int | None
    at_boot: int | None


def cpu_limits(append: str) -> CpuLimits:
    """The limits in `append`; a word that is no number does not count.

    Of several `nr_cpus` the least counts, for none raises it again (kernel/smp.c, nrcpus), and of
    what says how many are up at boot the last.
    """
    possible: int | None = None
    at_boot: int | None = None
    for word in append.split():
        name, _, value = word.partition("=")
        if word == "--":
            break  # the rest is init's
        if name == "nosmp":
            at_boot = 0
        elif re.fullmatch(r"\d+", value, re.ASCII) and name == "maxcpus":
            at_boot = int(value)
        elif re.fullmatch(r"\d+", value, re.ASCII) and name == "nr_cpus" and int(value):
            possible = min(int(value), possible or int(value))
    return CpuLimits(possible, at_boot)
