"""What excludes what in a played guest: AML's mutex, and the kernel's hotplug lock."""

from __future__ import annotations

import asyncio

import pytest

from hpcore.guest.played.aml import BLOCK, PlayedAml
from hpcore.guest.played.linux import LinuxKernel
from hpcore.model.acpi import Notification
from hpcore.model.config import MachineConfig
from hpcore.platform.hotplug_registers import FLAGS, SELECTOR, Store
from tests.support.hardware import NoPsci

TURNS = 200
"""Of the event loop: more than any of this takes."""


class Slow(NoPsci):
    """Registers that read as 0; others have their turn at each access. Keeps the stores."""

    def __init__(self) -> None:
        self.stores: list[tuple[int, int]] = []

    async def read(self, address: int, size: int) -> int:
        await asyncio.sleep(0)
        return 0

    async def write(self, address: int, size: int, value: int) -> None:
        self.stores.append((address - BLOCK, value))
        await asyncio.sleep(0)


def test_methods_of_aml_that_run_at_once_keep_each_its_selection() -> None:
    async def stores(*, at_once: bool) -> list[tuple[int, int]]:
        hardware = Slow()
        aml = PlayedAml(hardware, 4)
        methods = (aml.ost(1, 3, 0x84), aml.enabled(2), aml.eject(3), aml._scan(), aml.ost(2, 1, 0))
        if at_once:
            await asyncio.gather(*methods)
        else:
            for method in methods:
                await method
        return hardware.stores

    one_by_one = asyncio.run(stores(at_once=False))
    assert (SELECTOR, 3) in one_by_one and (FLAGS, Store.EJECT) in one_by_one
    assert asyncio.run(stores(at_once=True)) == one_by_one


@pytest.mark.parametrize("notification", Notification)
def test_what_the_user_asks_for_keeps_notifications_waiting(notification: Notification) -> None:
    async def scene() -> None:
        hardware = Slow()
        kernel = LinuxKernel(MachineConfig.of(1, 2), "maxcpus=1", hardware)
        life = asyncio.create_task(kernel.live())
        try:
            await turns()
            async with kernel.hotplug:  # as a write to online holds it
                before = len(hardware.stores)
                kernel._notified.put_nowait((1, notification))
                await turns()
                assert len(hardware.stores) == before and not kernel.idle
            await turns()
            assert len(hardware.stores) > before and kernel.idle
        finally:
            life.cancel()

    async def turns() -> None:
        for _ in range(TURNS):
            await asyncio.sleep(0)

    asyncio.run(scene())
