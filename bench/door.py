"""Rounds of plug, online and unplug through QMP, on a VM that its user starts as any other.

    python -m bench.door --rounds 1000

As `bench.hotplug`, with the executable that becomes QEMU, a real QMP client, and its guest's
shell. The client waits for the answer of device_add, for the guest to enable the vCPU, and for
DEVICE_DELETED. Exits with 1 if a round failed, or the log does not replay.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import time
from collections import defaultdict

import click
import orjson
from attrs import asdict, define, field
from rich.console import Console

from bench.rounds import Use, report
from hpcore.model.acpi import OstSource
from hpcore.triage.replay import replay
from tests.door.started import Client, Vm, vm
from tests.support.waits import until

CPU = 3


@define
class Measured:
    """The seconds of each kind of wait, and a sample after each round."""

    seconds: dict[str, list[float]] = field(factory=lambda: defaultdict(list))
    samples: list[tuple[Use, Use]] = field(factory=list)
    events: int = 0
    replays: bool = False


async def measure(count: int, people: Console) -> Measured:
    """`count` rounds on the last of 4 vCPUs."""
    found = Measured()
    async with vm() as machine:
        for n in range(1, count + 1):
            await one_round(machine, found.seconds)
            found.samples.append((Use.of(machine.process.pid), Use.of(machine.door())))
            if n % 50 == 0:
                people.print(f"{n} rounds")
        replayed = replay(machine.log)
        found.events, found.replays = replayed.events, replayed.ok
    return found


async def one_round(machine: Vm, seconds: dict[str, list[float]]) -> None:
    client = machine.client
    since, began = len(client.events), time.monotonic()
    await client.plug(CPU)
    seconds["device_add answered"].append(time.monotonic() - began)
    await until(lambda: _registered(client, since), "the guest's word of a device check")
    seconds["plug to registered"].append(time.monotonic() - began)
    await machine.guest.online(CPU)
    began = time.monotonic()
    await client.unplug(CPU)
    seconds["unplug to ejected"].append(time.monotonic() - began)


def _registered(client: Client, since: int) -> bool:
    """Whether the guest has answered the device check; it may speak of the last eject before."""
    return any(
        event["event"] == "ACPI_DEVICE_OST"
        and event["data"]["info"]["source"] == OstSource.DEVICE_CHECK
        for event in client.events[since:]
    )


@click.command()
@click.option("--rounds", "count", default=1000, show_default=True)
@click.option("--json", "as_json", is_flag=True)
def main(count: int, as_json: bool) -> None:
    """Measure COUNT rounds."""
    people = Console(stderr=as_json)
    found = asyncio.run(measure(count, people))
    report(people, found.seconds, found.samples)
    people.print(f"{found.events} events logged; the log replays: {found.replays}")
    if as_json:
        first, last = found.samples[0], found.samples[-1]
        print(orjson.dumps({
            "ok": found.replays, "rounds": count, "events": found.events,
            "medians_ms": {k: statistics.median(v) * 1000 for k, v in found.seconds.items()},
            "qemu": [asdict(first[0]), asdict(last[0])],
            "door": [asdict(first[1]), asdict(last[1])],
        }).decode())  # fmt: skip
    sys.exit(0 if found.replays else 1)


if __name__ == "__main__":
    main()
