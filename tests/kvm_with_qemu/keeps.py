"""A machine that is kept, in a process of its own, which a test may kill with -9.

It runs as a script: its argument is the log. It boots the puppet, plugs vCPU 1, and says so.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from hpcore.cli.diagnostics import set_up_diagnostics
from hpcore.model import stimuli
from hpcore.model.config import MachineConfig
from hpcore.model.machines import Phase
from hpcore.run.discovery import find
from hpcore.run.open import open_machine
from tests.kvm_with_qemu.puppet import MEMORY, images

PLUGGED = "plugged"
POSSIBLE = 3


async def main(log: Path) -> None:
    """Until it is killed."""
    set_up_diagnostics()  # to standard error
    config = MachineConfig.of(cpus=1, maxcpus=POSSIBLE, memory=MEMORY)
    guest, found = images(log.parent), find("kvm-qemu")
    async with open_machine(found, config, guest, log=log, keep=True) as machine:
        await machine.begin(stimuli.Boot())
        await machine.until(
            lambda s: s.shared.phase is Phase.RUNNING and s.shared.step is None, "the start"
        )
        await machine.begin(stimuli.DeviceAdd("cpu1", (("core-id", 1),)))
        await machine.until(lambda s: s.slots[1].enabled and s.slots[1].step is None, "the plug")
        print(PLUGGED, flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
