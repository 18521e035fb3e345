"""What must be refused, and what alone may be answered with nothing.

Written down a second time on purpose, as all in `answers`: it is held against the handlers.
"""

from __future__ import annotations

from hpcore.model import events as ev
from hpcore.model import stimuli as st
from hpcore.model.effects import MachineStep
from hpcore.model.machines import Phase
from hpcore.model.properties import Property, Turn, always
from hpcore.model.states import Shared

_OUTCOMES = (st.Done, st.Failed, st.MachineDone, st.MachineFailed, st.Restored)


def _followed_or_refused(t: Turn) -> bool:
    if t.shared_before.ended:
        return isinstance(t.stimulus, st.Note) or _is_refused(t)
    if isinstance(t.stimulus, _OUTCOMES) and _is_stray(t):
        return _is_refused(t)
    return bool(t.events) != _is_so_already(t)


def _is_refused(t: Turn) -> bool:
    refused = bool(t.events) and all(isinstance(event, ev.Refused) for event in t.events)
    unchanged = t.after == t.before and t.shared == t.shared_before
    return refused and unchanged and not t.effects


def _is_stray(t: Turn) -> bool:
    """Whether the outcome is of what is not under way."""
    match t.stimulus:
        case st.Done(slot=slot, step=step) | st.Failed(slot=slot, step=step):
            return slot == t.index and t.before.step is not step
        case st.MachineDone(step=MachineStep.RESET):
            return False  # asked for; it has happened once the reset is seen
        case st.MachineDone(step=whole) | st.MachineFailed(step=whole):
            return t.shared_before.step is not whole
        case st.Restored():
            return t.shared_before.step is not MachineStep.SAVE
    return False


def _is_so_already(t: Turn) -> bool:
    """Whether there is nothing to do and nothing to refuse: QEMU's command succeeds, too."""
    m = t.shared_before
    if isinstance(t.stimulus, st.MachineDone):
        return t.stimulus.step is MachineStep.RESET
    if m.ending:
        return False
    match t.stimulus:
        case st.Reset():
            return _is_new(m)
        case st.Pause():
            stands = m.paused or _is_new(m)
            return m.step is MachineStep.PAUSE or (stands and m.step is not MachineStep.RESUME)
        case st.Resume():
            goes = not (m.paused or _is_new(m))
            return m.step is MachineStep.RESUME or (goes and m.step is not MachineStep.PAUSE)
    return False


def _is_new(m: Shared) -> bool:
    """Whether the machine has not been told to boot."""
    return m.phase is Phase.DEFINED and m.step is None


REFUSALS: tuple[Property, ...] = (
    always(
        "followed_or_refused",
        "What comes is followed or refused; all is refused once the machine has ended, and an "
        "outcome that nobody waits for. Nothing is said where it is so already.",
        on_decision=_followed_or_refused, number=13, since=(0, 7),
    ),
)
