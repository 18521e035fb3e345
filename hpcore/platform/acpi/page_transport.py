"""The transport over memory shared with an EL3 monitor (hpcore.platform.hotplug_page).

What keeps it cheap for ACPICA at 512 vCPUs: the page is one fixed region, whose cells
are field units with names of their own, so no access builds a region. The scan reads
eight cells at a time and looks closer only where one of them is set. Measured with
Linux 6.12 on TCG, an empty scan of 512: 10 ms, against 250 ms and more for a loop with
a region for every access.
"""

from __future__ import annotations

from collections.abc import Mapping

from hpcore.model import acpi
from hpcore.model.config import MachineConfig
from hpcore.platform import hotplug_page as page
from hpcore.platform import virt
from hpcore.platform.acpi.transport import CPU_SCOPE, GedInterrupt, cpu_name
from hpcore.platform.aml.objects import (
    Access,
    Bits,
    Gap,
    Space,
    Value,
    field,
    method,
    mutex,
    operation_region,
    ref,
)
from hpcore.platform.aml.resources import InterruptMode
from hpcore.platform.aml.statements import (
    acquire,
    add,
    arg,
    bit_and,
    bit_or,
    both,
    call,
    either,
    give,
    increment,
    less,
    local,
    not_equal,
    not_less,
    notify,
    release,
    repeat,
    shift_left,
    sleep,
    store,
    subtract,
    when,
)

CELLS_AT_ONCE = 8
FULL_RING_WAITS, FULL_RING_WAIT_MS = 200, 5
"""A full ring is waited for one second; a monitor that drains takes far less."""

RTC_DATA, RTC_MATCH = 0x0, 0x4  # PL031: the count in seconds, and the alarm
_U32 = 0xFFFF_FFFF


class PageTransport:
    """Records in the page's ring, the RTC's alarm as doorbell, the GED on a spare SPI."""

    @property
    def interrupt(self) -> GedInterrupt:
        """SPI 15, pended by the monitor: an edge, as there is no line to lower."""
        return GedInterrupt(virt.GED_GSI, InterruptMode.EDGE)

    @property
    def power_button(self) -> bool:
        """Not told of: this GED has no register that could say which event it is."""
        return False

    def declarations(self, possible: int) -> bytes:
        """The page and the RTC, `PUT`, `BELL`, and the scan with a method for every 8 vCPUs."""
        groups = range(0, possible, CELLS_AT_ONCE)
        return b"".join(
            (
                operation_region("PAGE", Space.SYSTEM_MEMORY, page.PAGE_BASE, page.PAGE_SIZE),
                field("PAGE", Access.DWORD, Bits("HEAD", 32), Bits("TAIL", 32)),
                # bytes, so that clearing a cell never writes its neighbours back, which
                # the monitor may be setting at that moment
                _cells("S", page.STA, possible, 8, Access.BYTE),
                _cells("I", page.INSERT, possible, 8, Access.BYTE),
                _cells("R", page.REMOVE, possible, 8, Access.BYTE),
                # the same bytes by eights; only read
                _cells("J", page.INSERT, len(groups), 64, Access.QWORD),
                _cells("Q", page.REMOVE, len(groups), 64, Access.QWORD),
                operation_region("RTCR", Space.SYSTEM_MEMORY, virt.RTC_BASE, 0x1000),
                field("RTCR", Access.DWORD, Bits("RTCD", 32), Bits("RTCM", 32)),
                mutex("RLCK"),
                _doorbell(),
                _put(),
                *(_scan_group(first, possible) for first in groups),
                _scan(len(groups)),
            )
        )

    def status(self, index: int) -> bytes:
        """The vCPU's `_STA` byte, which the monitor and `_EJ0` write."""
        return give(ref(_cell("S", index)))

    def eject(self, index: int) -> bytes:
        """Not enabled first, then the report."""
        return b"".join(
            (
                store(acpi.STA_PRESENT, ref(_cell("S", index))),
                _report(page.RingRecord.EJECT, index),
                call("BELL"),
            )
        )

    def ost(self, index: int) -> bytes:
        """Source event and status, 16 bits each."""
        argument = bit_or(shift_left(bit_and(arg(0), 0xFFFF), 16), bit_and(arg(1), 0xFFFF))
        return _report(page.RingRecord.OST, index, argument) + call("BELL")

    def event_handler(self) -> bytes:
        """One scan of all cells."""
        return call(f"{CPU_SCOPE}.SCAN")

    def memory(self, config: MachineConfig) -> Mapping[int, bytes]:
        """The first `_STA` bytes; the monitor writes its own before the guest runs."""
        sta = bytes(
            acpi.STA_ENABLED if config.cold_booted(slot) else acpi.STA_PRESENT
            for slot in range(config.possible)
        )
        return {page.PAGE_BASE + page.STA: sta}


