"""Drive a machine from Python: boot it, plug two vCPUs at once, be told of every event.

    python examples/drive_a_machine.py                the guest is played on QEMU's devices
    python examples/drive_a_machine.py tcg            Linux boots on unpatched QEMU

`hpcore guest fetch` brings the Linux that boots. The log is `machine.jsonl` in the folder
where this is run.
"""

from __future__ import annotations

import asyncio
import sys

import hpcore
from hpcore.guest.images import fetched_guest
from hpcore.run import CommandRefused


def guest_for(found: hpcore.Found) -> hpcore.GuestImages | hpcore.GuestScript:
    """What boots: a guest that is played where the accelerator does so, or else Linux."""
    if found.capabilities.plays_guest:
        return hpcore.GuestScript(append="maxcpus=2")
    fetched = fetched_guest()
    if fetched is None:
        sys.exit("there is no kernel to boot yet; run: hpcore guest fetch")
    return hpcore.GuestImages(fetched.kernel, fetched.initramfs(), append="maxcpus=2")


def tell(event: object, _state: hpcore.State) -> None:
    """A subscriber: it is called with every event once that is in the log."""
    match event:
        case hpcore.events.PlugCompleted(slot=slot, id=id_):
            print(f"  vCPU {slot} is plugged as {id_}, and the guest notified")
        case hpcore.events.UnplugCompleted(slot=slot, id=id_):
            print(f"  vCPU {slot} ({id_}) is gone")


async def main(name: str = "qtest") -> None:
    """Open a machine of 2 vCPUs that can have 4, and hotplug the other two."""
    found = hpcore.find(name)
    config = hpcore.MachineConfig.of(cpus=2, maxcpus=4)
    async with hpcore.open_machine(
        found, config, guest_for(found), log="machine.jsonl", overwrite=True
    ) as machine:
        machine.subscribe(tell)
        await machine.boot()
        print(f"{name}: the guest runs; enabled are {machine.state.enabled}")

        await asyncio.gather(
            machine.plug("left", core_id=2),
            machine.plug("right", core_id=3),
        )
        await machine.guest.online(3)

        try:
            await machine.plug("again", core_id=3)
        except CommandRefused as refused:
            print(f"  refused: {refused}")

        await machine.unplug("left")
        for slot in machine.slots:
            on = "on" if slot.powered else "off"
            print(f"  slot {slot.index}: {slot.state}, {on}, id {slot.id or 'none'}")

    found_in_log = hpcore.replay("machine.jsonl")
    print(f"the log: {found_in_log.events} events, {'right' if found_in_log.ok else 'WRONG'}")


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:2]))
