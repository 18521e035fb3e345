"""A VM behind the door on KVM rests in a file and moves to another door, with what is plugged."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest

from hpcore.model.events import CpuOnDenied
from tests.door import started
from tests.door.started import KVM, PLUGGABLE_ON_KVM, SMALL, TOLD, Client, Vm
from tests.support.command import hpcore, records

READY_SECONDS = 240.0
SLOW, FAST = 4 << 20, 1 << 30
TOLD_AT_SWITCH = [*TOLD, {"capability": "pause-before-switchover", "state": True}]

vm = partial(started.vm, machine=KVM, memory=SMALL)


async def plug(client: Client, *cpus: int) -> None:
    for cpu in cpus:
        await client.plug(cpu, driver=PLUGGABLE_ON_KVM)


@asynccontextmanager
async def source() -> AsyncIterator[Vm]:
    """A guest of 2 vCPUs of 4, and a third that is plugged and in use."""
    async with vm(boots=False) as made:
        await made.guest.wait_ready(READY_SECONDS)
        await plug(made.client, 2)
        await made.shows({0, 1, 2})
        yield made


def denied(made: Vm) -> list[int]:
    """The vCPUs of which the guest's CPU_ON was denied, as the log has it."""
    return [r.event.slot for r in records(made.log) if isinstance(r.event, CpuOnDenied)]


async def reset_keeps(made: Vm, cpus: set[int], *, denies: set[int]) -> None:
    """A reset: Linux calls CPU_ON of all that are present, and has what is plugged."""
    before = len(denied(made))
    await made.client.do("system_reset")
    await made.guest.wait_ready(READY_SECONDS)
    await made.shows(cpus)
    assert set(denied(made)[before:]) == denies


def replays(made: Vm) -> None:
    replayed = hpcore("replay", made.log, "--quiet")
    assert replayed.code == 0, replayed


@pytest.mark.each_qemu
def test_a_vm_that_was_saved_goes_on_behind_another_door(tmp_path: Path) -> None:
    async def main() -> None:
        file = tmp_path / "saved"
        async with source() as saved:
            await saved.client.do("migrate", uri=f"exec:cat > {file}")
            assert (await saved.client.migrated())["status"] == "completed"
            await saved.client.do("cont")
            await saved.shows({0, 1, 2})
            replays(saved)
        async with vm("-S", "-incoming", "defer", boots=False) as there:
            await plug(there.client, 2)
            await there.client.do("migrate-incoming", uri=f"exec:cat {file}")
            assert (await there.client.migrated())["status"] == "completed"
            await there.client.do("cont")
            await there.shows({0, 1, 2})
            await there.client.unplug(2)
            await there.enabled({0, 1})
            await plug(there.client, 3)
            await there.shows({0, 1, 3})
            replays(there)

    asyncio.run(main())


@pytest.mark.long
def test_a_vm_moves_while_it_runs_and_one_that_could_not_goes_on(tmp_path: Path) -> None:
    """The other side is killed in the middle, and at the switch; somebody cancels; then it goes."""

    async def main() -> None:
        async with source() as here:
            client = here.client
            await client.do("migrate-set-parameters", max_bandwidth=SLOW)
            await client.do("migrate-set-capabilities", capabilities=TOLD)
            await killed(here, "active")
            since = len(client.events)
            await client.do("migrate", uri="exec:cat > /dev/null")
            await client.told("MIGRATION", since, status="active")
            await client.do("migrate_cancel")
            assert (await client.migrated())["status"] == "cancelled"
            await goes_on(here)
            await client.do("migrate-set-parameters", max_bandwidth=FAST)
            await client.do("migrate-set-capabilities", capabilities=TOLD_AT_SWITCH)
            await killed(here, "pre-switchover")
            off = [{**capability, "state": False} for capability in TOLD_AT_SWITCH]
            await client.do("migrate-set-capabilities", capabilities=off)
            place = f"unix:{tmp_path}/incoming"
            plugged = f"{PLUGGABLE_ON_KVM},id=cpu2,core-id=2"
            async with vm("-incoming", place, "-device", plugged, boots=False) as there:
                await client.do("migrate", uri=place)
                assert (await client.migrated())["status"] == "completed"
                assert (await client.do("query-status"))["status"] == "postmigrate"
                await there.shows({0, 1, 2})  # without -S it goes on by itself
                await plug(there.client, 3)
                await there.shows({0, 1, 2, 3})
                await there.client.unplug(2)
                await there.enabled({0, 1, 3})
                await reset_keeps(there, {0, 1, 3}, denies={2})
                replays(there)
            replays(here)

    asyncio.run(main())


async def killed(here: Vm, at: str) -> None:
    """The other side is killed at that word of QEMU's: the machine goes on here."""
    async with vm("-S", "-incoming", "defer", boots=False) as there:
        await plug(there.client, 2)
        place = f"unix:{there.directory}/incoming"
        await there.client.do("migrate-incoming", uri=place)
        since = len(here.client.events)
        await here.client.do("migrate", uri=place)
        await here.client.told("MIGRATION", since, status=at)
        there.process.kill()
        await there.process.wait()
        if at == "pre-switchover":
            await here.client.do("migrate-continue", state=at)
        assert (await here.client.migrated())["status"] == "failed"
    await goes_on(here)


async def goes_on(here: Vm) -> None:
    """It runs, with what is plugged."""
    assert (await here.client.do("query-status"))["status"] == "running"
    assert (await here.guest.masks()).online == {0, 1, 2}
