"""A log is decided again: each stimulus in it leads to the events that it has."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from random import Random

import attrs
import orjson
import pytest
from click.testing import CliRunner

from hpcore.check.tabulated.start import booted
from hpcore.cli.main import cli
from hpcore.log import Header, LogWriter, Sync
from hpcore.log.framing import NO_SUM, seal
from hpcore.model import events as ev
from hpcore.model import stimuli as st
from hpcore.model.decide import decide
from hpcore.model.effects import MachineStep
from hpcore.model.plain import plain_stimulus
from hpcore.model.psci import PsciStatus
from hpcore.model.rules import RULES, Rules
from hpcore.model.states import initial
from hpcore.triage.replay import replay
from hpcore.version import __version__
from tests.support.world import World

Decided = list[tuple[st.Stimulus, tuple[ev.Event, ...]]]


def decided(random: Random, moves: int, rules: Rules = RULES) -> Decided:
    """What a machine in the worst of worlds decided: stimuli, each with its events."""
    world = World()
    for _ in range(moves):
        world.random_move(random)
    state, out = initial(world.config), []
    for stimulus in world.log:
        assert isinstance(stimulus, st.Stimulus)
        plain = plain_stimulus(stimulus)
        decision = decide(state, plain, rules)
        state = decision.state
        if decision.events:
            out.append((plain, decision.events))
    return out


def write(path: Path, decisions: Decided, last: int | None = None) -> Path:
    """A log of `decisions`; of the last one only the first `last` events."""
    with LogWriter.create(path, Header(World().config, "paper"), sync=Sync.BUFFERED) as log:
        for n, (stimulus, events) in enumerate(decisions):
            whole = n < len(decisions) - 1
            log.append(events if whole else events[:last], 0.0, stimulus)
    return path


@pytest.mark.parametrize("seed", range(10))
def test_any_log_is_decided_again_to_the_same_events(tmp_path: Path, seed: int) -> None:
    decisions = decided(Random(seed), 150)
    found = replay(write(tmp_path / "log", decisions))
    assert found.ok
    assert found.otherwise is None
    assert found.decided_again == len(decisions)


BOOT: Decided = [(st.Boot(), decide(initial(World().config), st.Boot()).events)]


def with_second(stimulus: st.Stimulus, events: Sequence[ev.Event]) -> Decided:
    return [*BOOT, (stimulus, tuple(events)), (st.Note("x"), (ev.Noted("x"),))]


def test_a_stimulus_that_does_not_lead_to_the_events_is_named(tmp_path: Path) -> None:
    refused = ev.Refused("Pause", "machine_runs", "the machine is defined; or so", None)
    found = replay(write(tmp_path / "log", with_second(st.Pause(), [refused])))
    assert found.wrong is None
    assert not found.ok
    assert found.otherwise is not None
    assert found.otherwise.record.seq == 2
    assert found.otherwise.logged == refused
    now = found.otherwise.now
    assert isinstance(now, ev.Refused)
    assert "commands are taken while it runs" in now.message


def test_an_event_too_many_and_one_too_few_are_named(tmp_path: Path) -> None:
    noted = ev.Noted("twice")
    twice = replay(write(tmp_path / "more", with_second(st.Note("twice"), [noted, noted])))
    assert twice.otherwise is not None
    assert (twice.otherwise.logged, twice.otherwise.now) == (noted, None)
    done = st.MachineDone(MachineStep.CREATE_VCPUS)
    events = decide(decide(initial(World().config), st.Boot()).state, done).events
    assert len(events) > 1
    fewer = replay(write(tmp_path / "less", with_second(done, events[:1])))
    assert fewer.otherwise is not None
    assert (fewer.otherwise.logged, fewer.otherwise.now) == (None, events[1])


def test_a_decision_that_was_cut_short_is_compared_as_far_as_it_goes(tmp_path: Path) -> None:
    done = st.MachineDone(MachineStep.CREATE_VCPUS)
    events = decide(decide(initial(World().config), st.Boot()).state, done).events
    found = replay(write(tmp_path / "log", [*BOOT, (done, events)], last=1))
    assert found.ok
    assert found.otherwise is None
    assert found.decided_again == 2


def test_rules_without_a_guard_show_themselves_in_the_log(tmp_path: Path) -> None:
    """The protocol of another revision is told from this one by what it decides."""
    rules = attrs.evolve(RULES, habits=frozenset())
    for seed in range(20):
        decisions = decided(Random(seed), 300, rules)
        found = replay(write(tmp_path / str(seed), decisions))
        if found.otherwise is not None:
            return
    pytest.fail("no log of other rules was told from one of these")


def written_by(path: Path, version: str) -> Path:
    """The same log, as another version of hpcore would have written it."""
    lines, before = [], NO_SUM
    for line in path.read_bytes().splitlines():
        fields = orjson.loads(line)
        del fields["sum"]
        if "versions" in fields:
            fields["versions"]["hpcore"] = version
        sealed, before = seal(orjson.dumps(fields), before)
        lines.append(sealed + b"\n")
    path.write_bytes(b"".join(lines))
    return path


def test_replay_says_which_versions_it_compares(tmp_path: Path) -> None:
    refused = ev.Refused("Pause", "machine_runs", "no", None)
    path = write(tmp_path / "log", with_second(st.Pause(), [refused]))
    run = CliRunner().invoke(cli, ["replay", str(path)])
    assert run.exit_code == 1
    assert "Decided otherwise: at event 2, Pause led to" in " ".join(run.output.split())
    other = CliRunner().invoke(cli, ["replay", str(written_by(path, "0.0.7")), "--json"])
    assert other.exit_code == 0, "another version may decide otherwise"
    said = json.loads(other.stdout)["decided_again"]
    assert (said["by"], said["written_by"], said["decisions"]) == (__version__, "0.0.7", 3)
    assert said["otherwise"]["seq"] == 2


def test_a_log_without_stimuli_is_folded_alone(tmp_path: Path) -> None:
    with LogWriter.create(tmp_path / "log", Header(World().config, "paper")) as log:
        log.append([ev.Noted("from before 1.2")], 0)
    found = replay(tmp_path / "log")
    assert found.ok
    assert found.decided_again == 0
    run = CliRunner().invoke(cli, ["replay", str(tmp_path / "log")])
    assert "not decided again" in run.output


def test_an_answer_that_no_rules_give_is_wrong_whatever_decides_now(tmp_path: Path) -> None:
    """A CPU_ON of an enabled vCPU that is off, and DENIED: no state is wrong by that."""
    booted_so_far = booted(World().config)
    before = [(d.answers, d.events) for d in booted_so_far.decisions if d.answers is not None]
    denied = ev.CpuOnDenied(1, 0, int(PsciStatus.DENIED))
    wrong = (st.CpuOnCalled(1), (denied,))
    path = write(tmp_path / "log", [*before, wrong, (st.Note("on"), (ev.Noted("on"),))])
    found = replay(path)
    assert found.wrong is not None
    assert (found.wrong.record.event, found.wrong.violation.invariant) == (
        denied, "cpu_on_answered",
    )  # fmt: skip
    assert found.state == found.wrong.before == booted_so_far.state
    assert found.last_seq == found.wrong.record.seq - 1
    path.unlink()
    cut = replay(write(path, [*before, wrong]))
    assert cut.wrong is None, "a decision that may be cut short has not been answered yet"
