"""The hotplug device with everything that can befall it, and what must hold after each move.

Like tests.support.world: a hostile guest's accesses, the core's steps, resets. The checks
compare before and after; they know the rules of the device and none of its code.
"""

from __future__ import annotations

from attrs import frozen

from hpcore.model.config import MachineConfig
from hpcore.model.effects import Step
from hpcore.model.stimuli import (
    EjectCalled,
    GuestCall,
    InsertAcked,
    OstReported,
    RemoveAcked,
    ScanEnded,
    ScanStarted,
)
from hpcore.platform import virt
from hpcore.platform.ged import GedEvent
from hpcore.platform.hotplug_device import HotplugDevice

BOOTED, POSSIBLE = 2, 4
SLOTS = range(POSSIBLE)
BLOCK, GED = virt.CPU_HOTPLUG_BASE, virt.GED_BASE
CPU = GedEvent.CPU_HOTPLUG


@frozen
class Shown:
    """What can be seen of the device from outside."""

    enabled: tuple[bool, ...]
    insert: tuple[bool, ...]
    remove: tuple[bool, ...]
    events: GedEvent

    def waiting(self) -> bool:
        """Whether a slot has an event."""
        return any(self.insert + self.remove)


class DeviceWorld:
    """A machine of `BOOTED` and `POSSIBLE` vCPUs. Each move checks itself."""

    def __init__(self) -> None:
        self.said: list[GuestCall] = []
        self.pulses = 0
        config = MachineConfig.of(BOOTED, POSSIBLE)
        self.device = HotplugDevice(config, self.said.append, self._pulse)
        self.scanning = False
        for slot in range(BOOTED):
            self.device.apply(Step.ENABLE, slot)

    def _pulse(self) -> None:
        self.pulses += 1

    def shown(self) -> Shown:
        """As it is now."""
        pending = [self.device.pending(slot) for slot in SLOTS]
        return Shown(
            tuple(self.device.enabled(slot) for slot in SLOTS),
            tuple(insert for insert, _ in pending),
            tuple(remove for _, remove in pending),
            self.device.ged_events,
        )

    def read(self, address: int, size: int) -> None:
        """A load takes events from the GED, and changes nothing else."""
        before, pulses = self.shown(), self.pulses
        self.said.clear()
        value = self.device.read(address, size)
        assert 0 <= value < 1 << 8 * size
        after = self.shown()
        takes = address == GED and size >= 4
        assert after == (_without_events(before) if takes else before)
        assert self.pulses == pulses
        if takes:
            assert value == before.events
        started = takes and CPU in before.events
        assert self.said == ([ScanStarted()] if started else [])
        self.scanning |= started

    def write(self, address: int, size: int, value: int) -> None:
        """A store only takes away, and says what it took; the core's bits it can't set."""
        before, pulses = self.shown(), self.pulses
        self.said.clear()
        self.device.write(address, size, value)
        after = self.shown()
        for was, is_ in (
            (before.enabled, after.enabled),
            (before.insert, after.insert),
            (before.remove, after.remove),
        ):
            assert not any(now and not then for then, now in zip(was, is_, strict=True))
        assert (after.events, self.pulses) == (before.events, pulses)
        assert after.enabled[:BOOTED] == before.enabled[:BOOTED]
        self._reports_match(before, after)

    def _reports_match(self, before: Shown, after: Shown) -> None:
        said = self.said
        assert _slots(said, InsertAcked) == _gone(before.insert, after.insert)
        assert _slots(said, RemoveAcked) == _gone(before.remove, after.remove)
        ejected = _slots(said, EjectCalled)
        assert set(_gone(before.enabled, after.enabled)) <= set(ejected)
        assert not any(after.enabled[slot] for slot in ejected if slot >= BOOTED)
        assert all(o.slot in SLOTS for o in said if isinstance(o, OstReported))
        assert ScanStarted() not in said
        if ScanEnded() in said:
            assert self.scanning
            assert said.count(ScanEnded()) == 1
            assert not after.waiting()
            self.scanning = False

    def apply(self, step: Step, slot: int) -> None:
        """A step shows what it is about, and reports nothing."""
        before, pulses = self.shown(), self.pulses
        self.said.clear()
        self.device.apply(step, slot)
        after = self.shown()
        enabled, insert, remove = before.enabled, before.insert, before.remove
        notified = step in (Step.NOTIFY_INSERT, Step.NOTIFY_REMOVE)
        if step in (Step.ENABLE, Step.DISABLE):
            enabled = _with(enabled, slot, step is Step.ENABLE)
        if step in (Step.NOTIFY_INSERT, Step.DISABLE):
            insert = _with(insert, slot, step is Step.NOTIFY_INSERT)
        if step in (Step.NOTIFY_REMOVE, Step.DISABLE):
            remove = _with(remove, slot, step is Step.NOTIFY_REMOVE)
        events = before.events | CPU if notified else before.events
        assert after == Shown(enabled, insert, remove, events)
        assert self.pulses == pulses + notified
        assert not self.said

    def reassert(self, slot: int) -> None:
        """At most enables the slot again."""
        before = self.shown()
        self.said.clear()
        self.device.reassert(slot)
        after = self.shown()
        enabled = _with(before.enabled, slot, after.enabled[slot] or before.enabled[slot])
        assert after == Shown(enabled, before.insert, before.remove, before.events)
        assert not self.said

    def raise_ged(self) -> None:
        """An event more, and a pulse."""
        before, pulses = self.shown(), self.pulses
        self.device.raise_ged()
        assert self.shown() == Shown(
            before.enabled, before.insert, before.remove, before.events | CPU
        )
        assert self.pulses == pulses + 1

    def press_power_button(self) -> None:
        """Its event more, and a pulse; no slot has anything to do with it."""
        before, pulses = self.shown(), self.pulses
        self.said.clear()
        self.device.press_power_button()
        assert self.shown() == Shown(
            before.enabled, before.insert, before.remove, before.events | GedEvent.POWER_DOWN
        )
        assert (self.said, self.pulses) == ([], pulses + 1)

    def reset(self) -> None:
        """Nothing is left, and nobody is told."""
        pulses = self.pulses
        self.said.clear()
        self.device.reset()
        nothing = (False,) * POSSIBLE
        assert self.shown() == Shown(nothing, nothing, nothing, GedEvent(0))
        assert self.device.read(BLOCK + 8, 4) == 0
        assert (self.said, self.pulses) == ([], pulses)
        self.scanning = False
        for slot in range(BOOTED):
            self.device.apply(Step.ENABLE, slot)


def _without_events(shown: Shown) -> Shown:
    return Shown(shown.enabled, shown.insert, shown.remove, GedEvent(0))


def _with(bits: tuple[bool, ...], slot: int, value: bool) -> tuple[bool, ...]:
    return (*bits[:slot], value, *bits[slot + 1 :])


def _gone(before: tuple[bool, ...], after: tuple[bool, ...]) -> list[int]:
    return [slot for slot in SLOTS if before[slot] and not after[slot]]


def _slots(
    said: list[GuestCall], kind: type[InsertAcked] | type[RemoveAcked] | type[EjectCalled]
) -> list[int]:
    return [call.slot for call in said if isinstance(call, kind)]
