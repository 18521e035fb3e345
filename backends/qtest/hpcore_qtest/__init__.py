"""The qtest accelerator: a shell, until it is written."""

from __future__ import annotations

from hpcore.model.machine import MachineConfig
from hpcore.run.accelerator import (
    AcceleratorError,
    Capabilities,
    GuestImages,
    GuestScript,
    Report,
    Session,
)

__all__ = ["QtestAccelerator"]

NOT_YET = "the qtest accelerator is not written yet; use --accel tcg"


class QtestAccelerator:
    """Says that it cannot run yet."""

    def probe(self) -> Capabilities:
        """Never available."""
        return Capabilities(unavailable=NOT_YET)

    async def open(
        self, machine: MachineConfig, guest: GuestImages | GuestScript | None, report: Report
    ) -> Session:
        """Raises AcceleratorError."""
        raise AcceleratorError(NOT_YET)
