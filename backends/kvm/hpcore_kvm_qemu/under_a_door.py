"""A machine under somebody else's VM, which may go to another QEMU, or come from there."""

from __future__ import annotations

from hpcore.door.front import BeforeStart
from hpcore.model.config import MachineConfig
from hpcore.run.accelerator import Report
from hpcore.session.loads import Loads
from hpcore.session.moving import MovingQemuSession
from hpcore_kvm_qemu.machine import DEAF, KvmQemuMachine
from hpcore_kvm_qemu.session import KvmQemuSession, StartMachine


class DoorKvmQemuSession(MovingQemuSession[KvmQemuMachine], KvmQemuSession):
    """See `hpcore.door.front.MovingSession`, and KvmQemuSession for a machine that comes."""

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
        """See MovingSession: KVM tells QEMU of every page that is written."""
        return True

    async def _waiting(self) -> KvmQemuMachine:
        return await self._start_machine(DEAF)
