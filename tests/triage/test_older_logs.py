"""Logs that older versions of hpcore wrote: each was run once, by the code of its day."""

from __future__ import annotations

from pathlib import Path

import pytest

from hpcore.log import read
from hpcore.model import stimuli as st
from hpcore.model.decide import decide
from hpcore.model.machines import SlotState
from hpcore.model.rules import RULES
from hpcore.triage.diff import diff
from hpcore.triage.replay import replay
from tests.support.world import World
from tests.triage.test_decide_again import Decided, write, written_by

LOGS = Path(__file__).parent / "logs"


@pytest.mark.parametrize(("version", "decided_again"), [("1.0", 0), ("1.1", 0), ("1.2", 65)])
def test_a_log_of_an_older_format_replays(version: str, decided_again: int) -> None:
    """`plug-unplug`, on tcg in 1.0 and then on qtest; before 1.2 none says what it answers."""
    path = LOGS / f"{version}.jsonl"
    header, records = read(path)
    assert str(header.format) == version
    batches = [record.batch for record in records]
    assert batches.count(None) < len(batches), "decisions of several events are told by batch"
    found = replay(path)
    assert found.ok, found.wrong
    assert (found.events, found.decided_again) == (101, decided_again)
    assert found.state.slots[3].lifecycle is SlotState.PARKED


def test_two_logs_of_older_formats_are_compared() -> None:
    """The same scenario on two accelerators, each in the format of its day."""
    found = diff(LOGS / "1.0.jsonl", LOGS / "1.1.jsonl")
    assert found.events == (101, 101)
    assert found.compared > 80
    # One line of the scenario was written otherwise by then; its step is named by its text.
    assert [str(d.track) for d in found.differences] == ["the machine"]


def plugged_while_it_ended() -> Decided:
    """What a version before 0.5.0 did: it accepted commands until the machine had ended."""
    world = World(RULES.without("not_ending"))
    out: Decided = []
    for stimulus in (st.PowerDown(), st.DeviceAdd("core3", (("core-id", 3),))):
        decision = decide(world.state, stimulus, world.rules)
        out.append((stimulus, decision.events))
        world.go_on(decision)
    return out


def test_a_log_in_which_a_machine_that_was_being_ended_took_a_command_replays(
    tmp_path: Path,
) -> None:
    log = write(tmp_path / "log", plugged_while_it_ended())
    found = replay(written_by(log, "0.4.0"))
    assert found.ok, found.wrong
    assert found.otherwise is not None, "this version would have refused it, and says so"
    assert found.state.slots[3].id == "core3"
    wrong = replay(written_by(log, "0.5.0")).wrong
    assert wrong is not None
    assert wrong.violation.invariant == "ends_undisturbed"
