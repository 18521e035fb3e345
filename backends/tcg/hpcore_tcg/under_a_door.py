"""A machine under somebody else's VM, which may go to another QEMU, or come from there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from hpcore.door.front import BeforeStart
from hpcore.model.config import MachineConfig
from hpcore.qemu.migration import version_of
from hpcore.run.accelerator import Belongings, Report
from hpcore.session.loads import REMEDIES, Loads
from hpcore.session.moving import MovingQemuSession
from hpcore_tcg.belongings import EPOCH, MONITOR, epoch_of
from hpcore_tcg.elsewhere import live_on
from hpcore_tcg.machine import DEAF, TcgMachine
from hpcore_tcg.session import StartMachine, TcgSession


class DoorTcgSession(MovingQemuSession[TcgMachine], TcgSession):
    """See `hpcore.door.front.MovingSession`."""

    remedies: ClassVar[Mapping[str, str]] = {
        **REMEDIES, MONITOR: "have both sides use the same hpcore-tcg",
    }

    def __init__(
        self,
        config: MachineConfig,
        start: StartMachine,
        report: Report,
        loads: Loads,
        *,
        before_start: BeforeStart | None = None,
    ) -> None:
        super().__init__(config, start, report, boots=True, before_start=before_start)
        self._moves_with(loads)

    async def carries_running(self) -> bool:
        """See MovingSession."""
        return live_on(await version_of(self._running().qmp))

    async def meet(self, facts: Mapping[str, str]) -> TcgMachine:
        """See MovingSession."""
        epoch_of(Belongings(facts))
        return await super().meet(facts)

    async def _waiting(self) -> TcgMachine:
        return await self._start_machine(DEAF)

    def _own_facts(self) -> dict[str, str]:
        return {EPOCH: str(self._epoch)}
