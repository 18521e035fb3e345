"""A VM goes into a file and to another VM by a client's own `migrate`, with what is plugged."""

from __future__ import annotations

import asyncio
from pathlib import Path

from tests.door.started import Client, vm
from tests.qemu.support import needs_qemu
from tests.support.command import hpcore

pytestmark = needs_qemu

SMALL = "256M"


async def ended(client: Client) -> dict[str, object]:
    """What `query-migrate` says once the migration is over."""
    found: dict[str, object] = {}

    async def over() -> bool:
        found.clear()
        found.update(await client.do("query-migrate"))
        return found.get("status") in ("completed", "failed", "cancelled")

    deadline = asyncio.get_running_loop().time() + 60
    while not await over():
        assert asyncio.get_running_loop().time() < deadline, found
        await asyncio.sleep(0.02)
    return found


def test_a_vm_that_was_saved_goes_on_in_another_with_what_is_plugged(tmp_path: Path) -> None:
    async def main() -> None:
        file = tmp_path / "saved"
        async with vm(memory=SMALL) as source:
            await source.client.plug(2)
            await source.shows({0, 1, 2})
            await source.client.do("migrate", uri=f"exec:cat > {file}")
            assert (await ended(source.client))["status"] == "completed"
            await source.client.do("cont")
            await source.shows({0, 1, 2})
        async with vm("-S", "-incoming", "defer", memory=SMALL, boots=False) as there:
            await there.client.plug(2)
            await there.client.do("migrate-incoming", uri=f"exec:cat {file}")
            assert (await ended(there.client))["status"] == "completed"
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
