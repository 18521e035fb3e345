"""How long to wait for what a guest or a process might never answer.

What is waited for is read off the state, so nothing can be forgotten; how long is here.
For a slot no time passes while the machine is paused; what is done to the whole machine must
end then, too.
"""

from __future__ import annotations

from attrs import field, frozen, mutable

from hpcore.model.effects import CARRYING, MachineStep, Step
from hpcore.model.states import State


@frozen
class GuestWait:
    """The guest owes an end to the eject request of `slot`."""

    slot: int


@frozen
class WordWait:
    """The guest has ejected `slot`, and owes its word on how that went."""

    slot: int


@frozen
class StepWait:
    """The accelerator owes the outcome of a slot's step."""

    slot: int
    step: Step


@frozen
class MachineWait:
    """The accelerator owes the outcome of a step of the machine."""

    step: MachineStep


Wait = GuestWait | WordWait | StepWait | MachineWait


@frozen
class Patience:
    """Seconds allowed. A guest under emulation, with many vCPUs, is slow.

    `guest`, `step` and `machine` are for what the guest and the accelerator owe; when they
    are over, the command or the machine ends. `carry` is for a machine to be carried elsewhere or
    saved, the same as `machine` if it is None; when it is over, that ends, and the machine goes
    on. `word` is for what a guest says at once or
    never, its `_OST` after an eject; then the slot may be plugged again without. `boot` and
    `end` are for whoever waits for a guest to boot, or for a command's end: they only stop
    waiting.
    """

    guest: float = 60.0
    word: float = 5.0
    step: float = 30.0
    machine: float = 120.0
    carry: float | None = None
    boot: float = 600.0
    end: float = 120.0

    def of(self, wait: Wait) -> float:
        """The seconds allowed for `wait`."""
        match wait:
            case GuestWait():
                return self.guest
            case WordWait():
                return self.word
            case StepWait():
                return self.step
            case MachineWait(step=step):
                if self.carry is not None and step in CARRYING:
                    return self.carry
                return self.machine


def owed(state: State) -> set[Wait]:
    """All that is waited for in `state`."""
    out: set[Wait] = set()
    if state.shared.step is not None:
        out.add(MachineWait(state.shared.step))
    for index, slot in enumerate(state.slots):
        if slot.unconfirmed:
            out.add(WordWait(index))
        if slot.step is not None:
            out.add(StepWait(index, slot.step))
        elif slot.waits_for_guest and not state.shared.guest_gone:
            out.add(GuestWait(index))
    return out


@mutable
class Deadlines:
    """The seconds left for each wait; a clock by hand, so that tests need no real one."""

    patience: Patience = field(factory=Patience)
    _left: dict[Wait, float] = field(factory=dict)

    def follow(self, state: State) -> None:
        """Start what is newly owed in `state`, forget what is not owed any more."""
        wanted = owed(state)
        for wait in [w for w in self._left if w not in wanted]:
            del self._left[wait]
        for wait in wanted:
            self._left.setdefault(wait, self.patience.of(wait))

    def restart(self, wait: Wait) -> None:
        """Give `wait` its whole time again: there was a sign of life."""
        if wait in self._left:
            self._left[wait] = self.patience.of(wait)

    def pass_time(self, seconds: float, paused: bool = False) -> list[Wait]:
        """Let time pass; return the waits that are over, which are then forgotten."""
        expired = []
        for wait in list(self._left):
            if paused and not isinstance(wait, MachineWait):
                continue
            self._left[wait] -= seconds
            if self._left[wait] <= 0:
                expired.append(wait)
                del self._left[wait]
        return expired
