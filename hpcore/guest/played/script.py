"""A guest's calls as moves, so that a run is scripted call by call.

The guest's kernel hears nothing then: its GED's interrupt is masked in the distributor, as one
does that has its interrupts off. What it would do, AML's accesses among it, is made one by one.
"""

from __future__ import annotations

from hpcore.guest.played.aml import BLOCK
from hpcore.guest.played.hostile import Call, Move
from hpcore.model import stimuli as st
from hpcore.platform import virt
from hpcore.platform.ged import EVENTS, EVENTS_SIZE
from hpcore.platform.hotplug_registers import COMMAND, FLAGS, SELECTOR, RegisterCommand, Store

_ICENABLER = virt.GICD_BASE + 0x180
"""GICD_ICENABLER<n>, a bit an interrupt (Arm IHI 0069, 12.9.7)."""

MASK_GED = Move(
    Call.WRITE,
    (_ICENABLER + virt.ACPI_GED_GSI // 32 * 4, 4, 1 << virt.ACPI_GED_GSI % 32),
)
"""The GED's interrupt does not reach the guest from here on, until the machine is reset."""


def moves_of(call: st.Stimulus) -> tuple[Move, ...]:
    """The moves by which a guest makes `call`; none where it is no guest's."""
    match call:
        case st.ScanStarted():
            return (Move(Call.READ, (virt.GED_BASE + EVENTS, EVENTS_SIZE)),)
        case st.ScanEnded():
            return (Move(Call.WRITE, (BLOCK + COMMAND, 1, RegisterCommand.NEXT_WITH_EVENT)),)
        case st.InsertAcked(slot=slot):
            return _clears(slot, Store.CLEAR_INSERT)
        case st.RemoveAcked(slot=slot):
            return _clears(slot, Store.CLEAR_REMOVE)
        case st.EjectCalled(slot=slot):
            return (Move(Call.EJECT, (slot,)),)
        case st.OstReported(slot=slot, source=source, status=status):
            return (Move(Call.OST, (slot, int(source), int(status))),)
        case st.CpuOnCalled(slot=slot, caller=caller):
            return (Move(Call.CPU_ON, (caller, slot)),)
        case st.CpuOffSeen(slot=slot):
            return (Move(Call.CPU_OFF, (slot,)),)
    return ()


def _clears(slot: int, bit: Store) -> tuple[Move, ...]:
    return (
        Move(Call.WRITE, (BLOCK + SELECTOR, 4, slot)),
        Move(Call.WRITE, (BLOCK + FLAGS, 1, int(bit))),
    )
