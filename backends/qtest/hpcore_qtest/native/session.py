"""A session where QEMU plugs the vCPUs: effects become `device_add` and `device_del`.

QEMU does in `device_add` what is five steps here, and in the store to the eject flag what
is six. Each is done once, at its first step: REALIZE adds the vCPU, and the guest is held
back until NOTIFY_INSERT, so that it meets the vCPU when the core means it to; DISABLE, or
STOP of one that was never enabled, ejects it. The steps between hold QEMU to what they say.
"""

from __future__ import annotations

from collections.abc import Mapping

from hpcore.guest.played import Hardware
from hpcore.model.config import MachineConfig
from hpcore.model.effects import Step
from hpcore.model.topology import mp_affinity
from hpcore.platform.hotplug_registers import Flag, Store
from hpcore.qemu.errors import QemuError
from hpcore.qemu.find import Qemu
from hpcore.qemu.qmp import QmpRefused
from hpcore.run.accelerator import EffectError, GuestScript, Report
from hpcore_qtest.base import QtestSession
from hpcore_qtest.native.block import Block
from hpcore_qtest.native.boards import NativeBoard
from hpcore_qtest.native.hardware import NativeHardware
from hpcore_qtest.native.machine import NativeMachine
from hpcore_qtest.qemu.machine import Ears, StoppedQemu

NO_MIGRATION = (
    "a machine whose QEMU hotplugs vCPUs is not migrated: QEMU 10.0 hangs (x86) or crashes "
    "(loongarch64) once a vCPU that came by migration has been unplugged"
)

NO_EVENTS = (Store.CLEAR_INSERT, Store.CLEAR_REMOVE)


