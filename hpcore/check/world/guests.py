"""What a guest may do: Linux, an older Linux, and one that means harm.

What a guest knows is read off the slot: the insert bit is clear once it has taken the
device check, the remove bit once it has taken the eject request, `registered` says that
it answered with `_OST`.

Linux and the older one are let do a little more than they do: their last vCPU may go off
as well. To keep it on would take a count of the vCPUs that are on, over all slots, and
what holds with it holds all the more without.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum

from hpcore.check.world.conditions import EVENT_BITS, Need
from hpcore.check.world.offers import Offer
from hpcore.model import stimuli as st
from hpcore.model.acpi import OstSource, OstStatus
from hpcore.model.states import Shared, Slot


class Guest(StrEnum):
    """Who runs in the machine."""

    LINUX = "linux"
    """6.11 or later: takes what it is told, asks for nothing else."""
    LEGACY = "legacy"
    """Does not know what online-capable means: answers like Linux, and starts none of them."""
    HOSTILE = "hostile"
    """Any call, at any time, for any vCPU, in any order."""


def calls(guest: Guest, index: int, slot: Slot, shared: Shared) -> Iterator[Offer]:
    """What `guest` may do that concerns one vCPU."""
    if guest is Guest.HOSTILE:
        return _hostile(index, slot)
    if not shared.guest_runs or shared.paused:
        return iter(())
    return _linux(index, slot, shared) if guest is Guest.LINUX else _legacy(index, slot, shared)


def machine_calls(guest: Guest, shared: Shared) -> Iterator[Offer]:
    """What `guest` may do that concerns no single vCPU: reading the event bits."""
    hostile = guest is Guest.HOSTILE
    runs = shared.guest_runs and not shared.paused
    if hostile or (runs and shared.ged and not shared.scanning):
        yield Offer(st.ScanStarted())
    if hostile or (runs and shared.scanning):
        yield Offer(st.ScanEnded(), needs=(Need(EVENT_BITS, most=0),))
        yield Offer(st.ScanEnded(), needs=(Need(EVENT_BITS, least=1),))


def _cpu_on(index: int, slot: Slot) -> Iterator[Offer]:
    """CPU_ON as the core answers it, and as an accelerator does that was told when to."""
    yield Offer(st.CpuOnCalled(index))
    if not slot.powered:
        yield Offer(st.CpuOnCalled(index, verdict=slot.enabled))


def _hostile(index: int, slot: Slot) -> Iterator[Offer]:
    yield from _cpu_on(index, slot)
    for stimulus in (
        st.InsertAcked(index), st.RemoveAcked(index), st.CpuOffSeen(index), st.EjectCalled(index),
        st.OstReported(index, OstSource.DEVICE_CHECK, OstStatus.SUCCESS),
        st.OstReported(index, OstSource.EJECT_REQUEST, OstStatus.EJECTION_DISABLED),
    ):  # fmt: skip
        yield Offer(stimulus)


def _acks(index: int, slot: Slot, shared: Shared) -> Iterator[Offer]:
    """The AML of the scan: one bit after the other, the insertion first."""
    if shared.scanning and slot.insert:
        yield Offer(st.InsertAcked(index))
    elif shared.scanning and slot.remove:
        yield Offer(st.RemoveAcked(index))


def _answers(index: int, slot: Slot) -> Iterator[Offer]:
    """What ACPI answers: to a device check with success, to an eject request either way."""
    if slot.enabled and not (slot.insert or slot.registered or slot.cold):
        yield Offer(st.OstReported(index, OstSource.DEVICE_CHECK, OstStatus.SUCCESS))
    if _asked(slot):
        yield Offer(st.OstReported(index, OstSource.EJECT_REQUEST, OstStatus.EJECTION_DISABLED))
        if not slot.powered:
            yield Offer(st.EjectCalled(index))


def _asked(slot: Slot) -> bool:
    """Whether the guest has taken an eject request."""
    return slot.requested and not slot.remove


def _linux(index: int, slot: Slot, shared: Shared) -> Iterator[Offer]:
    yield from _acks(index, slot, shared)
    yield from _answers(index, slot)
    if slot.powered:
        yield Offer(st.CpuOffSeen(index))
    elif not (slot.insert or _asked(slot)):
        # At boot it tries every possible vCPU, and learns by DENIED which are not there.
        yield from _cpu_on(index, slot)


def _legacy(index: int, slot: Slot, shared: Shared) -> Iterator[Offer]:
    yield from _acks(index, slot, shared)
    yield from _answers(index, slot)
    if slot.powered:
        yield Offer(st.CpuOffSeen(index))
    elif slot.cold:
        yield from _cpu_on(index, slot)