def _cell(kind: str, index: int) -> str:
    return f"{kind}{index:03X}"


def _cells(kind: str, offset: int, count: int, width: int, access: Access) -> bytes:
    units = (Bits(_cell(kind, index), width) for index in range(count))
    return field("PAGE", access, Gap(8 * offset), *units)


def _report(kind: page.RingRecord, index: int, argument: Value = 0) -> bytes:
    return call("PUT", kind | index << 16, argument)


def _doorbell() -> bytes:
    """`BELL`: set the RTC's alarm to now, which raises its interrupt at once.

    QEMU's hw/rtc/pl031.c compares when the alarm is written. If the second turns between
    the read and the write, the alarm lies in the past and stays silent: once more.
    """
    now, alarm = ref("RTCD"), ref("RTCM")
    return method("BELL", store(now, alarm), when(not_equal(now, alarm), store(now, alarm)))


def _put() -> bytes:
    """`PUT (kind | index << 16, argument)`: append a record to the ring.

    Full means that the monitor has not drained since the last doorbell: ring, and wait a
    while. If it stays full there is no monitor, and the record is dropped rather than
    written over one that was not read.
    """
    head, waits = local(0), local(1)
    used = bit_and(subtract(ref("HEAD"), ref("TAIL")), _U32)
    full = not_less(used, page.RING_RECORDS)
    start = add(
        page.PAGE_BASE + page.RING,
        shift_left(bit_and(head, page.RING_RECORDS - 1), page.RECORD_SIZE.bit_length() - 1),
    )
    return method(
        "PUT",
        acquire("RLCK"),
        store(0, waits),
        repeat(
            both(full, less(waits, FULL_RING_WAITS)),
            call("BELL"),
            sleep(FULL_RING_WAIT_MS),
            increment(waits),
        ),
        when(
            less(used, page.RING_RECORDS),
            store(ref("HEAD"), head),
            operation_region("SLOT", Space.SYSTEM_MEMORY, start, page.RECORD_SIZE),
            field("SLOT", Access.DWORD, Bits("KIND", 32), Bits("ARGU", 32)),
            store(arg(0), ref("KIND")),
            store(arg(1), ref("ARGU")),
            add(head, 1, ref("HEAD")),  # last: it publishes the record
        ),
        release("RLCK"),
        args=2,
    )


def _scan_group(first: int, possible: int) -> bytes:
    """`Xnnn`: look at up to 8 vCPUs, and notify those that have something waiting.

    Both cells are looked at for each, never one else the other: with an insert and a
    removal waiting, the removal would be lost.
    """
    terms: list[bytes] = []
    for index in range(first, min(first + CELLS_AT_ONCE, possible)):
        for kind, record, event in (
            ("I", page.RingRecord.INSERT_ACKED, acpi.Notification.DEVICE_CHECK),
            ("R", page.RingRecord.REMOVE_ACKED, acpi.Notification.EJECT_REQUEST),
        ):
            cell = ref(_cell(kind, index))
            terms.append(
                when(
                    cell,
                    store(0, cell),
                    _report(record, index),
                    notify(cpu_name(index), event),
                )
            )
    return method(_cell("X", first // CELLS_AT_ONCE), *terms)


def _scan(groups: int) -> bytes:
    terms = (
        when(either(ref(_cell("J", group)), ref(_cell("Q", group))), call(_cell("X", group)))
        for group in range(groups)
    )
    return method(
        "SCAN",
        call("PUT", page.RingRecord.SCAN_STARTED, 0),
        *terms,
        call("PUT", page.RingRecord.SCAN_ENDED, 0),
        call("BELL"),
    )
