"""A VM goes into a file and to another VM by a client's own `migrate`, with what is plugged."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

from hpcore_tcg.elsewhere import live_on

from hpcore.qemu.find import find_qemu
from tests.door.started import SMALL, TCG, TOLD, Vm, vm, why_not_taken
from tests.qemu.support import needs_qemu
from tests.support.command import hpcore

pytestmark = needs_qemu

def test_a_vm_that_was_saved_goes_on_in_another_with_what_is_plugged(tmp_path: Path) -> None:
    async def main() -> None:
        file = tmp_path / "saved"
        async with vm(memory=SMALL) as source:
            await source.client.plug(2)
            await source.shows({0, 1, 2})
            await source.client.do("migrate", uri=f"exec:cat > {file}")
            assert (await source.client.migrated())["status"] == "completed"
            await source.client.do("cont")
            await source.shows({0, 1, 2})
        async with vm("-S", "-incoming", "defer", memory=SMALL, boots=False) as there:
            await there.client.plug(2)
            await there.client.do("migrate-incoming", uri=f"exec:cat {file}")
            assert (await there.client.migrated())["status"] == "completed"
            assert (await there.client.there())[2] == "/machine/peripheral/cpu2"
            await there.client.do("cont")
            await there.shows({0, 1, 2})
            await there.client.do("system_reset")
            await there.guest.wait_ready(120.0)
            await there.shows({0, 1, 2})
            await there.client.unplug(2)
            await there.enabled({0, 1})
            replayed = hpcore("replay", there.log, "--quiet")
            assert replayed.code == 0, replayed

    asyncio.run(main())


async def tried(source: Vm, uri: str) -> str:
    """Why the machine was not carried there; its guest goes on, and says so."""
    since = len(source.client.events)
    await source.client.do("migrate", uri=uri)
    found = await source.client.migrated()
    assert found["status"] == "failed", found
    await goes_on(source, since)
    return str(found["error-desc"])


async def goes_on(source: Vm, since: int) -> None:
    """It runs on, or has stood still and runs again, with what is plugged."""
    if not live_on(find_qemu().version):
        await source.client.told("RESUME", since)
    assert (await source.client.do("query-status"))["status"] == "running"
    assert (await source.guest.masks()).online == {0, 1, 2}


async def carried(source: Vm, words: Sequence[str] = (), *, smp: str = "2,maxcpus=4",
                  plugs: bool = True) -> tuple[str, int]:  # fmt: skip
    """Why the machine does not come to a VM of that kind, and how that VM ends."""
    async with vm(*words, "-S", "-incoming", "defer", memory=SMALL, smp=smp, boots=False) as there:
        if plugs:
            await there.client.plug(2)
        place = there.directory / "incoming"
        await there.client.do("migrate-incoming", uri=f"unix:{place}")
        return await tried(source, f"unix:{place}"), await there.ended()


def test_a_migration_that_fails_leaves_the_machine_where_it_is_and_the_next_one_works(
    tmp_path: Path,
) -> None:
    async def main() -> None:
        async with vm(memory=SMALL) as source:
            client = source.client
            await client.plug(2)
            await source.shows({0, 1, 2})
            await client.do("migrate-set-capabilities", capabilities=TOLD)
            # one that is not alike is refused by its door, with the words here
            why, status = await carried(source, smp="2,maxcpus=6")
            assert ("was started with -smp" in why, status) == (True, 1), why
            why, status = await carried(source, plugs=False)
            assert ("plug here what is plugged there" in why, status) == (True, 1), why
            # a file that takes no more, and a program that fails
            assert await tried(source, "exec:cat > /dev/full")
            assert "status 3" in await tried(source, "exec:cat > /dev/null; exit 3")
            assert await client.refused("migrate", uri="unix:/nowhere/at/all")
            assert await client.refused("migrate", uri="rdma:x") == (
                "Parameter 'uri' expects a valid migration protocol"
            )
            # cut off in the middle, and cancelled
            await client.do("migrate-set-parameters", max_bandwidth=4 << 20)
            async with vm("-S", "-incoming", "defer", memory=SMALL, boots=False) as there:
                await there.client.plug(2)
                place = there.directory / "incoming"
                await there.client.do("migrate-set-capabilities", capabilities=TOLD)
                await there.client.do("migrate-incoming", uri=f"unix:{place}")
                since = len(client.events)
                await client.do("migrate", uri=f"unix:{place}")
                await there.client.told("MIGRATION", status="active")
                there.process.kill()
                assert (await client.migrated())["status"] == "failed"
                await client.told("MIGRATION", since, status="failed")
                await goes_on(source, since)
            since = len(client.events)
            await client.do("migrate", uri="exec:cat > /dev/null")
            assert "in progress" in await client.refused("migrate", uri="exec:true")
            await client.do("migrate_cancel")
            assert (await client.migrated())["status"] == "cancelled"
            await goes_on(source, since)
            # and now it works
            await client.do("migrate-set-parameters", max_bandwidth=1 << 30)
            async with vm("-incoming", f"unix:{tmp_path}/incoming", "-device",
                          f"{TCG[-1]}-arm-cpu,id=cpu2,core-id=2", memory=SMALL,
                          boots=False) as there:  # fmt: skip
                await client.do("migrate", uri=f"unix:{tmp_path}/incoming")
                assert (await client.migrated())["status"] == "completed"
                await there.shows({0, 1, 2})  # without -S it goes on by itself
                await there.client.unplug(2)
                assert (await client.do("query-status"))["status"] == "postmigrate"

    asyncio.run(main())


def test_a_stream_without_hpcores_part_is_refused_where_the_caller_looks(tmp_path: Path) -> None:
    said = why_not_taken(tmp_path, "exec:printf QEVM%0100d 0")
    assert "the machine is not taken: it comes from a QEMU without hpcore" in said
