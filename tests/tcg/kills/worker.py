"""The hpcore that is killed: drives a kept machine at random, and says what a user is told.

    python -m tests.tcg.kills.worker start|attach|end LOG SEED ACCELERATOR

Each line of its output is a JSON object: an event that a user is told, with its number in the
log; what was found at the attachment; that the accelerator's witness and the model agree.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from random import Random

from hpcore.guest.images import fetched_guest
from hpcore.log import Sync
from hpcore.model import events as ev
from hpcore.model import stimuli
from hpcore.model.config import MachineConfig
from hpcore.model.machines import Phase
from hpcore.model.states import State
from hpcore.qemu.kept_directory import QemuDirectory
from hpcore.run.accelerator import GuestImages
from hpcore.run.attach import attach_machine
from hpcore.run.discovery import find
from hpcore.run.errors import RunError
from hpcore.run.machine import LiveMachine
from hpcore.run.open import open_machine
from hpcore.session.kept import KeptQemuSession
from tests.tcg.kills.witness import Witness, witness

CONFIG = MachineConfig.of(cpus=2, maxcpus=6)
AGREE_SECONDS = 60.0
WAIT_SECONDS = 3.0
"""For the end of one command, before the next is given."""
ONLINE = "echo {} > /sys/devices/system/cpu/cpu{}/online\n"


def say(**what: object) -> None:
    print(json.dumps(what, default=str), flush=True)


class Worker:
    """A machine that is driven at random."""

    def __init__(
        self, machine: LiveMachine, dice: Random, asks: Witness, files: Path
    ) -> None:
        """What is saved goes to the directory `files`."""
        self.machine, self.dice, self.witness, self.files = machine, dice, asks, files
        session = machine._c.session
        assert isinstance(session, KeptQemuSession)
        self.session = session
        machine.subscribe(self._tell)

    def _tell(self, event: ev.Event, _state: State) -> None:
        say(told=self.machine.last_seq, event=repr(event))

    @property
    def state(self) -> State:
        return self.machine.state

    async def agree(self) -> None:
        """Hold the witness's word on every slot against the model, with nothing under way.

        One QEMU has the machine, and no other is left of a move that was killed.
        """
        there = [one for one in QemuDirectory.all_of(self.session.place) if one.lives]
        if len(there) > 1:
            say(wrong=f"{len(there)} QEMUs live: {there}")
        async with asyncio.timeout(AGREE_SECONDS):
            while not await self._agrees():  # noqa: ASYNC110 - what changes is the machine
                await asyncio.sleep(0.02)

    async def _goes(self) -> None:
        """Have the machine run, which is off or paused: tcg's monitor can be asked only then."""
        if self.state.shared.phase is Phase.OFF:
            await self.machine.begin(stimuli.Reset())
        elif self.state.shared.phase is Phase.RUNNING:
            await self._still()
        await self.machine.resume()

    async def _still(self) -> None:
        machine = self.session._machine
        assert machine is not None
        status = await machine.qmp.execute("query-status")
        assert isinstance(status, dict)
        if status["status"] not in ("paused", "prelaunch"):
            say(wrong=f"the log says that it is paused, and QEMU {status['status']}")

    async def _agrees(self) -> bool:
        """Whether they do; False where something was under way, or happened meanwhile."""
        before, seq = self.state, self.machine.last_seq
        if before.shared.step is not None:
            return False
        if before.shared.paused:
            await self._goes()
            return False
        if before.shared.phase is not Phase.RUNNING:
            return False
        if any(slot.step is not None for slot in before.slots):
            return False
        said = await self.witness.ask(self.session, CONFIG.possible)
        await asyncio.sleep(0)
        if self.machine.last_seq != seq or not self.machine._c.heard_all:
            return False
        for index, (slot, words) in enumerate(zip(before.slots, said, strict=True)):
            if (model := self.witness.of_model(slot)) != words:
                name = self.witness.name
                say(wrong=f"slot {index}: the model has {model}, {name} has {words}")
        say(agree=CONFIG.possible, seq=seq)
        return True

    # ------------------------------------------------------------------ what it does

    async def work(self) -> None:
        while True:
            doing = self.dice.choices(
                (self.plug_or_unplug, self.online, self.pause, self.reset, self.reboot,
                 self.force, self.power_off, self.carry, self.rest),
                (40, 14, 10, 3, 3, 8, 1, 16, 10),
            )[0]  # fmt: skip
            say(doing=doing.__name__)
            with suppress(RunError, TimeoutError):
                await asyncio.wait_for(doing(), WAIT_SECONDS)

    def _slot(self) -> int:
        return self.dice.randrange(CONFIG.topology.cpus, CONFIG.possible)

    async def plug_or_unplug(self) -> None:
        index = self._slot()
        slot = self.state.slots[index]
        if slot.enabled and slot.id is not None:
            await (await self.machine.begin(stimuli.DeviceDel(slot.id))).ended()
        else:
            add = stimuli.DeviceAdd(f"core{index}", (("core-id", index),))
            await (await self.machine.begin(add)).registered()

    async def force(self) -> None:
        for index in range(CONFIG.topology.cpus, CONFIG.possible):
            slot = self.state.slots[index]
            if slot.enabled and slot.id is not None and (not slot.powered or self._rarely()):
                was_on = slot.powered
                await (await self.machine.begin(stimuli.DeviceDel(slot.id, force=True))).ended()
                if was_on:  # Linux waits for it for ever
                    await self.machine.begin(stimuli.Reset())
                return

    def _rarely(self) -> bool:
        return self.dice.random() < 0.15

    async def online(self) -> None:
        index = self._slot()
        value = int(not self.state.slots[index].powered)
        self._type("\x03\n" + ONLINE.format(value, index))
        await asyncio.sleep(self.dice.uniform(0, 0.3))

    async def pause(self) -> None:
        await self.machine.pause()
        if self.dice.random() < 0.3:
            await self.machine.begin(stimuli.Reset())
        elif self.dice.random() < 0.5:
            await self.plug_or_unplug()
        await asyncio.sleep(self.dice.uniform(0, 0.4))
        await self.machine.resume()

    async def reset(self) -> None:
        await (await self.machine.begin(stimuli.Reset())).ended()

    async def reboot(self) -> None:
        self._type("\x03\nreboot -f\n")
        await asyncio.sleep(self.dice.uniform(0, 1))

    async def power_off(self) -> None:
        self._type("\x03\npoweroff -f\n")
        await asyncio.sleep(self.dice.uniform(0, 1.5))

    async def carry(self) -> None:
        """A migration or a save, which is refused where something else is under way."""
        say(carries=True)
        if self.dice.random() < 0.6:
            await (await self.machine.begin(stimuli.Migrate())).ended()
        else:
            file = self.files / f"saved-{self.machine.last_seq}"
            await (await self.machine.begin(stimuli.Save(str(file)))).ended()

    async def rest(self) -> None:
        if self.state.shared.phase is Phase.OFF:
            await self.machine.begin(stimuli.Reset())
            await self.machine.begin(stimuli.Resume())
        await asyncio.sleep(self.dice.uniform(0, 0.3))

    def _type(self, line: str) -> None:
        if (console := self.session.console) is not None and not self.state.shared.paused:
            console.write(line.encode())


@asynccontextmanager
async def started(log: Path, seed: int, accelerator: str) -> AsyncIterator[Worker]:
    guest = fetched_guest()
    assert guest is not None
    images = GuestImages(guest.kernel, guest.initramfs())
    async with open_machine(
        find(accelerator), CONFIG, images, log=log, sync=Sync.OS, keep=True
    ) as machine:
        worker = Worker(machine, Random(seed), witness(accelerator), log.parent)
        say(started=True)
        yield worker


async def main(how: str, log: Path, seed: int, accelerator: str) -> None:
    if how == "start":
        async with started(log, seed, accelerator) as worker:
            await worker.machine.boot()
            say(booted=True)
            await worker.work()
        return
    began = time.monotonic()
    async with attach_machine(log) as attached:
        found = attached.taken_up
        worker = Worker(attached.machine, Random(seed), witness(accelerator), log.parent)
        say(
            attached=round((time.monotonic() - began) * 1000), events=found.events,
            answers=found.answers, repeated=found.repeated,
        )  # fmt: skip
        await worker.agree()
        if how == "end":
            await attached.machine.guest_ready()
            say(masks=str(await attached.machine.guest.masks()))
            attached.machine.end_when_left()
            return
        await worker.work()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), sys.argv[4]))
