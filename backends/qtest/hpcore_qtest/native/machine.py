"""A QEMU that plugs vCPUs itself: started, asked, and told to."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from hpcore.model.config import MachineConfig
from hpcore.platform import virt
from hpcore.qemu.errors import QemuError
from hpcore.qemu.find import Qemu
from hpcore_qtest.native import hotpluggable_cpus
from hpcore_qtest.native.boards import NativeBoard
from hpcore_qtest.native.hotpluggable_cpus import HotpluggableCpu
from hpcore_qtest.qemu.machine import Ears, StoppedQemu

DELETED_SECONDS = 20.0
"""For QEMU to join the thread of a vCPU and tell of its end; it takes 20 ms."""


class NativeMachine:
    """One QEMU process. `creations` counts the vCPUs that it has made in its life."""

    def __init__(
        self, board: NativeBoard, qemu: StoppedQemu, slots: list[HotpluggableCpu]
    ) -> None:
        self.board, self.qemu, self.slots = board, qemu, slots
        self._deleted: dict[str, asyncio.Event] = {}
        self.creations = sum(cpu.path is not None for cpu in slots)

    @classmethod
    async def start(
        cls, config: MachineConfig, board: NativeBoard, program: Qemu, ears: Ears
    ) -> NativeMachine:
        """Start QEMU; interrupts of the hotplug line are told from here on.

        Raises NoHotplug where this QEMU plugs none, QemuError; nothing is left behind.
        """
        room = board.room_for(config)
        qemu = await StoppedQemu.start(program, board.arguments(config, room), ears)
        try:
            found = await hotpluggable_cpus.ask(qemu.qmp)
            if len(found) < config.possible:
                raise QemuError(
                    f"{board.name} has {len(found)} possible vCPUs, not {config.possible}"
                )
            named = board.controller.startswith("/")
            controller = board.controller if named else await qemu.device(board.controller)
            await qemu.qtest.intercept_in(controller)
        except BaseException:
            await qemu.close()
            raise
        return cls(board, qemu, found)

    async def occupied(self, slot: int) -> bool:
        """Whether QEMU says that there is a vCPU in `slot`."""
        return (await hotpluggable_cpus.ask(self.qemu.qmp))[slot].path is not None

    async def add(self, slot: int) -> None:
        """`device_add`. Raises QmpRefused, or QemuError; see `full` for what it must not meet."""
        cpu = self.slots[slot]
        self._deleted[device_id(slot)] = asyncio.Event()
        await self.qemu.qmp.execute(
            "device_add", {"driver": cpu.driver, "id": device_id(slot), **cpu.props}
        )
        self.creations += 1

    async def request_removal(self, slot: int) -> None:
        """`device_del`: QEMU asks the guest. Raises QmpRefused, or QemuError."""
        await self.qemu.qmp.execute("device_del", {"id": device_id(slot)})

    @property
    def full(self) -> str | None:
        """Why QEMU could not make one more vCPU, and what to do; None as long as it can."""
        if self.creations < len(self.slots):
            return None
        return (
            f"QEMU has created {self.creations} vCPUs, and with TCG it aborts at the next: it "
            "does not get back what an unplugged one had; start the machine anew"
        )

    def deleted(self, data: Mapping[str, object]) -> None:
        """DEVICE_DELETED: on x86 the vCPU's local APIC is told of, and not always itself."""
        for id_, event in self._deleted.items():
            if f"/machine/peripheral/{id_}/" in f"{data.get('path')}/":
                event.set()

    async def gone(self, slot: int) -> None:
        """Wait until QEMU has told that the vCPU which was added to `slot` is deleted."""
        try:
            await asyncio.wait_for(self._deleted[device_id(slot)].wait(), DELETED_SECONDS)
        except TimeoutError:
            raise QemuError(
                f"QEMU did not tell of the end of vCPU {slot} within {DELETED_SECONDS:g} s; "
                f"{self.qemu.process.last_words}"
            ) from None

    async def affinity(self, slot: int) -> int | None:
        """What GICR_TYPER of `slot` says; None where the machine has no GIC."""
        if not self.board.gic:
            return None
        return await self.qemu.qtest.read(virt.redistributor(slot) + 0x8, 8) >> 32


def device_id(slot: int) -> str:
    """QEMU's id of the vCPU in `slot`; the user's ids are the core's."""
    return f"slot{slot}"
