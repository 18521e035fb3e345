"""A guest's noise: calls that change nothing, without end. What is too much is counted.

A guest may call as fast as it can, for ever: CPU_ON of a vCPU that is parked, `_EJ0` that nobody
asked for, `_OST` of nothing. Each is decided and answered like any other call. A line of the log
for each would fill the disk, and so only the first of a second are written as they come. Of those
beyond, the last one of each kind is written with how many it stands for, when the second is over
or before anything changes the state, whichever comes first. So they all met the state that the
log has at their line, and deciding that again tells of all of them.

Kinds are told apart by the call, the answer, and the vCPUs that are meant; when there are too many
kinds, by the call and the answer alone. What changes the state is never counted, nor anything that
is no guest's call.
"""

from __future__ import annotations

from typing import Any

from hpcore.log import Entry
from hpcore.model.decide import Decision
from hpcore.model.states import State
from hpcore.model.stimuli import GuestCall, Stimulus

SECOND = 1.0
"""How long what is counted may wait for its line."""
AS_THEY_COME = 50
"""Calls that change nothing, in one second, which are written each."""
KINDS_APART = 10
"""Kinds that are told apart by vCPU at one time."""

Kind = tuple[object, ...]
"""The call, the event that answers it, the guard; then the vCPUs."""
ANSWER = 3
"""The parts of a kind that are not vCPUs."""


def changes_nothing(before: State, stimulus: Stimulus, decision: Decision) -> bool:
    """Whether a guest's call was answered by one event that left the state as it was."""
    alone = isinstance(stimulus, GuestCall) and len(decision.events) == 1
    return alone and decision.state == before


class Noise:
    """What was counted of one machine's calls, and has no line yet. Times are in seconds."""

    def __init__(self) -> None:
        self._began = 0.0
        self._written = 0
        self._counted: dict[Kind, Entry] = {}

    def takes(self, call: Entry, possible: int) -> bool:
        """Whether `call`, of a machine of `possible` vCPUs, is counted; else it is to be written.

        The call changes nothing, and what was `due` by then has been taken.
        """
        if call.t - self._began >= SECOND and not self._counted:
            self._began, self._written = call.t, 0
        if self._written < AS_THEY_COME:
            self._written += 1
            return False
        kind = _kind(call, possible)
        if kind not in self._counted and len(self._counted) >= KINDS_APART:
            kind = kind[:ANSWER]
        before = self._counted.get(kind)
        counted = call.counted + (0 if before is None else before.counted)
        self._counted[kind] = call._replace(counted=counted)
        return True

    def due(self, t: float) -> bool:
        """Whether what was counted has waited long enough."""
        return bool(self._counted) and t - self._began >= SECOND

    def taken(self, t: float) -> tuple[Entry, ...]:
        """What was counted, to be written now, at `t`; it is counted no longer."""
        out = tuple(entry._replace(t=t) for entry in self._counted.values())
        self._counted.clear()
        return out


def _kind(call: Entry, possible: int) -> Kind:
    (event,) = call.events
    what = (type(call.answers), type(event), getattr(event, "guard", None))
    named = (getattr(call.answers, name, None) for name in ("caller", "slot"))
    return (*what, *(_vcpu(index, possible) for index in named))


def _vcpu(index: Any, possible: int) -> int | None:
    """A vCPU that there is. A guest can name any number, and each would be a kind."""
    return index if isinstance(index, int) and 0 <= index < possible else None
