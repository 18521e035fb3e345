"""A stock Linux takes the tables, and its AML interpreter runs them, on a real QEMU.

One boot for all of it, as booting is what costs.
"""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

from hpcore.guest.linux import LinuxGuest
from hpcore.guest.shell import Shell
from hpcore.model import acpi
from hpcore.platform import hotplug_page as page
from hpcore.platform.hotplug_page import RingRecord
from tests.platform.guest_memory import WRAP, Entry, GuestMemory, booted
from tests.platform.machines import machine

BOOTED = frozenset({0, 1})
DEVICE_CHECK_DONE = 1 << 16
EJECT_UNDER_WAY, EJECT_DONE = 3 << 16 | 0x84, 3 << 16


def test_linux_plugs_and_unplugs_through_the_page(tmp_path: Path) -> None:
    async def main() -> None:
        async with booted(machine(4, booted=2), tmp_path) as (shell, memory):
            await boots_without_a_complaint(shell)
            await a_vcpu_is_plugged_and_unplugged(shell, memory)
            await counters_wrap_around(shell, memory)
            await an_insert_does_not_hide_a_removal(shell, memory)
            await a_full_ring_is_waited_for(shell, memory)
            linux = LinuxGuest(shell)
            await linux.reboot(120)
            assert (await linux.masks()).enabled == BOOTED
            await linux.power_off()
            await shell.wait_gone()

    asyncio.run(main())


async def boots_without_a_complaint(shell: Shell) -> None:
    masks = await LinuxGuest(shell).masks()
    assert masks.possible == masks.present == {0, 1, 2, 3}
    assert masks.enabled == masks.online == BOOTED
    dmesg = (await shell.run("dmesg")).output
    assert "Interpreter enabled" in dmesg
    complaint = r"ACPI.*(Error|Warning|Exception|BIOS|Invalid|failed)|Firmware Bug|FW_BUG|_OSC: not"
    assert [line for line in dmesg.splitlines() if re.search(complaint, line)] == []


async def plug(memory: GuestMemory, slot: int) -> list[Entry]:
    await memory.set_byte(page.STA, slot, acpi.STA_ENABLED)
    await memory.set_byte(page.INSERT, slot, 1)
    await memory.raise_event()
    return await memory.until(lambda seen: (RingRecord.OST, slot, DEVICE_CHECK_DONE) in seen)


async def unplug(memory: GuestMemory, slot: int) -> list[Entry]:
    await memory.set_byte(page.REMOVE, slot, 1)
    await memory.raise_event()
    return await memory.until(lambda seen: (RingRecord.OST, slot, EJECT_DONE) in seen)


async def a_vcpu_is_plugged_and_unplugged(shell: Shell, memory: GuestMemory) -> None:
    assert await plug(memory, 3) == [
        (RingRecord.SCAN_STARTED, 0, 0),
        (RingRecord.INSERT_ACKED, 3, 0),
        (RingRecord.SCAN_ENDED, 0, 0),
        (RingRecord.OST, 3, DEVICE_CHECK_DONE),
    ]
    assert await memory.byte(page.INSERT, 3) == 0
    assert (await LinuxGuest(shell).masks()).enabled == BOOTED | {3}
    await LinuxGuest(shell).online(3)
    assert (await LinuxGuest(shell).masks()).online == {0, 1, 3}
    seen = await unplug(memory, 3)
    # the notification's handler may overtake the end of the scan
    assert sorted(seen) == sorted(
        [
            (RingRecord.SCAN_STARTED, 0, 0),
            (RingRecord.REMOVE_ACKED, 3, 0),
            (RingRecord.SCAN_ENDED, 0, 0),
            (RingRecord.OST, 3, EJECT_UNDER_WAY),
            (RingRecord.EJECT, 3, 0),
            (RingRecord.OST, 3, EJECT_DONE),
        ]
    )
    in_order = [entry for entry in seen if entry[0] in (RingRecord.OST, RingRecord.EJECT)]
    assert [entry[2] for entry in in_order] == [EJECT_UNDER_WAY, 0, EJECT_DONE]
    assert await memory.byte(page.STA, 3) == acpi.STA_PRESENT
    masks = await LinuxGuest(shell).masks()
    assert masks.enabled == masks.online == BOOTED


async def counters_wrap_around(shell: Shell, memory: GuestMemory) -> None:
    await memory.set_word(page.PAGE_BASE + page.HEAD, WRAP - 2)
    await memory.set_tail(WRAP - 2)
    assert len(await plug(memory, 2)) == 4
    assert await memory.heads() == (2, 2)
    await unplug(memory, 2)


async def an_insert_does_not_hide_a_removal(shell: Shell, memory: GuestMemory) -> None:
    await memory.set_byte(page.STA, 2, acpi.STA_ENABLED)
    await memory.set_byte(page.INSERT, 2, 1)
    await memory.set_byte(page.REMOVE, 2, 1)
    await memory.raise_event()
    seen = await memory.until(lambda seen: (RingRecord.OST, 2, EJECT_DONE) in seen)
    acknowledged = [kind for kind, slot, _ in seen if slot == 2 and kind != RingRecord.OST]
    assert acknowledged == [RingRecord.INSERT_ACKED, RingRecord.REMOVE_ACKED, RingRecord.EJECT]
    assert (RingRecord.OST, 2, DEVICE_CHECK_DONE) in seen
    assert (await LinuxGuest(shell).masks()).enabled == BOOTED


async def a_full_ring_is_waited_for(shell: Shell, memory: GuestMemory) -> None:
    head, tail = await memory.heads()
    assert head == tail
    await memory.set_tail(head - page.RING_RECORDS)
    await memory.raise_event()
    await asyncio.sleep(0.3)
    assert await memory.doorbell(), "a full ring rings"
    assert (await memory.heads())[0] == head, "a full ring is not written to"
    await memory.set_tail(head)
    seen = await memory.until(lambda seen: (RingRecord.SCAN_ENDED, 0, 0) in seen)
    assert seen == [(RingRecord.SCAN_STARTED, 0, 0), (RingRecord.SCAN_ENDED, 0, 0)]
