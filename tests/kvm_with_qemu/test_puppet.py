"""The puppet itself, on our own VMM: what it says, it has done."""

from __future__ import annotations

import asyncio
from pathlib import Path

from hpcore.model.psci import PsciStatus
from tests.kvm_with_qemu import programs
from tests.kvm_with_qemu.puppet import puppet
from tests.kvm_with_qemu.strings import PSCI_VERSION


def test_the_puppet_does_what_it_is_told(tmp_path: Path) -> None:
    async def run() -> None:
        async with puppet(tmp_path, 1, 2, "kvm") as rig:
            await rig.boot()
            assert await rig.call(PSCI_VERSION) >= 1 << 16
            place = programs.MAILBOXES + 0x800
            assert await rig.order(programs.STORE_64, 0, place, 1 << 40 | 7) == 1 << 40 | 7
            assert await rig.order(programs.LOAD, 0, place) == 7
            assert await rig.cpu_on(1) == PsciStatus.DENIED
            await rig.plug(1)
            assert await rig.cpu_on(1) == PsciStatus.SUCCESS
            await rig.have(1, programs.CALL, PSCI_VERSION)
            assert await rig.done(1) == await rig.call(PSCI_VERSION)
            await rig.cpu_off(1)

    asyncio.run(run())
