"""A machine whose guest has no shell: what is known of it is what its kernel does."""

from __future__ import annotations

import asyncio

import pytest

from hpcore.model.config import MachineConfig
from hpcore.model.states import initial
from hpcore.run import Controller, LiveMachine, RunError
from tests.guest.consoles import FedConsole
from tests.run.test_controller import SOON
from tests.support.logs import ListLog
from tests.support.paper import Behaviour, PaperAccelerator

CONFIG = MachineConfig.of(cpus=2, maxcpus=4)


def test_its_boot_and_its_reset_wait_for_no_word_and_it_is_plugged_as_any() -> None:
    paper = PaperAccelerator(Behaviour(console=FedConsole()))
    controller = Controller(initial(CONFIG), ListLog, lambda r: paper.open(CONFIG, None, r))

    async def main() -> None:
        machine = LiveMachine(controller, shell=False)
        async with controller:
            await machine.boot()
            assert machine.state.shared.guest_runs
            await machine.plug("core2", core_id=2)
            assert machine.slot("core2").registered
            await machine.reset()
            await machine.unplug("core2")
            with pytest.raises(RunError, match="runs without a shell, and only by a shell"):
                await machine.power_off()
            assert machine.at_rest
        await machine.console_read()

    asyncio.run(asyncio.wait_for(main(), 4 * SOON))
