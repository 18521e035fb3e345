"""A decision in the making, and what is answered before any handler is asked."""

from __future__ import annotations

import attrs
import pytest

from hpcore.model import events as ev
from hpcore.model import stimuli as st
from hpcore.model.config import MachineConfig
from hpcore.model.decide import decide
from hpcore.model.draft import Draft
from hpcore.model.machines import IllegalTransition, Phase
from hpcore.model.rules import RULES
from hpcore.model.states import State, initial

NEW = initial(MachineConfig.of(cpus=2, maxcpus=4))


def in_phase(phase: Phase) -> State:
    return attrs.evolve(NEW, shared=attrs.evolve(NEW.shared, phase=phase))


@pytest.mark.parametrize("phase", [Phase.ENDED, Phase.FAILED])
def test_a_machine_that_has_ended_answers_everything_but_a_note_with_its_phase(
    phase: Phase,
) -> None:
    ended = in_phase(phase)
    for stimulus in (st.Boot(), st.DeviceDel("cpu1"), st.InsertAcked(2), st.InsertAcked(9)):
        (refused,) = decide(ended, stimulus).events
        assert refused == ev.Refused(
            type(stimulus).__name__, "machine_ended", f"the machine is {phase}", None
        )
    assert decide(ended, st.Note("a word")).events == (ev.Noted("a word"),)


@pytest.mark.parametrize("slot", [-1, 4, 600])
def test_a_slot_that_there_is_not_is_answered_with_those_that_there_are(slot: int) -> None:
    (refused,) = decide(NEW, st.InsertAcked(slot)).events
    assert isinstance(refused, ev.Refused)
    assert refused.guard == "slot_exists"
    assert refused.message == f"there is no vCPU {slot}; this machine has 0 to 3"
    assert decide(NEW, st.InsertAcked(0)).events != (refused,)


def test_a_draft_has_a_state_after_each_event() -> None:
    draft = Draft(NEW, RULES)
    draft.emit(ev.Noted("a"))
    draft.emit(ev.Noted("b"))
    decision = draft.decision()
    assert decision.events == (ev.Noted("a"), ev.Noted("b"))
    assert decision.states == (NEW, NEW)
    assert decision.state is draft.state


def test_an_event_that_no_machine_has_a_transition_for_is_raised_with_those_before_it() -> None:
    draft = Draft(NEW, RULES)
    draft.emit(ev.Noted("before"))
    wrong = ev.MachineWasReset(())
    with pytest.raises(IllegalTransition) as error:
        draft.emit(wrong)
    assert error.value.events == (ev.Noted("before"), wrong)
    assert draft.decision().states == (NEW,)