class NativeSession(QtestSession):
    """`machine` is the QEMU that runs now, `block` its registers, `board` its kind of machine."""

    def __init__(
        self,
        config: MachineConfig,
        board: NativeBoard,
        script: GuestScript | None,
        qemu: Qemu,
        report: Report,
    ) -> None:
        super().__init__(config, script, report)
        self.board, self._program = board, qemu
        self.machine: NativeMachine | None = None
        self.block: Block
        self.hardware: NativeHardware
        self._plugged: set[int] = set()  # by device_add
        self._unseen: set[int] = set()  # of these, those that the guest may not meet yet
        self._forgotten: set[int] = set()  # of these, those whose event a reset has taken

    @property
    def qemu(self) -> StoppedQemu | None:
        """The QEMU that runs now."""
        return None if self.machine is None else self.machine.qemu

    # ------------------------------------------------------------------- machine

    async def _create(self) -> Hardware:
        machine = await NativeMachine.start(self._config, self.board, self._program, self._ears())
        self.block = Block(machine.qemu.qtest, self.board, self._config.possible)
        try:
            await self.block.set_up()
        except BaseException:
            await machine.qemu.close()
            raise
        self.hardware = NativeHardware(self, self.block, self.board, self._report)
        self.machine = machine
        return self.hardware

    async def _init_gic(self) -> None:
        """QEMU made what interrupt controller the machine has, for all possible vCPUs."""

    async def _set_up(self) -> None:
        await self.board.events.set_up(self._running().qtest)

    async def _restore(self, enabled: tuple[int, ...]) -> None:
        """QEMU keeps event bits over a reset, and what is plugged; the core drops the first.

        A vCPU that is enabled has had its NOTIFY_INSERT, which the reset may have settled:
        the guest may meet it from its boot on.
        """
        self._unseen.difference_update(enabled)
        await self._set_up()
        for slot in enabled:
            if not await self._native().occupied(slot):
                raise EffectError(f"vCPU {slot} is to be enabled, and QEMU has none there")
        for slot in range(self._config.possible):
            if slot not in self._unseen:
                await self.block.visit(slot, NO_EVENTS)
        await self.board.events.take(self._running().qtest)
        self._forgotten |= self._unseen

    def _forget(self) -> None:
        self.hardware.reset()

    async def _move(self) -> None:
        raise QemuError(NO_MIGRATION)

    # --------------------------------------------------------------------- steps

    async def _step(self, step: Step, slot: int) -> int | None:
        match step:
            case Step.REALIZE:
                await self._realize(slot)
            case Step.BIND:
                affinity = await self._native().affinity(slot)
                return mp_affinity(slot) if affinity is None else affinity
            case Step.ENABLE:
                if not await self.block.flags(slot) & Flag.ENABLED:
                    raise EffectError(f"QEMU's registers do not say that vCPU {slot} is enabled")
            case Step.NOTIFY_INSERT:
                await self._notify_insert(slot)
            case Step.NOTIFY_REMOVE:
                await self._notify_remove(slot)
            case Step.DISABLE:
                try:
                    await self._eject(slot)
                finally:
                    self.hardware.eject_settled(slot)
            case Step.POWER_OFF:
                self.power.on.discard(slot)
            case Step.STOP:
                await self._eject(slot)
            case Step.RELEASE:
                if await self._native().occupied(slot):
                    raise EffectError(f"QEMU still has a vCPU in slot {slot}")
        return None

    async def _realize(self, slot: int) -> None:
        if self._config.cold_booted(slot):
            if not await self._native().occupied(slot):
                raise EffectError(f"QEMU was started without vCPU {slot}")
            return
        if (why := self._native().full) is not None:
            raise EffectError(why)
        self._unseen.add(slot)
        self._let_go()
        try:
            await self._native().add(slot)
        except QmpRefused as refused:
            self._show(slot)
            raise EffectError(str(refused)) from refused
        self._plugged.add(slot)

    async def _notify_insert(self, slot: int) -> None:
        flags = await self.block.flags(slot)
        if not flags & Flag.INSERT:
            raise EffectError(f"QEMU's registers have no insert event for vCPU {slot}")
        if slot in self._forgotten:
            self._raise_ged()
        self._show(slot)

    async def _notify_remove(self, slot: int) -> None:
        try:
            await self._native().request_removal(slot)
        except QmpRefused as refused:
            raise EffectError(str(refused)) from refused

    async def _eject(self, slot: int) -> None:
        """Have QEMU unplug the vCPU, and wait for its end; once. No event bit is left to the
        next one, as QEMU's own would be."""
        if slot not in self._plugged:
            return
        await self.block.visit(slot, (*NO_EVENTS, Store.EJECT))
        await self._native().gone(slot)
        self._plugged.discard(slot)
        self._show(slot)

    def _show(self, slot: int) -> None:
        """The guest may meet what there is in `slot`."""
        self._unseen.discard(slot)
        self._forgotten.discard(slot)
        self._let_go()

    def _may_go(self) -> bool:
        return super()._may_go() and not self._unseen

    # ---------------------------------------------------------------- the guest's

    def _reassert(self, slot: int) -> None:
        """QEMU has heard nothing of it, so that the vCPU is enabled as it was."""
        self.hardware.eject_settled(slot)

    def _raise_ged(self) -> None:
        """QEMU raises it with an event alone, and the event is there already."""
        self.hardware.raise_again()
        if self._guest is not None:
            self._guest.ged_interrupt()

    def _look_for_interrupt(self) -> None:
        """None is held back: a guest that may not act yet does so when it may."""

    def _interrupted(self, number: int, raised: bool) -> None:
        if number == self.board.line and raised and self._started and self._guest is not None:
            self._guest.ged_interrupt()

    def _told(self, name: str, data: Mapping[str, object]) -> None:
        if name == "DEVICE_DELETED" and self.machine is not None:
            self.machine.deleted(data)
        elif name == "ACPI_DEVICE_OST":
            info = data.get("info")
            assert isinstance(info, dict), "QMP's schema says so"
            self.hardware.ost_seen(info)

    def _ears(self) -> Ears:
        return Ears(irq=self._interrupted, event=self._told, lost=self._lose)

    def _native(self) -> NativeMachine:
        self._running()
        assert self.machine is not None
        return self.machine

    def _end(self, why: str) -> bool:
        first = super()._end(why)
        if self.machine is not None:
            self.hardware.end(why)
        return first
