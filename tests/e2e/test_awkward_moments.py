"""Commands that come to a real Linux when it can't act: during its reset, in a pause, twice."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from hpcore.guest.images import fetched_guest
from hpcore.log import Sync
from hpcore.model.config import MachineConfig
from hpcore.model.events import StepBegun, UnplugCompleted, UnplugRepeated
from hpcore.model.machines import Phase
from hpcore.model.stimuli import DeviceAdd, DeviceDel, Reset
from hpcore.run import GuestImages, LiveMachine, find, open_machine
from hpcore.run.commands import NeverRegistered, PlugStage
from hpcore.triage.replay import replay
from tests.support.command import SECONDS, needs_guest, records

pytestmark = needs_guest


@asynccontextmanager
async def linux(log: Path, append: str = "") -> AsyncIterator[LiveMachine]:
    """A booted one on tcg, with vCPU 0 cold-booted and vCPU 1 plugged as `a`."""
    fetched = fetched_guest()
    assert fetched is not None, "needs_guest"
    images = GuestImages(fetched.kernel, fetched.initramfs(), append)
    async with (
        asyncio.timeout(SECONDS),
        open_machine(
            find("tcg"), MachineConfig.of(1, 4, memory=512), images, log=log, sync=Sync.OS
        ) as machine,
    ):
        await machine.boot()
        await machine.plug("a", core_id=1)
        yield machine


def asked(log: Path) -> list[int]:
    """The slots for which the guest was asked to eject, in order."""
    events = (record.event for record in records(log))
    return [e.slot for e in events if isinstance(e, StepBegun) and e.step == "notify_remove"]


def test_what_is_given_during_a_reset_is_carried_out_after_it(tmp_path: Path) -> None:
    log = tmp_path / "log"

    async def main() -> None:
        async with linux(log) as m:
            reset = await m.begin(Reset())
            await m.until(lambda s: s.shared.phase is Phase.RESETTING, "the reset")
            plug = await m.begin(DeviceAdd("d", (("core-id", 3),)))
            unplugs = [await m.begin(DeviceDel("a")) for _ in range(2)]
            assert plug.stage is PlugStage.ACCEPTED
            await reset.ended()
            await m.guest_ready()
            assert await plug.registered()
            assert [await unplug.ended() for unplug in unplugs] == [True, True]
            assert (await m.guest.masks()).enabled == frozenset({0, 3})

    asyncio.run(main())
    assert replay(log).ok
    assert asked(log) == [1], "once, and after the reset"


def test_what_is_given_in_a_pause_is_carried_out_after_it(tmp_path: Path) -> None:
    log = tmp_path / "log"

    async def main() -> None:
        async with linux(log) as m:
            await m.pause()
            plug = await m.plug("b", core_id=2)
            unplugs = [await m.unplug("a") for _ in range(2)]
            assert plug.stage is PlugStage.ACCEPTED
            await m.resume()
            assert await plug.registered()
            assert [await unplug.ended() for unplug in unplugs] == [True, True]
            assert (await m.guest.masks()).enabled == frozenset({0, 2})

    asyncio.run(main())
    assert replay(log).ok
    events = [record.event for record in records(log)]
    assert events.count(UnplugRepeated(1, "a")) == 1
    assert events.count(UnplugCompleted(1, "a")) == 1


def test_a_plug_that_the_guest_has_no_room_for_says_so(tmp_path: Path) -> None:
    async def main() -> None:
        async with linux(tmp_path / "log", "nr_cpus=2") as m:
            with pytest.raises(NeverRegistered, match=r"place for CPUs 0-1 .* shows 0-1 as usable"):
                await m.plug("b", core_id=2)
            assert m.slot("b").enabled
            assert await (await m.unplug("b")).ended()

    asyncio.run(main())
