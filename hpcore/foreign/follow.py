"""What the sightings mean: each becomes the stimuli that it stands for, in the order seen.

The table of it is in docs/triage.md. What QEMU does not show is done where it must have been:
the steps of a plug between its reset and its answer, those of an eject between `_EJ0` and
DEVICE_DELETED. What was not traced is assumed, and counted.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attrs import frozen

from hpcore.foreign import seen as s
from hpcore.foreign.acts import Acts
from hpcore.foreign.commands import Commands, Open, shown
from hpcore.foreign.machine import Machine
from hpcore.foreign.marks import Kind
from hpcore.foreign.notices import Notices
from hpcore.foreign.registers import Registers
from hpcore.foreign.survey import Survey
from hpcore.model import stimuli as st
from hpcore.model.machines import Phase

HUNG_SECONDS = 5.0
"""For how long others must go on while the main thread does nothing and owes an answer."""
OPEN_SHOWN, THREADS_SHOWN = 50, 32
THREADS_MOST = 1024
"""Threads that are remembered: those that did something last."""


@frozen
class Last:
    """What a thread did last."""

    what: str
    place: s.Place
    t: float


class Follower:
    """Follows the sightings of one machine: `begin`, `take` each, `finish`."""

    def __init__(self, survey: Survey, machine: Machine) -> None:
        self.survey, self.machine = survey, machine
        self.acts = Acts(survey, machine)
        self.commands = Commands(self.acts)
        self.registers = Registers(self.acts, self.commands)
        self.notices = Notices(self.acts, self.commands, self.registers)
        self._last: dict[int, Last] = {}
        self._died: s.QemuSays | None = None
        self._takes = self._table()

    def begin(self) -> None:
        """The machine as it is when the files begin."""
        for slot, id_ in sorted(self.survey.given.items()):
            if self.machine.has(slot):
                self.acts.plug(slot, id_)
        if self.survey.incoming:
            self.registers.unknown |= set(range(len(self.machine.state.slots)))
        if not self.survey.starts_stopped:
            self.acts.boot()

    def take(self, t: float, sighting: s.Sighting) -> None:
        """One sighting, in order."""
        what, thread = sighting.what, sighting.thread
        self.machine.t, self.machine.at = t, str(sighting.place)
        if thread is not None:
            self._last.pop(thread, None)
            if len(self._last) >= THREADS_MOST:
                del self._last[next(iter(self._last))]
            self._last[thread] = Last(_words(what), sighting.place, t)
        self.registers.before(what)
        if isinstance(what, s.Asked):
            self.commands.asked(what, sighting.place, t, thread)
        elif isinstance(what, s.VcpuReset):
            self.notices.vcpu_reset(what, thread)
        elif (take := self._takes.get(type(what))) is not None:
            take(what)

    def finish(self) -> None:
        """The files have ended: what was under way then, and how they end."""
        self.registers.close()
        if not self.acts.booted:
            self.acts.boot()
        ended = {"quit"} if self.machine.state.shared.ended else set()
        open_ = [e for e in self.commands.open if e.matters and e.asked.name not in ended]
        for entry in open_[:OPEN_SHOWN]:
            on = "" if entry.thread is None else f" by thread {entry.thread}"
            text = f"{shown(entry.asked)} was asked{on} and has no answer"
            self.acts.mark(Kind.OPEN, entry.asked.name, text, entry.slot, entry.place)
        for thread, last in sorted(self._last.items(), key=lambda pair: pair[1].t)[-THREADS_SHOWN:]:
            main = " (main)" if thread == self.survey.main else ""
            self.acts.mark(Kind.THREAD, str(thread), f"{last.what}{main}", None, last.place)
        self.notices.close()
        self._end(open_)

    def _end(self, open_: list[Open]) -> None:
        shared, mark = self.machine.state.shared, self.acts.mark
        if self._died is not None:
            mark(Kind.END, "died", f"QEMU is gone, or stands still: {self._died.text}")
            self._lose(f"QEMU is gone: {self._died.text}")
        elif shared.ended or shared.phase is Phase.OFF:
            return
        elif self._hung(open_):
            mark(Kind.END, "hung", "the main thread does nothing any more, while others go on")
        elif self.survey.qmp_in_trace and s.Answered in self.survey.traced:
            mark(Kind.END, "silent", "the trace ends without SHUTDOWN: QEMU died, was killed, or "
                 "the file was taken while it ran")  # fmt: skip
            self._lose("the trace ends without SHUTDOWN")
        else:
            mark(Kind.END, "cut", "the files do not say how the machine ended")

    def _hung(self, open_: list[Open]) -> bool:
        main = None if self.survey.main is None else self._last.get(self.survey.main)
        others = [last.t for thread, last in self._last.items() if thread != self.survey.main]
        if main is None or not others or not open_:
            return False
        since = max(main.t, min(entry.t for entry in open_))
        return max(others) - since > HUNG_SECONDS

    def _lose(self, why: str) -> None:
        if not self.machine.state.shared.ended:
            self.acts.give(st.Lost(why))

    def _qemu_says(self, what: s.QemuSays) -> None:
        self.acts.mark(Kind.QEMU, "died" if what.died else "says", what.text)
        self._died = what if what.died else self._died

    def _table(self) -> dict[type, Callable[[Any], None]]:
        registers, notices = self.registers, self.notices
        return {
            s.Searched: registers.searched,
            s.Found: registers.found,
            s.FlagsRead: registers.flags,
            s.InsertBitCleared: registers.insert_cleared,
            s.RemoveBitCleared: registers.remove_cleared,
            s.OstEvent: registers.ost_event,
            s.OstStatus: registers.ost_status,
            s.Ejecting: registers.ejecting,
            s.ScanTaken: registers.scan_taken,
            s.ScanLeft: registers.scan_left,
            s.Answered: self.commands.answered,
            s.Told: notices.told,
            s.CpuOnRefused: notices.cpu_on_refused,
            s.CpuKilled: notices.killed,
            s.CpuCameUp: notices.came_up,
            s.CpuAdded: notices.added,
            s.GuestComplains: notices.complains,
            s.GuestSays: notices.guest_says,
            s.QemuSays: self._qemu_says,
        }


def _words(what: s.Seen) -> str:
    """What a sighting is, in a few words, for a thread's last one."""
    if isinstance(what, s.Asked):
        return f"was given {what.name}"
    if isinstance(what, s.Told):
        return f"told of {what.name}"
    if isinstance(what, s.Answered):
        return "answered a command"
    name = _DID.get(type(what), "did something")
    slot = getattr(what, "slot", None)
    return name if slot is None else f"{name} vCPU {slot}"


_DID: dict[type, str] = {
    s.Searched: "searched for an event",
    s.Found: "found an event of",
    s.FlagsRead: "read the flags of",
    s.InsertBitCleared: "cleared the insert bit of",
    s.RemoveBitCleared: "cleared the remove bit of",
    s.OstEvent: "began an _OST of",
    s.OstStatus: "wrote an _OST of",
    s.Ejecting: "ejected",
    s.VcpuReset: "reset",
    s.ScanTaken: "took the interrupt",
    s.ScanLeft: "let the interrupt come again",
}
