"""What QEMU tells of by QMP's events, and what the guest's kernel prints."""

from __future__ import annotations

import re
from collections.abc import Callable

from attrs import field, mutable

from hpcore.foreign import seen as s
from hpcore.foreign.acts import CPU_OFF, Acts
from hpcore.foreign.commands import Commands
from hpcore.foreign.machine import cpu_on
from hpcore.foreign.marks import Kind
from hpcore.foreign.registers import Registers
from hpcore.foreign.survey import Arch, of_vcpu
from hpcore.model import stimuli as st
from hpcore.model.acpi import OstSource, OstStatus
from hpcore.model.effects import MachineStep
from hpcore.model.machines import Phase, SlotState

_PERIPHERAL = re.compile(r"/machine/peripheral/([^/]+)")


@mutable
class Notices:
    """What is told, by QEMU or by the guest."""

    acts: Acts
    commands: Commands
    registers: Registers
    _known: set[int] = field(factory=set)
    """vCPUs that the guest says it knows, and of which it has not said that it uses them."""

    def told(self, what: s.Told) -> None:
        """An event of QMP's."""
        handle = _EVENTS.get(what.name)
        if handle is not None:
            handle(self, what)

    def _device_deleted(self, what: s.Told) -> None:
        acts = self.acts
        slot = self._deleted_slot(what)
        if slot is None:
            return
        if acts.slot(slot).lifecycle is not SlotState.EJECTING:
            self.commands.flush(slot)
            if not acts.survey.asks:
                acts.asked_for(slot)
            acts.guest_reads(slot)
            if acts.survey.registers:
                acts.mark(Kind.STATE, "deleted", "QEMU tells of the end of a vCPU that was not "
                          "ejected", slot)  # fmt: skip
            acts.eject(slot)
        acts.machine.finish(slot)

    def _deleted_slot(self, what: s.Told) -> int | None:
        device = what.data.get("device")
        named = _PERIPHERAL.match(str(what.data.get("path", "")))
        id_ = device if isinstance(device, str) else (named[1] if named else None)
        slots = self.acts.machine.state.slots
        ejecting = [i for i, slot in enumerate(slots) if slot.lifecycle is SlotState.EJECTING]
        if id_ is not None:
            known = self.acts.slot_with(id_)
            ejecting = [i for i in ejecting if i in self.acts.unnamed] if known is None else [known]
        return next(iter(ejecting), None)

    def _was_reset(self, what: s.Told) -> None:
        self.registers.was_reset()
        if self.acts.booted:
            self.acts.give(st.ResetSeen())
            self._restarted()

    def _restarted(self) -> None:
        if self.acts.machine.state.shared.step is MachineStep.RESTART:
            self.acts.give(st.MachineDone(MachineStep.RESTART))

    def _stopped(self, what: s.Told) -> None:
        shared = self.acts.machine.state.shared
        if not self.acts.booted or shared.ended:
            return
        if shared.step is None and not shared.paused and shared.phase is Phase.RUNNING:
            self.acts.give(st.Pause())
        if self.acts.machine.state.shared.step is MachineStep.PAUSE:
            self.acts.give(st.MachineDone(MachineStep.PAUSE))

    def _resumed(self, what: s.Told) -> None:
        if not self.acts.booted:
            self.acts.boot()
            return
        shared = self.acts.machine.state.shared
        if shared.step is None and shared.paused and not shared.ended:
            self.acts.give(st.Resume())
        if self.acts.machine.state.shared.step is MachineStep.RESUME:
            self.acts.give(st.MachineDone(MachineStep.RESUME))
        self._restarted()

    def _shut_down(self, what: s.Told) -> None:
        acts, shared = self.acts, self.acts.machine.state.shared
        if not acts.booted or shared.ended:
            return
        by_guest = bool(what.data.get("guest"))
        reason = f"SHUTDOWN: {what.data.get('reason', 'no reason given')}"
        acts.mark(Kind.END, "off" if by_guest else "shutdown", reason)
        if by_guest:
            if shared.guest_runs:
                acts.give(st.PowerOffSeen())
            return
        if not shared.ending:
            acts.give(st.PowerDown())
        acts.give(st.MachineDone(MachineStep.POWER_DOWN))

    def _panicked(self, what: s.Told) -> None:
        self.acts.mark(Kind.GUEST, "panic", "QEMU tells of GUEST_PANICKED")

    def _ost_told(self, what: s.Told) -> None:
        acts, told = self.acts, of_vcpu(what)
        if told is None or s.OstStatus in acts.survey.traced or not acts.machine.has(told[0]):
            return
        slot, source, status = told
        self.commands.flush(slot)
        if not acts.survey.asks and source == OstSource.DEVICE_CHECK:
            named = what.data["info"].get("device")
            acts.seen_there(slot, named if isinstance(named, str) else None)
        acts.guest_reads(slot)
        acts.give(st.OstReported(slot, source, status))

    def _migration(self, what: s.Told) -> None:
        self.commands.migration(str(what.data.get("status")))

    def _unplug_error(self, what: s.Told) -> None:
        slot = self.acts.slot_with(str(what.data.get("device", "")))
        if slot is not None:
            self.acts.mark(Kind.REFUSED, "eject", "QEMU tells of DEVICE_UNPLUG_GUEST_ERROR: the "
                           "guest has refused to give the vCPU back", slot)  # fmt: skip

    # ------------------------------------------------------------------------- vCPUs

    def vcpu_reset(self, what: s.VcpuReset, thread: int | None) -> None:
        """QEMU has reset a vCPU: as it made it, at a machine's reset, or at CPU_ON."""
        acts, slot = self.acts, what.slot
        on_main = thread is None or thread == acts.survey.main
        waiting = self.commands.waiting_for(slot) if on_main else None
        if waiting is not None:
            waiting.slot = slot
            self.commands.do_add(waiting)
        elif not acts.machine.has(slot) or not acts.booted:
            return
        elif acts.survey.arch is Arch.ARM and not on_main:
            self._cpu_on(slot)
        elif not acts.survey.sees_qmp:
            acts.seen_there(slot)

    def _cpu_on(self, slot: int) -> None:
        acts = self.acts
        if acts.slot(slot).powered and slot != 0:
            acts.assume(CPU_OFF)
            acts.give(st.CpuOffSeen(slot))
        if acts.slot(slot).powered:
            return  # vCPU 0, which starts by itself
        if acts.slot(slot).enabled:
            acts.give(cpu_on(slot))
            return
        where = acts.slot(slot).lifecycle
        acts.mark(Kind.STATE, "cpu_on_enabled", f"QEMU grants CPU_ON, but vCPU {slot} is {where}, "
                  "not enabled; that guard keeps cpu_on_only_enabled", slot)  # fmt: skip

    def cpu_on_refused(self, what: s.CpuOnRefused) -> None:
        """QEMU has denied CPU_ON."""
        if self.acts.machine.has(what.slot):
            self.acts.give(st.CpuOnCalled(what.slot, verdict=False))

    def killed(self, what: s.CpuKilled) -> None:
        """The guest's kernel has seen a vCPU go off."""
        if self.acts.machine.has(what.slot) and self.acts.slot(what.slot).powered and what.slot:
            self.acts.give(st.CpuOffSeen(what.slot))

    def came_up(self, what: s.CpuCameUp) -> None:
        """The guest's kernel uses a vCPU; where QEMU traced its reset, that has told of it."""
        survey = self.acts.survey
        self._known.discard(what.slot)
        if s.VcpuReset in survey.traced or not self.acts.machine.has(what.slot):
            return
        slot = self.acts.slot(what.slot)
        if survey.arch is Arch.ARM and slot.enabled and not slot.powered:
            self.acts.give(cpu_on(what.slot))

    def added(self, what: s.CpuAdded) -> None:
        """The guest's kernel knows a vCPU; without QMP and registers that alone shows a plug."""
        acts, slot = self.acts, what.slot
        if not acts.machine.has(slot):
            return
        self._known.add(slot)
        if acts.survey.sees_qmp or acts.survey.registers:
            return
        acts.seen_there(slot)
        acts.guest_reads(slot)
        if not acts.slot(slot).registered:
            acts.give(st.OstReported(slot, OstSource.DEVICE_CHECK, OstStatus.SUCCESS))

    def close(self) -> None:
        """The files have ended."""
        if self._known:
            which = ", ".join(str(slot) for slot in sorted(self._known))
            self.acts.mark(Kind.SUMMARY, "offline", "the guest knows these vCPUs, and its console "
                           f"never says that it started them: {which}")  # fmt: skip

    def complains(self, what: s.GuestComplains) -> None:
        """The guest's kernel says that something is wrong."""
        known = what.slot is not None and self.acts.machine.has(what.slot)
        self.acts.mark(Kind.GUEST, what.about, what.text, what.slot if known else None)

    def guest_says(self, what: s.GuestSays) -> None:
        """The guest's kernel says where it is."""
        self.acts.machine.note(f"the guest at {self.acts.machine.at}: {what.text}")


_EVENTS: dict[str, Callable[[Notices, s.Told], None]] = {
    "DEVICE_DELETED": Notices._device_deleted,
    "RESET": Notices._was_reset,
    "STOP": Notices._stopped,
    "RESUME": Notices._resumed,
    "SHUTDOWN": Notices._shut_down,
    "GUEST_PANICKED": Notices._panicked,
    "ACPI_DEVICE_OST": Notices._ost_told,
    "MIGRATION": Notices._migration,
    "DEVICE_UNPLUG_GUEST_ERROR": Notices._unplug_error,
}
