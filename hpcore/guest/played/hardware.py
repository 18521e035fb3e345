"""How a played guest reaches its machine."""

from __future__ import annotations

from typing import Protocol


class Hardware(Protocol):
    """A played guest's way to its machine; an accelerator implements it.

    Registers have absolute guest addresses (hpcore.platform.virt), sizes are in bytes. A
    call returns when the machine has done it; one made while the machine is paused returns
    after the pause. Whatever it raises ends the guest, with its text for the user.
    """

    async def read(self, address: int, size: int) -> int:
        """Read a register."""

    async def write(self, address: int, size: int, value: int) -> None:
        """Write a register."""

    async def cpu_on(self, caller: int, cpu: int) -> int:
        """PSCI CPU_ON of vCPU `cpu` by vCPU `caller`; a PSCI return code.

        0 is success, -2 INVALID_PARAMETERS, -3 DENIED, -4 ALREADY_ON.
        """

    async def cpu_off(self, cpu: int) -> None:
        """PSCI CPU_OFF by vCPU `cpu`; returns when it is off."""

    async def system_reset(self) -> None:
        """PSCI SYSTEM_RESET. The accelerator calls the guest's `stop`, and later `start`."""

    async def system_off(self) -> None:
        """PSCI SYSTEM_OFF. The accelerator calls the guest's `stop`."""
