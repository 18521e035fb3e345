"""What a guest may do: Linux, an older Linux, one that means harm, or one of your own.

What a guest knows is read off the slot: the insert bit is clear once it has taken the
device check, the remove bit once it has taken the eject request, `registered` says that
it answered with `_OST`. No guest has a state of its own.

Linux and the older one are let do a little more than they do: their last vCPU may go off
as well. To keep it on would take a count of the vCPUs that are on, over all slots, and
what holds with it holds all the more without.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Protocol

import attrs
from attrs import frozen

from hpcore.model import stimuli as st
from hpcore.model.acpi import OstSource, OstStatus
from hpcore.model.states import Shared, Slot

REFUSED = OstStatus.EJECTION_DISABLED
"""`_OST` for an eject that the guest's administrator does not allow."""


class GuestModel(Protocol):
    """Who runs in the machine. Make one of your own as a frozen attrs class.

    A guest is a value: two that compare equal do the same. It treats every vCPU alike that
    is not there at boot; `index` is for the stimuli to name. One that tells them apart is
    refused, because one table stands for all of them.
    """

    @property
    def name(self) -> str:
        """How it is called, on the command line and in what is printed."""

    @property
    def reads_registered(self) -> bool:
        """Whether what it does depends on `Slot.registered`; if not, fewer states are told
        apart."""

    @property
    def leaves_out(self) -> frozenset[str]:
        """The names of *sometimes* properties that can't be seen with this guest."""

    def calls(self, index: int, slot: Slot, shared: Shared) -> Iterable[st.Stimulus]:
        """What it may do that concerns one vCPU."""

    def machine_calls(self, shared: Shared) -> Iterable[st.Stimulus]:
        """What it may do that concerns no single vCPU: reading the event bits, say."""


@frozen
class Linux:
    """6.11 or later: takes what it is told, asks for nothing else."""

    name: str = "linux"
    reads_registered: bool = True
    leaves_out: frozenset[str] = frozenset()

    def calls(self, index: int, slot: Slot, shared: Shared) -> Iterator[st.Stimulus]:
        """The AML of a scan, answers, and its own vCPUs on and off."""
        if not _runs(shared):
            return
        yield from _acks(index, slot, shared)
        yield from _answers(index, slot)
        if slot.powered:
            yield st.CpuOffSeen(index)
        elif self.tries(slot):
            yield from _cpu_on(index, slot)

    def tries(self, slot: Slot) -> bool:
        """Whether it would start the vCPU, which is off.

        At boot it tries every possible vCPU, and learns by DENIED which are not there.
        """
        return not (slot.insert or _asked(slot))

    def machine_calls(self, shared: Shared) -> Iterator[st.Stimulus]:
        """One scan for each time that the GED's line is raised."""
        if not _runs(shared):
            return
        if shared.scanning:
            yield st.ScanEnded()
        elif shared.ged:
            yield st.ScanStarted()


@frozen
class Legacy(Linux):
    """Does not know what online-capable means: answers like Linux, and starts none of them."""

    name: str = "legacy"
    leaves_out: frozenset[str] = frozenset({"cpu_on_is_denied"})

    def tries(self, slot: Slot) -> bool:
        """Only what was there at boot."""
        return slot.cold


@frozen
class Hostile:
    """Any call, at any time, for any vCPU, in any order."""

    name: str = "hostile"
    reads_registered: bool = False
    leaves_out: frozenset[str] = frozenset()

    def calls(self, index: int, slot: Slot, shared: Shared) -> Iterator[st.Stimulus]:
        """All of them."""
        yield from _cpu_on(index, slot)
        yield st.InsertAcked(index)
        yield st.RemoveAcked(index)
        yield st.CpuOffSeen(index)
        yield st.EjectCalled(index)
        yield st.OstReported(index, OstSource.DEVICE_CHECK, OstStatus.SUCCESS)
        yield st.OstReported(index, OstSource.EJECT_REQUEST, REFUSED)
        yield st.OstReported(index, OstSource.EJECT_REQUEST, OstStatus.SUCCESS)

    def machine_calls(self, shared: Shared) -> Iterator[st.Stimulus]:
        """Scans, begun or not."""
        yield st.ScanStarted()
        yield st.ScanEnded()


@frozen
class _Attentive:
    """A guest as it is; but whether a vCPU is registered is told apart, for others to read."""

    guest: GuestModel
    reads_registered: bool = True

    @property
    def name(self) -> str:
        return self.guest.name

    @property
    def leaves_out(self) -> frozenset[str]:
        return self.guest.leaves_out

    def calls(self, index: int, slot: Slot, shared: Shared) -> Iterable[st.Stimulus]:
        return self.guest.calls(index, attrs.evolve(slot, registered=False), shared)

    def machine_calls(self, shared: Shared) -> Iterable[st.Stimulus]:
        return self.guest.machine_calls(shared)


def attentive(guest: GuestModel) -> GuestModel:
    """`guest`, with which `Slot.registered` is told apart even where it does not read it."""
    return guest if guest.reads_registered else _Attentive(guest)


LINUX = Linux()
LEGACY = Legacy()
HOSTILE = Hostile()
GUESTS: Mapping[str, GuestModel] = {guest.name: guest for guest in (LINUX, LEGACY, HOSTILE)}
"""The guests that hpcore has, by name."""


def _runs(shared: Shared) -> bool:
    return shared.guest_runs and not shared.paused


def _cpu_on(index: int, slot: Slot) -> Iterator[st.Stimulus]:
    """CPU_ON as the core answers it, and as an accelerator does that was told when to."""
    yield st.CpuOnCalled(index)
    if not slot.powered:
        yield st.CpuOnCalled(index, verdict=slot.enabled)


def _acks(index: int, slot: Slot, shared: Shared) -> Iterator[st.Stimulus]:
    """The AML of the scan: one bit after the other, the insertion first."""
    if shared.scanning and slot.insert:
        yield st.InsertAcked(index)
    elif shared.scanning and slot.remove:
        yield st.RemoveAcked(index)


def _answers(index: int, slot: Slot) -> Iterator[st.Stimulus]:
    """What ACPI answers: to a device check with success, to an eject request either way."""
    if slot.unconfirmed:
        yield st.OstReported(index, OstSource.EJECT_REQUEST, OstStatus.SUCCESS)
    if slot.enabled and not (slot.insert or slot.registered):
        yield st.OstReported(index, OstSource.DEVICE_CHECK, OstStatus.SUCCESS)
    if _asked(slot):
        yield st.OstReported(index, OstSource.EJECT_REQUEST, REFUSED)
        if not slot.powered:
            yield st.EjectCalled(index)


def _asked(slot: Slot) -> bool:
    """Whether the guest has taken an eject request."""
    return slot.requested and not slot.remove
