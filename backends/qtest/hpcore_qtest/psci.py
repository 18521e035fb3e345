"""The part of a played guest's wiring that is no register: PSCI, and the guest's time."""

from __future__ import annotations

from typing import Protocol

from hpcore_qtest.power import Power


class Reached(Protocol):
    """What a session is to its guest."""

    power: Power

    async def guest_may_act(self) -> None:
        """Wait for as long as the guest's time stands still."""

    async def reset(self) -> None:
        """Reset the machine."""

    def power_off(self) -> None:
        """Power the machine off."""


class PsciCalls:
    """The PSCI half of a `hpcore.guest.played.Wiring`, on the machine of `reached`."""

    def __init__(self, reached: Reached) -> None:
        self._reached = reached

    async def cpu_on(self, caller: int, cpu: int) -> int:
        """PSCI CPU_ON."""
        await self._reached.guest_may_act()
        status = await self._reached.power.cpu_on(caller, cpu)
        await self._reached.guest_may_act()
        return status

    async def cpu_off(self, cpu: int) -> None:
        """PSCI CPU_OFF."""
        await self._reached.guest_may_act()
        self._reached.power.cpu_off(cpu)

    async def system_reset(self) -> None:
        """PSCI SYSTEM_RESET."""
        await self._reached.guest_may_act()
        await self._reached.reset()

    async def system_off(self) -> None:
        """PSCI SYSTEM_OFF."""
        await self._reached.guest_may_act()
        self._reached.power_off()
