"""What is done to the machine that is followed, whoever has shown that it was done."""

from __future__ import annotations

from collections import Counter
from typing import Any

from attrs import field, mutable

from hpcore.foreign.machine import Machine
from hpcore.foreign.marks import Kind, Mark
from hpcore.foreign.survey import Survey
from hpcore.model import stimuli as st
from hpcore.model.effects import MachineStep, Step
from hpcore.model.events import Event, Refused
from hpcore.model.machines import SlotState
from hpcore.model.states import Owed, Slot
from hpcore.model.stimuli import Stimulus

CPU_OFF = "CPU_OFF, which no trace has, before the CPU_ON or the eject that follows it"


@mutable
class Acts:
    """The machine, what the survey has found, and what of it all was assumed.

    `booted`: the machine was let go. `creations` counts the vCPUs that were plugged.
    """

    survey: Survey
    machine: Machine
    assumed: Counter[str] = field(factory=Counter)
    booted: bool = False
    creations: int = 0
    touched: set[int] = field(factory=set)
    """The slots that were plugged in these files; of any other it is not known how it began."""
    unnamed: set[int] = field(factory=set)
    """The slots whose id no file has."""

    def give(self, stimulus: Stimulus, *, insists: bool = False) -> tuple[Event, ...]:
        """A stimulus; with `insists` it is something that QEMU has done."""
        return self.machine.give(stimulus, insists=insists)

    def mark(
        self, kind: Kind, name: str, text: str, slot: int | None = None, place: object = None
    ) -> None:
        """A mark at the line that is being taken, or at `place`."""
        at = self.machine.at if place is None else str(place)
        self.machine.mark(Mark(kind, name, text, slot, at))

    def assume(self, what: str) -> None:
        """Count something that no file has and that must have been."""
        self.assumed[what] += 1

    def slot(self, index: int) -> Slot:
        """The slot as it is now."""
        return self.machine.slot(index)

    def slot_with(self, id_: str) -> int | None:
        """The slot of the plugged vCPU that has this id."""
        slots = self.machine.state.slots
        return next((i for i, slot in enumerate(slots) if slot.id == id_ and not slot.cold), None)

    def boot(self) -> None:
        """The machine is created and let go, with all that is there at boot."""
        self.booted = True
        self.give(st.Boot())
        self.give(st.MachineDone(MachineStep.CREATE_VCPUS))
        self.give(st.MachineDone(MachineStep.INIT_GIC))
        for index, slot in enumerate(self.machine.state.slots):
            if slot.step is not None:
                self.machine.finish(index)
        self.give(st.MachineDone(MachineStep.START))

    def plug(self, slot: int, id_: str | None, place: str | None = None) -> bool:
        """QEMU has made the vCPU in `slot`; whether the rules go along."""
        self.touched.add(slot)
        (self.unnamed.discard if id_ else self.unnamed.add)(slot)
        there = self.slot(slot)
        if there.lifecycle is not SlotState.PARKED or there.step is not None:
            self.mark(Kind.STATE, "plugged_again", "QEMU plugs a vCPU that is there; its eject was "
                      "not seen, and is taken for done", slot)  # fmt: skip
            self.take_away(slot)
        events = self.machine.give(device_add(slot, id_), place, insists=True)
        taken = accepts(events)
        if taken and self.booted:
            self.machine.finish(slot, Step.ENABLE)
        return taken

    def seen_there(self, slot: int, id_: str | None = None) -> None:
        """A vCPU is there whose plug no file has."""
        if self.slot(slot).enabled or self.slot(slot).step is not None:
            return
        self.assume("a plug that no file has, of a vCPU that is there")
        if self.plug(slot, id_):
            self.machine.finish(slot, Step.NOTIFY_INSERT)
            self.creations += 1

    def asked_for(self, index: int) -> None:
        """The guest is asked for a vCPU by a device_del that no file has."""
        slot = self.slot(index)
        if slot.remove or not slot.enabled or slot.id is None or slot.cold:
            return
        self.assume("a device_del that no file has, of a vCPU that the guest is asked for")
        if accepts(self.give(st.DeviceDel(slot.id))):
            self.machine.finish(index, Step.NOTIFY_REMOVE)

    def eject(self, index: int) -> None:
        """QEMU has carried out the guest's `_EJ0`."""
        slot = self.slot(index)
        if slot.command in (Owed.PLUG, Owed.COLD_BOOT):
            self.machine.finish(index)
        if slot.lifecycle in (SlotState.PARKED, SlotState.EJECTING):
            self.mark(Kind.STATE, "not_there", f"QEMU ejects a vCPU that is {slot.lifecycle}",
                      index)  # fmt: skip
            return
        if slot.powered and index != 0:
            self.assume(CPU_OFF)
            self.give(st.CpuOffSeen(index))
        self.give(st.EjectCalled(index), insists=True)

    def take_away(self, index: int) -> None:
        """A vCPU is gone, and it was not seen how."""
        self.machine.finish(index)
        slot = self.slot(index)
        if slot.lifecycle is not SlotState.PARKED and slot.id is not None and not slot.cold:
            self.give(st.DeviceDel(slot.id, force=True))
            self.machine.finish(index)

    def guest_reads(self, index: int) -> None:
        """Without the registers in any file: the guest is taken to read a bit as it is set."""
        slot = self.slot(index)
        if self.survey.registers or not self.booted or not (slot.insert or slot.remove):
            return
        self.assume("when the guest read the event bits, which no file has")
        self.give(st.ScanStarted())
        if slot.insert:
            self.give(st.InsertAcked(index))
        if self.slot(index).remove:
            self.give(st.RemoveAcked(index))
        self.give(st.ScanEnded())


def device_add(slot: int, id_: str | None) -> st.DeviceAdd:
    """A device_add as the flat machine of an imported log takes it."""
    return st.DeviceAdd(id_ or f"vcpu{slot}", (("core-id", slot),))


def accepts(events: tuple[Any, ...]) -> bool:
    """Whether a command was taken."""
    return bool(events) and not isinstance(events[0], Refused)

