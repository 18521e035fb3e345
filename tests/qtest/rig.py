"""A machine for tests of the client: no session, no guest."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from hpcore_qtest.qemu.machine import Ears, StoppedQemu

from hpcore.qemu import find_qemu

ARGUMENTS = (
    "-machine", "virt,gic-version=3", "-cpu", "cortex-a57", "-smp", "2", "-m", "256",
)  # fmt: skip


@asynccontextmanager
async def bare(ears: Ears | None = None, serials: int = 0) -> AsyncIterator[StoppedQemu]:
    """A QEMU of 2 vCPUs, which is gone afterwards."""
    machine = await StoppedQemu.start(find_qemu(), ARGUMENTS, ears, serials=serials)
    try:
        yield machine
    finally:
        await machine.close()
