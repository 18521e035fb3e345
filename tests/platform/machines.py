"""Machines that the tests of this directory describe."""

from __future__ import annotations

from hpcore.model.config import MachineConfig

SIZES = (1, 6, 128, 512)


def machine(possible: int, booted: int = 2, memory: int = 1024) -> MachineConfig:
    """A machine with `booted` cold-booted vCPUs, or all where there are fewer."""
    return MachineConfig.of(min(booted, possible), possible, memory=memory)
