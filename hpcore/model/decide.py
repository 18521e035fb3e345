"""The left half of the loop: a stimulus, and the state it meets, to events and effects.

`decide` is pure and total: whatever arrives, at whatever time, it answers with events, a
refusal among them, and never raises for a stimulus. There is one handler a stimulus, in
`commands`, `calls` and `outcomes`; the guards that they ask stand in `guards`, the orders
in `rules`, how events change the state in `evolve`, and what goes on by itself once a
step has ended in `progress`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hpcore.model import calls, commands, guards, outcomes, stimuli
from hpcore.model import events as ev
from hpcore.model.draft import Decision, Draft
from hpcore.model.machines import Phase
from hpcore.model.plain import plain
from hpcore.model.rules import RULES, Rules
from hpcore.model.states import State

__all__ = ["Decision", "decide"]


def decide(state: State, stimulus: stimuli.Stimulus, rules: Rules = RULES) -> Decision:
    """What `stimulus` makes happen to a machine in `state`."""
    draft = Draft(state, rules)
    slot = getattr(stimulus, "slot", None)
    if state.shared.ended and not isinstance(stimulus, stimuli.Note):
        draft.refuse(stimulus, guards.MACHINE_ENDED, phase=state.shared.phase)
        return draft.decision()
    if isinstance(stimulus, _COMMANDS) and draft.refused(guards.COMMAND, stimulus):
        return draft.decision()
    if slot is not None and not 0 <= slot < len(state.slots):
        draft.refuse(stimulus, guards.SLOT_EXISTS, i=slot, last=len(state.slots) - 1)
        return draft.decision()
    if state.shared.phase is Phase.OFF and isinstance(stimulus, _OF_A_GUEST):
        draft.refuse(stimulus, guards.GUEST_RUNS, slot, phase=state.shared.phase)
        return draft.decision()
    _HANDLERS[type(stimulus)](draft, stimulus)
    return draft.decision()


_COMMANDS = tuple(cls for cls in stimuli.Command.__args__ if cls is not stimuli.PowerDown)
"""What a user asks of a machine that stays."""
_OF_A_GUEST = tuple(cls for cls in stimuli.GuestCall.__args__ if cls is not stimuli.ResetSeen)
"""What only a guest that runs can do. Of one that is off it was under way when it went off: a
vCPU may have called while another one powered the machine off."""


def _note(draft: Draft, s: stimuli.Note) -> None:
    draft.emit(ev.Noted(plain(s.text)))


_HANDLERS: dict[type, Callable[[Draft, Any], None]] = {
    **commands.HANDLERS,
    **calls.HANDLERS,
    **outcomes.HANDLERS,
    stimuli.Note: _note,
}
