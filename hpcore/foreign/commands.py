"""Commands and their answers: what was asked of QEMU, and when it did it.

A command is held back until QEMU is seen to have done it, by its answer or by what it does for
it, because only then is it known whether it was taken.
"""

from __future__ import annotations

from collections.abc import Callable

from attrs import field, mutable

from hpcore.foreign import seen as s
from hpcore.foreign.acts import Acts, accepts, device_add
from hpcore.foreign.marks import Kind
from hpcore.foreign.survey import adds_a_vcpu
from hpcore.model import stimuli as st
from hpcore.model.effects import MachineStep, Step
from hpcore.model.machines import SlotState
from hpcore.model.states import Owed

OPEN_MOST = 4096
"""Commands without an answer that are remembered; a transcript of requests alone has no answers."""
COMMANDS = frozenset(
    {"device_add", "device_del", "system_reset", "stop", "cont", "quit", "migrate"}
)
"""The commands that mean something for vCPUs."""
_STEPS = {"stop": MachineStep.PAUSE, "cont": MachineStep.RESUME}


@mutable
class Open:
    """A command that was given and not answered yet."""

    asked: s.Asked
    place: s.Place
    t: float
    thread: int | None
    slot: int | None = None
    id: str | None = None
    done: bool = False
    """QEMU has been seen to do it, before its answer."""
    taken: bool = False
    """Whether the rules have taken it, once it was done."""

    @property
    def adds(self) -> bool:
        """Whether it is a device_add of a vCPU."""
        return self.asked.name == "device_add" and adds_a_vcpu(self.asked.arguments)

    @property
    def matters(self) -> bool:
        """Whether it is one that means something for vCPUs."""
        if self.asked.name == "device_del":
            return self.slot is not None
        return self.adds if self.asked.name == "device_add" else self.asked.name in COMMANDS


