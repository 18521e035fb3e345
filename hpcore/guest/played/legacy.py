"""Linux before 6.11 on arm64, to which online-capable means nothing.

It takes from the MADT the vCPUs that are enabled there and no others
(arch/arm64/kernel/smp.c, acpi_map_gic_cpu_interface). Yet its ACPI core answers for every
processor of the namespace: that of Debian's 6.1 says success to a device check of a vCPU
that it does not have, and evaluates `_EJ0` when asked to, as tests/e2e shows.
"""

from __future__ import annotations

import attrs

from hpcore.guest.played.linux import LinuxKernel
from hpcore.guest.protocol import Masks
from hpcore.model.acpi import MadtFlag


class LegacyKernel(LinuxKernel):
    """One boot of it. What is plugged is never there for its user."""

    def usable(self) -> list[int]:
        """Those that the MADT says are enabled, alone."""
        return [cpu for cpu in super().usable() if MadtFlag.ENABLED in self.madt_flags(cpu)]

    @property
    def masks(self) -> Masks:
        """Without `enabled`, a file that came with 6.11."""
        return attrs.evolve(super().masks, enabled=None)
