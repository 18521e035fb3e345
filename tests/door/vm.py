"""A machine of hpcore's with a played guest, a stock QEMU that stands, and a door for both.

The played machine does what a real one would; the QEMU answers what hpcore passes on. So a
client meets all of the door, and no guest code runs.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from attrs import frozen

from hpcore.door.qmp import VcpuCommands
from hpcore.guest.played.answers import Answers as Notified
from hpcore.log import Sync
from hpcore.model.config import MachineConfig
from hpcore.qemu.qmp import Qmp
from hpcore.run import GuestScript, LiveMachine, Patience, open_machine
from tests.door.rig import Client, Door, Real, door, real
from tests.support.played import found

CONFIG = MachineConfig.of(cpus=2, maxcpus=4, sockets=4, cores=1)
DRIVER = "cortex-a57-arm-cpu"


@frozen
class Vm:
    """A booted machine, and a client that has negotiated; `more` is another monitor."""

    client: Client
    machine: LiveMachine
    commands: VcpuCommands
    qemu: Real
    door: Door
    more: Path

    async def add(self, index: int, id_: str | None = None) -> object:
        """`device_add` of a vCPU as libvirt gives it."""
        props = self.machine.config.topology.props(index)
        arguments = {"driver": DRIVER, "id": id_ or f"vcpu{index}", **props}
        return await self.client.ask("device_add", arguments)

    async def registered(self, index: int) -> None:
        await self.machine.until(lambda s: s.slots[index].registered, "its registration")


def smp(config: MachineConfig) -> str:
    """The real QEMU has every possible vCPU."""
    t = config.topology
    levels = f"sockets={t.sockets},clusters={t.clusters},cores={t.cores},threads={t.threads}"
    return f"{t.maxcpus},{levels}"


@asynccontextmanager
async def vm(
    tmp_path: Path,
    config: MachineConfig = CONFIG,
    *,
    boots: bool = True,
    guest: str = "linux",
    notified: Notified | None = None,
    patience: Patience | None = None,
    qemu_has: tuple[str, ...] = (),
) -> AsyncIterator[Vm]:
    machine_of = ("-machine", "virt", "-cpu", "cortex-a57", "-m", "128", "-smp", smp(config))
    script = GuestScript(guest, answers=notified or {})
    async with (
        real(3, (*machine_of, *qemu_has)) as qemu,
        open_machine(
            found(), config, script, log=tmp_path / "log", sync=Sync.OS, patience=patience
        ) as machine,
    ):
        own = await Qmp.connect(qemu.process, qemu.paths[0], lambda _name, _data: None)
        commands = VcpuCommands(machine, own)
        async with door(qemu, qemu.paths[1:], commands.answers()) as before:
            stop_watching = commands.watch(before.monitors.tell)
            if boots:
                await machine.boot()
            client = await Client.ready(before.fronts[0])
            try:
                yield Vm(client, machine, commands, qemu, before, before.fronts[1])
            finally:
                stop_watching()
                await client.close()
                await own.close()


Scene = Callable[[Vm], Awaitable[None]]


def play(scene: Scene, tmp_path: Path, config: MachineConfig = CONFIG, **how: object) -> None:
    """Play a scene on a machine made so."""

    async def main() -> None:
        async with vm(tmp_path, config, **how) as made:  # type: ignore[arg-type]
            await scene(made)

    asyncio.run(asyncio.wait_for(main(), 60))