@mutable
class Commands:
    """The commands that were given and have no answer yet."""

    acts: Acts
    open: list[Open] = field(factory=list)

    def asked(self, what: s.Asked, place: s.Place, t: float, thread: int | None) -> None:
        """A command was given."""
        entry = Open(what, place, t, thread)
        if len(self.open) >= OPEN_MOST:
            del self.open[: OPEN_MOST // 2]
        self.open.append(entry)
        given = what.arguments.get("id")
        if entry.adds:
            entry.slot = self.acts.survey.slot_of(what.arguments)
            entry.id = given if isinstance(given, str) and given else None
        elif what.name == "device_del":
            entry.id = str(given)
            entry.slot = self._slot_with(entry.id)
        if entry.matters:
            self.acts.mark(Kind.ASKED, what.name, shown(what), entry.slot)
            self._of_machine(what.name)

    def answered(self, what: s.Answered) -> None:
        """A command was answered."""
        entry = self._pair(what)
        if entry is None:
            if what.error is not None:
                self.acts.mark(Kind.REFUSED, "command", what.error)
            return
        name = entry.asked.name
        if entry.adds:
            self._add_answered(entry, what.error)
        elif name == "device_del" and entry.slot is not None:
            self._del_answered(entry, entry.slot, what.error)
        elif name in ("query-migrate", "migrate"):
            status = what.value.get("status") if isinstance(what.value, dict) else None
            self.migration("failed" if what.error else str(status))
        elif what.error is not None and name in COMMANDS - {"device_add", "device_del"}:
            self.acts.mark(Kind.REFUSED, name, what.error)
            step = _STEPS.get(name)
            if step is not None and self.acts.machine.state.shared.step is step:
                self.acts.give(st.MachineFailed(step, what.error))

    def migration(self, status: str) -> None:
        """How the migration under way stands, in QEMU's word."""
        if self.acts.machine.state.shared.step is not MachineStep.MIGRATE:
            return
        if status == "completed":
            self.acts.give(st.MachineDone(MachineStep.MIGRATE))
        elif status in ("failed", "cancelled"):
            self.acts.give(st.MachineFailed(MachineStep.MIGRATE, status))

    def waiting_for(self, slot: int) -> Open | None:
        """The device_add that QEMU's making of the vCPU in `slot` may be for."""
        acts = self.acts
        taken = not acts.machine.has(slot) or acts.slot(slot).cold or acts.slot(slot).enabled
        waiting = (e for e in self.open if e.adds and not e.done)
        return next((e for e in waiting if e.slot == slot or (e.slot is None and not taken)), None)

    def do_add(self, entry: Open) -> None:
        """QEMU has made the vCPU that `entry` asks for."""
        entry.done = True
        if entry.slot is None:
            entry.slot = self._next_free()
            if entry.slot is None:
                self.acts.assume("a vCPU that was plugged could not be told from the others")
                return
            self.acts.assume("which vCPU a device_add names: the next one that is free")
        if not self.acts.machine.has(entry.slot):
            self.acts.assume("a vCPU beyond those that a log can hold was left out")
            return
        entry.taken = self.acts.plug(entry.slot, entry.id, str(entry.place))
        self.acts.creations += 1

    def flush(self, slot: int) -> None:
        """Do what was asked of `slot`, since QEMU has been seen to have done it."""
        for entry in self.open:
            if entry.done or entry.slot != slot:
                continue
            if entry.adds:
                self.do_add(entry)
            elif entry.asked.name == "device_del":
                self._do_del(entry, slot)

    def _of_machine(self, name: str) -> None:
        give, shared = self.acts.give, self.acts.machine.state.shared
        idle = shared.step is None and self.acts.booted
        if name == "quit" and not shared.ended and not shared.ending:
            give(st.PowerDown())
        elif name == "migrate" and idle:
            give(st.Migrate(), insists=True)
        elif name in _MACHINE and idle:
            give(_MACHINE[name]())

    def _pair(self, answer: s.Answered) -> Open | None:
        for n, entry in enumerate(self.open):
            asked = entry.asked
            same = asked.monitor == answer.monitor or not (asked.monitor and answer.monitor)
            if same and (asked.id == answer.id or answer.id is None or asked.id is None):
                return self.open.pop(n)
        return None

    def _add_answered(self, entry: Open, error: str | None) -> None:
        acts = self.acts
        if error is None:
            if not entry.done:
                self.do_add(entry)
            if entry.taken and entry.slot is not None:
                acts.machine.finish(entry.slot, Step.NOTIFY_INSERT)
                acts.guest_reads(entry.slot)
            return
        slot = entry.slot
        if slot is None or not acts.machine.has(slot):
            acts.mark(Kind.REFUSED, "device_add", error)
            return
        if not entry.done:
            entry.taken = accepts(acts.give(device_add(slot, entry.id)))
        if not entry.taken:
            acts.mark(Kind.REFUSED, "device_add", f"{error}; so do the rules", slot)
            return
        acts.mark(Kind.REFUSED, "device_add", f"{error}; the rules would have taken it", slot)
        step = acts.slot(slot).step
        if step is not None:
            acts.give(st.Failed(step, slot, error))
            acts.machine.finish(slot)

    def _del_answered(self, entry: Open, slot: int, error: str | None) -> None:
        acts = self.acts
        if error is None:
            if not entry.done:
                self._do_del(entry, slot)
            if acts.slot(slot).step is Step.NOTIFY_REMOVE:
                acts.machine.finish(slot, Step.NOTIFY_REMOVE)
            return
        if not entry.done:
            entry.taken = accepts(acts.give(st.DeviceDel(entry.id or "")))
        judged = "the rules would have taken it" if entry.taken else "so do the rules"
        acts.mark(Kind.REFUSED, "device_del", f"{error}; {judged}", slot)
        if entry.taken and acts.slot(slot).step is Step.NOTIFY_REMOVE:
            acts.give(st.Failed(Step.NOTIFY_REMOVE, slot, error))

    def _do_del(self, entry: Open, slot: int) -> None:
        entry.done = True
        there = self.acts.slot(slot)
        if there.command in (Owed.PLUG, Owed.COLD_BOOT) and self.acts.booted:
            self.acts.machine.finish(slot)
        if there.id is not None:
            stimulus = st.DeviceDel(there.id)
            place = str(entry.place)
            entry.taken = accepts(self.acts.machine.give(stimulus, place, insists=True))

    def _slot_with(self, id_: str) -> int | None:
        slot = self.acts.slot_with(id_)
        if slot is None:
            slot = next((e.slot for e in self.open if e.adds and e.id == id_), None)
        return slot

    def _next_free(self) -> int | None:
        slots = self.acts.machine.state.slots
        return next((i for i, slot in enumerate(slots) if slot.lifecycle is SlotState.PARKED), None)


_MACHINE: dict[str, Callable[[], st.Stimulus]] = {
    "system_reset": st.Reset, "stop": st.Pause, "cont": st.Resume,
}  # fmt: skip


def shown(asked: s.Asked) -> str:
    """A command as a person would type it."""
    words = [
        f"{name}={value}" for name, value in asked.arguments.items() if isinstance(value, str | int)
    ]
    return " ".join([asked.name, *words])[:300]
