"""The hotplug registers: searches, event bits, flags, `_OST`, `_EJ0`; and the scan around them.

A scan ends where its search finds nothing, or comes round to what it had found before, and the
insert bits that it had found are cleared: QEMU's AML clears them behind its loop (hw/acpi/cpu.c,
build_cpus_aml). On arm the GIC's distributor shows both ends of a scan.
"""

from __future__ import annotations

from attrs import field, mutable

from hpcore.foreign import seen as s
from hpcore.foreign.acts import Acts
from hpcore.foreign.commands import Commands
from hpcore.foreign.marks import Kind
from hpcore.model import stimuli as st
from hpcore.model.acpi import OstSource
from hpcore.model.effects import Step
from hpcore.model.machines import SlotState

ENABLED, INSERT, REMOVE = 0x1, 0x2, 0x4
"""Bits of the flags that a guest reads (hw/acpi/cpu.c)."""
_ENDS_SCAN = (s.Searched, s.OstEvent, s.OstStatus, s.Ejecting, s.ScanTaken)
"""What shows that a scan whose search had come to its end is over: AML does one thing at a time,
under a lock of its own, while commands come at any time."""


@mutable
class Registers:
    """What the guest does at the registers. `flags_read` counts what was held against the state."""

    acts: Acts
    commands: Commands
    flags_read: int = 0
    flags_differ: int = 0
    unknown: set[int] = field(factory=set)
    """The slots of which it is not known what is pending: the machine came by migration."""
    _ost: dict[int, int] = field(factory=dict)
    _searching: int | None = None
    _over: bool = False
    _found: set[int] = field(factory=set)
    _differing: dict[int, tuple[int, int]] = field(factory=dict)

    # ---------------------------------------------------------------------- the scan

    def before(self, what: s.Seen) -> None:
        """What anything that is seen says of a search that has had no answer."""
        if self._searching is not None and not isinstance(what, s.Found):
            self._searching, self._over = None, True
            if not self._found:
                self.scan_ends()
        if self._over and isinstance(what, _ENDS_SCAN):
            self.scan_ends()

    def close(self) -> None:
        """The files have ended."""
        if self._over or self._searching is not None:
            self.scan_ends()

    def was_reset(self) -> None:
        """The machine has been reset: no scan goes on."""
        self._searching, self._over = None, False
        self._found.clear()

    def searched(self, what: s.Searched) -> None:
        """A search has begun."""
        if not self.acts.machine.state.shared.scanning and not self.acts.survey.gic_traced:
            self._scan_begins()
        self._searching, self._over = what.start, False

    def found(self, what: s.Found) -> None:
        """A search has found a vCPU with an event."""
        start, self._searching = self._searching, None
        self._over = start is not None and what.slot < start
        if self.acts.machine.has(what.slot):
            self.commands.flush(what.slot)
            self._compare(what.slot, what.insert * INSERT | what.remove * REMOVE, INSERT | REMOVE)
            if what.insert and not self._over:
                self._found.add(what.slot)
        if self._over and not self._found:
            self.scan_ends()

    def scan_taken(self, what: s.ScanTaken) -> None:
        """The guest has taken the interrupt."""
        shared = self.acts.machine.state.shared
        if shared.ged and not shared.scanning:
            self._scan_begins()

    def scan_left(self, what: s.ScanLeft) -> None:
        """The guest lets the interrupt come again; on x86 it does so while AML still runs."""
        if what.arm:
            self.scan_ends()

    def _scan_begins(self) -> None:
        self._found.clear()
        self._over = False
        if self.acts.booted:
            self.acts.give(st.ScanStarted())

    def scan_ends(self) -> None:
        """The guest has looked at all there was."""
        self.was_reset()
        if self.acts.machine.state.shared.scanning:
            self.acts.give(st.ScanEnded())

    # ------------------------------------------------------------------ bits and flags

    def flags(self, what: s.FlagsRead) -> None:
        """The guest has read the flags of a slot."""
        index = what.slot
        if not self.acts.machine.has(index):
            return
        self.flags_read += 1
        self.commands.flush(index)
        slot = self.acts.slot(index)
        if slot.lifecycle is SlotState.EJECTING and slot.step is Step.DISABLE:
            self.acts.machine.finish(index, Step.DISABLE)
        self._compare(index, what.flags, ENABLED | INSERT | REMOVE)

    def insert_cleared(self, what: s.InsertBitCleared) -> None:
        """The guest has cleared an insert bit."""
        self._found.discard(what.slot)
        if self.acts.machine.has(what.slot):
            self.commands.flush(what.slot)
            if self.acts.slot(what.slot).insert:
                self.acts.give(st.InsertAcked(what.slot))
        if self._over and not self._found and not self.acts.survey.gic_traced:
            self.scan_ends()

    def remove_cleared(self, what: s.RemoveBitCleared) -> None:
        """The guest has cleared a remove bit."""
        if self.acts.machine.has(what.slot):
            self.commands.flush(what.slot)
            if self.acts.slot(what.slot).remove:
                self.acts.give(st.RemoveAcked(what.slot))

    def _compare(self, index: int, flags: int, mask: int) -> None:
        slot = self.acts.slot(index)
        own = slot.enabled * ENABLED | slot.insert * INSERT | slot.remove * REMOVE
        if flags & mask == own & mask:
            self._differing.pop(index, None)
            self.unknown.discard(index)
            return
        if index in self.unknown:
            return
        begun_before = not own and index not in self.acts.touched and flags & (ENABLED | INSERT)
        if begun_before or not self.acts.survey.sees_qmp:
            self._make_up(index, flags, mask)  # what was not traced cannot differ
            return
        self.flags_differ += 1
        if self._differing.get(index) != (flags, own):
            self._differing[index] = (flags, own)
            self.acts.mark(
                Kind.FLAGS, "read", f"the guest has read {bits(flags & mask)}, where the slot has "
                f"{bits(own & mask)}; {bits((flags ^ own) & mask)} differs", index,
            )  # fmt: skip
        if mask & own & INSERT and not flags & INSERT:
            self.acts.give(st.InsertAcked(index))
        if mask & own & REMOVE and not flags & REMOVE:
            self.acts.give(st.RemoveAcked(index))

    def _make_up(self, index: int, flags: int, mask: int) -> None:
        """Without QMP in any file, or from before they begin: flags show what was asked."""
        acts = self.acts
        if flags & (ENABLED | INSERT):
            acts.seen_there(index)
            if mask & INSERT and not flags & INSERT and acts.slot(index).insert:
                acts.give(st.InsertAcked(index))
        if flags & REMOVE:
            acts.asked_for(index)

    # --------------------------------------------------------------------- _OST, _EJ0

    def ost_event(self, what: s.OstEvent) -> None:
        """The first half of an `_OST`."""
        if self.acts.machine.has(what.slot):
            self._ost[what.slot] = what.source

    def ost_status(self, what: s.OstStatus) -> None:
        """The second half of an `_OST`."""
        if self.acts.machine.has(what.slot):
            self.commands.flush(what.slot)
            source = self._ost.pop(what.slot, OstSource.DEVICE_CHECK)
            self.acts.give(st.OstReported(what.slot, source, what.status))

    def ejecting(self, what: s.Ejecting) -> None:
        """QEMU carries out an eject."""
        if self.acts.machine.has(what.slot):
            self.commands.flush(what.slot)
            self.acts.eject(what.slot)
            if not self.acts.survey.sees_qmp:
                self.acts.machine.finish(what.slot)


def bits(flags: int) -> str:
    """Flags in words."""
    names = ((ENABLED, "enabled"), (INSERT, "insert"), (REMOVE, "remove"))
    return " and ".join(name for bit, name in names if flags & bit) or "none"
