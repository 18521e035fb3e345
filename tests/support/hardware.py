"""A played guest's hardware where only the registers are of use."""

from __future__ import annotations


class NoPsci:
    """The calls of `Hardware` that are none of a register's; add `read` and `write`."""

    async def cpu_on(self, caller: int, cpu: int) -> int:
        raise NotImplementedError

    async def cpu_off(self, cpu: int) -> None:
        raise NotImplementedError

    async def system_reset(self) -> None:
        raise NotImplementedError

    async def system_off(self) -> None:
        raise NotImplementedError
