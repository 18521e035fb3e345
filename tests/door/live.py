"""A VM that runs while it goes to another one. For a QEMU from 9.0 on, which HPCORE_QEMU names:

HPCORE_QEMU=/path/to/qemu-system-aarch64 make moving-live
"""

from __future__ import annotations

import asyncio
from pathlib import Path

from hpcore_tcg.elsewhere import LIVE_FROM, live_on

from hpcore.qemu.find import find_qemu
from tests.door.started import SMALL, TOLD, vm
from tests.support.command import hpcore

SLOW, FAST = 2 << 20, 1 << 30


def test_what_a_guest_does_while_it_is_carried_is_known_where_it_comes_to(tmp_path: Path) -> None:
    assert live_on(find_qemu().version), f"have HPCORE_QEMU name a QEMU from {LIVE_FROM} on"

    async def main() -> None:
        place = f"unix:{tmp_path}/incoming"
        async with (
            vm(memory=SMALL) as source,
            vm("-incoming", place, memory=SMALL, boots=False) as there,
        ):
            await source.client.do("migrate-set-capabilities", capabilities=TOLD)
            await source.client.do("migrate-set-parameters", max_bandwidth=SLOW)
            since = len(source.client.events)
            await source.client.do("migrate", uri=place)
            await source.client.told("MIGRATION", since, status="active")
            # it runs, and its calls are heard and answered
            await source.guest.offline(1)
            await source.guest.online(1)
            await source.guest.offline(1)
            assert (await source.client.do("query-migrate"))["status"] == "active"
            assert "STOP" not in {event["event"] for event in source.client.events[since:]}
            await source.client.do("migrate-set-parameters", max_bandwidth=FAST)
            assert (await source.client.migrated())["status"] == "completed"
            assert (await source.client.do("query-status"))["status"] == "postmigrate"
            await there.enabled({0, 1})  # without -S it goes on by itself
            assert (await there.guest.masks()).online == {0}
            await there.shows({0, 1})
            await there.client.plug(2)
            await there.shows({0, 1, 2})
            await there.client.do("system_reset")
            await there.guest.wait_ready(120.0)
            await there.shows({0, 1, 2})
            assert there.log.read_text().count('"cpu_went_off"') >= 2
            for log in (source.log, there.log):
                replayed = hpcore("replay", log, "--quiet")
                assert replayed.code == 0, replayed

    asyncio.run(main())
