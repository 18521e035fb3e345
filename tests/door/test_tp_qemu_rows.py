"""The rows of tp-qemu's matrix for vCPU hotplug, which says `no aarch64`, each on a real Linux.

Source: tp-qemu, qemu/tests/cfg/cpu_device_hotpluggable.cfg and the tests that it names. What
its rows with migration do is in test_moving.py.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Awaitable, Callable

import pytest

from tests.door.started import Vm, vm
from tests.qemu.support import needs_qemu
from tests.support.command import hpcore

pytestmark = needs_qemu

Row = Callable[[Vm], Awaitable[None]]

BUSY = "for n in 1 2 3 4; do (while :; do :; done) & done"


async def plain(machine: Vm) -> None:
    await machine.client.plug(2)
    await machine.shows({0, 1, 2})
    await machine.client.unplug(2)
    await machine.enabled({0, 1})


async def maximum(machine: Vm) -> None:
    for cpu in (2, 3):
        await machine.client.plug(cpu)
    await machine.shows({0, 1, 2, 3})
    words = await machine.client.refused(
        "device_add", driver="cortex-a57-arm-cpu", id="more", core_id=4
    )
    assert words == "Invalid core-id 4 specified, correct range 0:3"
    for cpu in (3, 2):
        await machine.client.unplug(cpu)
    await machine.enabled({0, 1})


async def invalid(machine: Vm) -> None:
    for given, says in (
        ({"core_id": -1}, "Invalid core-id -1"),
        ({"core_id": "two"}, "Invalid parameter type for 'core-id', expected: integer"),
        ({"core_id": 2, "cheese": 1}, "Property '.*cheese' not found"),
        ({"core_id": 2, "socket_id": 7}, "Invalid socket-id 7"),
    ):
        words = await machine.client.refused(
            "device_add", driver="cortex-a57-arm-cpu", id="x", **given
        )
        assert re.search(says, words), words
    words = await machine.client.refused("device_add", driver="cortex-a72-arm-cpu", id="x")
    assert words == "Invalid CPU type, expected cpu type: 'cortex-a57-arm-cpu'"
    assert set(await machine.client.there()) == {0, 1}


async def nonexistent(machine: Vm) -> None:
    assert "not found" in await machine.client.refused("device_del", id="cpu7")


async def in_use(machine: Vm) -> None:
    await machine.client.plug(2)
    words = await machine.client.refused(
        "device_add", driver="cortex-a57-arm-cpu", id="cpu2", core_id=3
    )
    assert "cpu2" in words
    words = await machine.client.refused(
        "device_add", driver="cortex-a57-arm-cpu", id="other", core_id=2
    )
    assert "exist" in words
    assert set(await machine.client.there()) == {0, 1, 2}


async def online_and_offline(machine: Vm) -> None:
    await machine.client.plug(2)
    await machine.shows({0, 1, 2})
    for _ in range(3):
        await machine.guest.offline(2)
        await machine.guest.online(2)
    await machine.guest.offline(2)
    await machine.client.unplug(2)
    await machine.enabled({0, 1})


async def pause_and_resume(machine: Vm) -> None:
    client = machine.client
    await client.do("stop")
    await client.plug(2)
    assert set(await client.there()) == {0, 1, 2}
    await client.do("cont")
    await machine.shows({0, 1, 2})
    await client.do("stop")
    since = len(client.events)
    await client.do("device_del", id="cpu2")
    await client.do("cont")
    await client.told("DEVICE_DELETED", since, device="cpu2")
    await machine.enabled({0, 1})


async def reboot_by_the_shell(machine: Vm) -> None:
    await machine.client.plug(2)
    await machine.enabled({0, 1, 2})
    await machine.guest.reboot()
    await machine.shows({0, 1, 2})
    await machine.client.unplug(2)
    await machine.enabled({0, 1})
    await machine.guest.reboot()
    await machine.shows({0, 1})


async def reboot_by_system_reset(machine: Vm) -> None:
    await machine.client.plug(3)
    await machine.enabled({0, 1, 3})
    ready = machine.guest.times_ready
    await machine.client.do("system_reset")
    await machine.guest.wait_ready(since=ready)
    await machine.shows({0, 1, 3})
    await machine.client.unplug(3)


async def shutdown(machine: Vm) -> None:
    await machine.client.plug(2)
    await machine.shows({0, 1, 2})
    await machine.guest.power_off()
    await machine.client.told("SHUTDOWN", reason="guest-shutdown")
    assert await machine.ended() == 0


async def stress_in_the_guest(machine: Vm) -> None:
    await machine.guest.run(BUSY)
    for cpu in (2, 3):
        await machine.client.plug(cpu)
    await machine.shows({0, 1, 2, 3})
    for cpu in (2, 3):
        await machine.client.unplug(cpu)
    await machine.enabled({0, 1})


async def repeated(machine: Vm) -> None:
    for _ in range(20):
        await machine.client.plug(2)
        await machine.shows({0, 1, 2})
        await machine.client.unplug(2)
    await machine.enabled({0, 1})


async def time_does_not_jump(machine: Vm) -> None:
    async def apart() -> float:
        """How far the guest's clock is from the host's, in seconds."""
        before = time.monotonic()
        uptime = float(await machine.guest.run("cut -d' ' -f1 /proc/uptime"))
        return uptime - (before + time.monotonic()) / 2

    first = await apart()
    for cpu in (2, 3):
        await machine.client.plug(cpu)
    await machine.shows({0, 1, 2, 3})
    for cpu in (2, 3):
        assert abs(float(await machine.guest.run(f"taskset -c {cpu} cut -d' ' -f1 /proc/uptime"))
                   - time.monotonic() - first) < 2, f"vCPU {cpu}"  # fmt: skip
    assert abs(await apart() - first) < 1
    said = await machine.guest.run("dmesg | grep -ciE 'clocksource.*unstable|soft lockup' || true")
    assert said == "0"


async def during_boot(machine: Vm) -> None:
    """The VM is not waited for: its kernel is just starting."""
    await machine.client.plug(2)
    await machine.guest.wait_ready(120)
    await machine.shows({0, 1, 2})
    await machine.client.unplug(2)


async def before_boot(machine: Vm) -> None:
    """The VM stands before its first instruction (-S)."""
    await machine.client.plug(2)
    assert set(await machine.client.there()) == {0, 1, 2}
    await machine.client.do("cont")
    await machine.guest.wait_ready(120)
    assert (await machine.guest.masks()).online == {0, 1, 2}  # by the kernel's own bring-up
    await machine.client.unplug(2)
    await machine.enabled({0, 1})


async def on_the_command_line(machine: Vm) -> None:
    assert (await machine.client.there())[3] == "/machine/peripheral/vcpu3"
    assert (await machine.guest.masks()).online == {0, 1, 3}
    since = len(machine.client.events)
    await machine.client.do("device_del", id="vcpu3")
    await machine.client.told("DEVICE_DELETED", since, device="vcpu3")
    await machine.enabled({0, 1})


ROWS: tuple[tuple[Row, tuple[str, ...], bool], ...] = (
    (before_boot, ("-S",), False),
    (on_the_command_line, ("-device", "cortex-a57-arm-cpu,id=vcpu3,core-id=3"), True),
    (during_boot, (), False),
    (plain, (), True),
    (maximum, (), True),
    (invalid, (), True),
    (nonexistent, (), True),
    (in_use, (), True),
    (online_and_offline, (), True),
    (pause_and_resume, (), True),
    (reboot_by_the_shell, (), True),
    (reboot_by_system_reset, (), True),
    (shutdown, (), True),
    (stress_in_the_guest, (), True),
    (repeated, (), True),
    (time_does_not_jump, (), True),
)
"""Each with its VM's own arguments, and whether it begins once the guest has booted."""


@pytest.mark.parametrize(("row", "words", "boots"), ROWS, ids=[row.__name__ for row, _, _ in ROWS])
def test_row(row: Row, words: tuple[str, ...], boots: bool) -> None:
    async def main() -> None:
        async with vm(*words, boots=boots) as machine:
            await row(machine)
            if machine.process.returncode is None:
                assert (await machine.client.do("query-status"))["running"]
            replayed = hpcore("replay", machine.log, "--quiet")
            assert replayed.code == 0, replayed

    asyncio.run(main())
