"""Live machines to try commands on: on paper, and with a played Linux."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

from hpcore.log import Sync
from hpcore.model import stimuli as st
from hpcore.model.config import MachineConfig
from hpcore.model.states import initial
from hpcore.run import Controller, GuestScript, LiveMachine, Patience, open_machine
from tests.run.test_controller import SOON
from tests.support.logs import ListLog
from tests.support.paper import Behaviour, PaperAccelerator
from tests.support.played import found

CONFIG = MachineConfig.of(cpus=2, maxcpus=4)
SLOW = Patience(end=SOON, boot=SOON)

Script = Callable[[LiveMachine, Controller], Awaitable[None]]


def on_paper(
    behaviour: Behaviour, script: Script, patience: Patience = SLOW, *, booted: bool = True
) -> None:
    """Play `script` on a machine whose accelerator and guest are on paper."""
    accelerator = PaperAccelerator(behaviour)
    controller = Controller(
        initial(CONFIG), ListLog, lambda r: accelerator.open(CONFIG, None, r), patience
    )

    async def main() -> None:
        machine = LiveMachine(controller)
        async with controller:
            if booted:
                await machine.boot()
            await script(machine, controller)

    asyncio.run(asyncio.wait_for(main(), 4 * SOON))


def on_played(script: Callable[[LiveMachine], Awaitable[None]], log: Path) -> None:
    """Play `script` on a machine with a played Linux, booted."""

    async def main() -> None:
        async with open_machine(found(), CONFIG, GuestScript(), log=log, sync=Sync.OS) as machine:
            await machine.boot()
            await script(machine)

    asyncio.run(asyncio.wait_for(main(), 4 * SOON))


def guest_registers(controller: Controller, slot: int) -> None:
    """What a silent guest did not do when it was notified."""
    for call in (
        st.ScanStarted(), st.InsertAcked(slot), st.ScanEnded(), st.OstReported(slot, 1, 0),
    ):  # fmt: skip
        controller.post(call)


def plugged_and_silent(machine: LiveMachine) -> Awaitable[None]:
    return machine.until(
        lambda s: s.slots[2].insert and s.slots[2].step is None, "the notification"
    )
