"""Machines whose QEMU plugs the vCPUs itself, for tests: any order of steps, held against it."""

from __future__ import annotations

import pytest
from hpcore_qtest.accelerator import (
    LoongarchAccelerator,
    NativeAccelerator,
    Q35Accelerator,
)
from hpcore_qtest.base import QtestSession
from hpcore_qtest.native.session import NativeSession

from hpcore.model.states import State
from hpcore.platform.hotplug_registers import Flag
from hpcore.qemu.errors import QemuError
from hpcore.qemu.fetch import find_hotplugging
from hpcore.qemu.find import LOONGARCH64, X86_64
from hpcore.run.accelerator import GuestScript
from tests.qtest.rehearsal import Rehearsal


def no_hotplugging_qemu() -> str | None:
    """Why there is no QEMU here that hotplugs vCPUs, or None."""
    try:
        for program in (LOONGARCH64, X86_64):
            find_hotplugging(program)
    except QemuError as error:
        return str(error)
    return None


needs_hotplugging = pytest.mark.skipif(
    no_hotplugging_qemu() is not None, reason=str(no_hotplugging_qemu())
)

ACCELERATORS: dict[str, type[NativeAccelerator]] = {
    "qtest-loongarch64": LoongarchAccelerator,
    "qtest-q35": Q35Accelerator,
}


class NativeRehearsal(Rehearsal):
    """On the machine that `accel` names; its guest can make no SGI pend."""

    session: NativeSession

    async def _open(self, report: object) -> QtestSession:
        self.session = await ACCELERATORS[self.accel]().open(
            self.config, GuestScript(self.kind), self._controller.post
        )
        return self.session

    async def _differences(self) -> list[str]:
        return await native_differences(self.state, self.session)

    async def pend(self, cpu: int, sgi: int) -> None:
        """There is no redistributor."""


async def native_differences(state: State, session: NativeSession) -> list[str]:
    """Where `state` and QEMU disagree about who is plugged and what is pending, in words."""
    out: list[str] = []
    assert session.machine is not None
    for index, slot in enumerate(state.slots):
        flags = Flag(await session.block.flags(index))
        for what, found, wanted in (
            ("_STA", Flag.ENABLED in flags, slot.enabled),
            ("query-hotpluggable-cpus", await session.machine.occupied(index), slot.enabled),
            ("the insert bit", Flag.INSERT in flags, slot.insert),
            ("the remove bit", Flag.REMOVE in flags, slot.remove),
            ("the power", index in session.power.on, slot.powered),
        ):
            if found != wanted:
                out.append(f"{what} of vCPU {index} is {found}, not {wanted}")
    return out
