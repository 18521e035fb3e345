"""The transport over the CPU hotplug registers and the GED (hpcore.platform.hotplug_device).

Every access is an exit to the VMM, so the block's own search is used: a scan costs four
accesses a slot that has an event, and three for none, however many vCPUs there are. The
selector is one for all methods, so each holds the lock over its few accesses.
"""

from __future__ import annotations

from collections.abc import Mapping

from attrs import frozen

from hpcore.model import acpi
from hpcore.model.config import MachineConfig
from hpcore.platform import virt
from hpcore.platform.acpi.notify import DISPATCH, notify_dispatch
from hpcore.platform.acpi.power_button import press
from hpcore.platform.acpi.transport import CPU_SCOPE, GedInterrupt
from hpcore.platform.aml.objects import (
    Access,
    Bits,
    Gap,
    Space,
    field,
    method,
    mutex,
    operation_region,
    ref,
)
from hpcore.platform.aml.resources import InterruptMode
from hpcore.platform.aml.statements import (
    acquire,
    arg,
    bit_and,
    call,
    equal,
    give,
    leave,
    local,
    release,
    repeat,
    store,
    when,
)
from hpcore.platform.ged import GedEvent
from hpcore.platform.hotplug_registers import COMMAND, DATA, FLAGS, Flag, RegisterCommand, Store

LOCK, SELECTOR_UNIT, FLAGS_UNIT, COMMAND_UNIT, DATA_UNIT = "CPLK", "CSEL", "CFLG", "CCMD", "CDAT"


@frozen
class RegisterTransport:
    """The block at `base`, announced by the GED's edge.

    With `power_button` the same GED tells of that, too (HotplugDevice.press_power_button).
    """

    base: int = virt.CPU_HOTPLUG_BASE
    power_button: bool = False

    @property
    def interrupt(self) -> GedInterrupt:
        """SPI 9, as QEMU's `virt` has it for its GED."""
        return GedInterrupt(virt.ACPI_GED_GSI, InterruptMode.EDGE)

    def declarations(self, possible: int) -> bytes:
        """The two devices' registers, the lock, the scan, and its way to a vCPU's name."""
        return b"".join(
            (
                operation_region("CPHP", Space.SYSTEM_MEMORY, self.base, virt.CPU_HOTPLUG_SIZE),
                field(
                    "CPHP", Access.DWORD,
                    Bits(SELECTOR_UNIT, 32), Gap(8 * DATA - 32), Bits(DATA_UNIT, 32),
                ),
                # whole bytes, so that a store is one action and reads nothing first
                field(
                    "CPHP", Access.BYTE,
                    Gap(8 * FLAGS), Bits(FLAGS_UNIT, 8 * (COMMAND - FLAGS)), Bits(COMMAND_UNIT, 8),
                ),
                operation_region("GEDR", Space.SYSTEM_MEMORY, virt.GED_BASE, 4),
                field("GEDR", Access.DWORD, Bits("ESEL", 32)),
                mutex(LOCK),
                notify_dispatch(possible),
                _scan(),
            )
        )  # fmt: skip

    def status(self, index: int) -> bytes:
        """From the enabled flag."""
        status = local(0)
        return b"".join(
            (
                _select(index),
                store(acpi.STA_PRESENT, status),
                when(bit_and(_flags(), Flag.ENABLED), store(acpi.STA_ENABLED, status)),
                release(LOCK),
                give(status),
            )
        )

    def eject(self, index: int) -> bytes:
        """One store, at which the vCPU is no longer enabled."""
        return _select(index) + store(Store.EJECT, _flags()) + release(LOCK)

    def ost(self, index: int) -> bytes:
        """The event, then the status, which sends both off."""
        return b"".join(
            (
                _select(index),
                store(RegisterCommand.OST_EVENT, ref(COMMAND_UNIT)),
                store(arg(0), ref(DATA_UNIT)),
                store(RegisterCommand.OST_STATUS, ref(COMMAND_UNIT)),
                store(arg(1), ref(DATA_UNIT)),
                release(LOCK),
            )
        )

    def event_handler(self) -> bytes:
        """Take the GED's events; scan if one is a vCPU's."""
        events, scan = ref(f"{CPU_SCOPE}.ESEL"), call(f"{CPU_SCOPE}.CSCN")
        if not self.power_button:
            return when(bit_and(events, GedEvent.CPU_HOTPLUG), scan)
        taken = local(0)  # one load takes every event, so it is looked at twice
        return b"".join(
            (
                store(events, taken),
                when(bit_and(taken, GedEvent.POWER_DOWN), press()),
                when(bit_and(taken, GedEvent.CPU_HOTPLUG), scan),
            )
        )

    def memory(self, config: MachineConfig) -> Mapping[int, bytes]:
        """None: registers are no memory."""
        return {}


def _flags() -> bytes:
    return ref(FLAGS_UNIT)


def _select(index: int) -> bytes:
    return acquire(LOCK) + store(index, ref(SELECTOR_UNIT))


def _scan() -> bytes:
    """`CSCN`: from slot 0, notify every vCPU that has something waiting.

    Insert and remove are both looked at, never one else the other: with both waiting, the
    removal would be lost. The end is a search that finds nothing, which the VMM sees.
    """
    index, flags = local(0), local(1)

    def told(flag: Flag, clear: Store, event: int) -> bytes:
        return when(bit_and(flags, flag), store(clear, _flags()), call(DISPATCH, index, event))

    return method(
        "CSCN",
        acquire(LOCK),
        store(0, ref(SELECTOR_UNIT)),
        repeat(
            1,
            store(RegisterCommand.NEXT_WITH_EVENT, ref(COMMAND_UNIT)),
            store(ref(DATA_UNIT), index),
            store(_flags(), flags),
            when(equal(bit_and(flags, Flag.INSERT | Flag.REMOVE), 0), leave()),
            told(Flag.INSERT, Store.CLEAR_INSERT, acpi.Notification.DEVICE_CHECK),
            told(Flag.REMOVE, Store.CLEAR_REMOVE, acpi.Notification.EJECT_REQUEST),
        ),
        release(LOCK),
    )
