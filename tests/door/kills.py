"""Doors of one VM that are killed at random moments, each followed by another one.

    python -m tests.door.kills --kills 20 --seed 7

A client plugs, unplugs, stops and resets meanwhile. In the end monitors and guest must agree on
every vCPU, and the log of all must replay.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import random
import signal

from attrs import field, mutable
from qemu.qmp import ExecuteError

from hpcore.guest.errors import GuestError
from hpcore.triage.replay import replay
from tests.door.started import BOOT_SECONDS, Client, Vm, connected, vm
from tests.door.test_keeping import attach
from tests.support.waits import SECONDS

RUNS_SECONDS = 6.0
"""The most that a door lives."""
PLUGGABLE = (2, 3)


@mutable
class Tally:
    """What a run has come to: how each door was taken up, and how many events the log has."""

    taken_up: list[str] = field(factory=list)
    events: int = 0


async def run(kills: int, seed: int) -> Tally:
    """Kill so many doors of one VM. Raises AssertionError where something is not as it must be."""
    chance, tally = random.Random(seed), Tally()
    async with vm(keep=True) as machine:
        client = asyncio.create_task(_bother(machine, chance))
        try:
            await asyncio.sleep(chance.uniform(0, RUNS_SECONDS))
            os.kill(machine.door(), signal.SIGKILL)
            for _ in range(kills - 1):
                async with attach(machine.log) as taken:
                    tally.taken_up.append(taken.said.splitlines()[0])
                    await asyncio.sleep(chance.uniform(0, RUNS_SECONDS))
                    taken.process.kill()
        finally:
            client.cancel()
            await asyncio.gather(client, return_exceptions=True)
        async with attach(machine.log) as taken:
            tally.taken_up.append(taken.said.splitlines()[0])
            await _agree(machine)
            assert await taken.ended() == 0
        assert await machine.ended() == 0
        found = replay(machine.log)
        assert found.ok, found
        tally.events = found.events
    return tally


async def _bother(machine: Vm, chance: random.Random) -> None:
    """Be a client that connects again whenever its door is gone."""
    while True:
        with contextlib.suppress(Exception):
            client = await connected(machine.directory / "qmp")
            try:
                while True:
                    with contextlib.suppress(ExecuteError):
                        await _command(client, chance)
                    await asyncio.sleep(chance.uniform(0, 0.4))
            finally:
                await client.close()
        await asyncio.sleep(0.05)


async def _command(client: Client, chance: random.Random) -> None:
    match chance.randrange(12):
        case 0:
            await client.do("system_reset")
        case 1:
            await client.do("stop")
            await asyncio.sleep(chance.uniform(0, 0.1))
            await client.do("cont")
        case _:
            cpu = chance.choice(PLUGGABLE)
            if cpu in await client.there():
                await client.do("device_del", id=f"cpu{cpu}")
            else:
                await client.plug(cpu)


async def _agree(machine: Vm) -> None:
    """Boot the guest anew, wait until it has the vCPUs that the monitor has, and end the VM."""
    client = await connected(machine.directory / "qmp")
    if (await client.do("query-status"))["status"] != "running":
        await client.do("cont")
    ready = machine.guest.times_ready
    await client.do("system_reset")
    await machine.guest.wait_ready(BOOT_SECONDS, since=ready)
    deadline = asyncio.get_running_loop().time() + SECONDS
    there, enabled = set(await client.there()), None
    while there != enabled:
        assert asyncio.get_running_loop().time() < deadline, f"{there} are there, not {enabled}"
        with contextlib.suppress(GuestError):  # a reset that was asked for before comes now
            enabled = set((await machine.guest.masks()).enabled or ())
        there = set(await client.there())
        await asyncio.sleep(0.1)
    await client.do("quit")
    await client.close()


def main() -> None:
    """Run, and say how each door was taken up."""
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--kills", type=int, default=20)
    asked.add_argument("--seed", type=int, default=1)
    given = asked.parse_args()
    tally = asyncio.run(run(given.kills, given.seed))
    print(*tally.taken_up, f"all agree; {tally.events} events replay", sep="\n")


if __name__ == "__main__":
    main()
