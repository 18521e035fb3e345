"""How the DSDT reaches whoever decides about hotplug.

A transport supplies AML only; it runs nothing. Its objects live in the scope of
`\\_SB.CPUS`, so the bodies of a vCPU's methods may name them by one segment.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from attrs import frozen

from hpcore.model.config import MachineConfig
from hpcore.platform.aml.resources import InterruptMode

CPU_SCOPE = r"\_SB.CPUS"


def cpu_name(index: int) -> str:
    """The name of the vCPU's device in `\\_SB.CPUS`: `C000` to `C1FF`."""
    return f"C{index:03X}"


@frozen
class GedInterrupt:
    """The interrupt by which the Generic Event Device runs its `_EVT`."""

    gsi: int
    trigger: InterruptMode


class HotplugTransport(Protocol):
    """The AML bodies that differ between transports, and the memory that they use."""

    @property
    def interrupt(self) -> GedInterrupt:
        """The GED's interrupt."""

    @property
    def power_button(self) -> bool:
        """Whether this GED tells of the power button as well."""

    def declarations(self, possible: int) -> bytes:
        """Objects for `\\_SB.CPUS`: regions, fields, locks, methods of the transport's own."""

    def status(self, index: int) -> bytes:
        """Statements of `_STA`: return 0xF (enabled) or 0xD (present only)."""

    def eject(self, index: int) -> bytes:
        """Statements of `_EJ0`: the vCPU must not be enabled when they are done."""

    def ost(self, index: int) -> bytes:
        """Statements of `_OST`: Arg0 is the source event, Arg1 the status."""

    def event_handler(self) -> bytes:
        """Statements of the GED's `_EVT`, run in the GED's scope: full paths only."""

    def memory(self, config: MachineConfig) -> Mapping[int, bytes]:
        """What the AML must find in the guest's memory at first, by address, if anything."""
