"""Replay: the fold of a log, and the first event in it that is wrong."""

from __future__ import annotations

import random
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

import pytest

from hpcore.log import Header, LogDamaged, LogError, LogWriter, Sync
from hpcore.model import events as ev
from hpcore.model import stimuli as st
from hpcore.model.decide import decide
from hpcore.model.effects import MachineStep, RunMachineStep, RunStep, Step
from hpcore.model.machines import SlotState
from hpcore.model.rules import RULES, Rules
from hpcore.model.states import State, initial
from hpcore.model.topology import mp_affinity
from hpcore.triage.replay import replay
from hpcore.triage.words import say
from tests.support.world import World

Batch = tuple[ev.Event, ...]


def batches(*stimuli: st.Stimulus, rules: Rules = RULES) -> tuple[list[Batch], State]:
    """The decisions of a machine of 2 and 4 vCPUs whose effects all succeed at once."""
    state = initial(World().config)
    out: list[Batch] = []
    waiting: list[st.Stimulus] = [st.Boot(), *stimuli]
    while waiting:
        decision = decide(state, waiting.pop(0), rules)
        state = decision.state
        if decision.events:
            out.append(decision.events)
        for effect in reversed(decision.effects):
            if isinstance(effect, RunStep):
                affinity = mp_affinity(effect.slot) if effect.step is Step.BIND else None
                waiting.insert(0, st.Done(effect.step, effect.slot, affinity))
            elif isinstance(effect, RunMachineStep):
                waiting.insert(0, st.MachineDone(effect.step))
    return out, state


PLUG = (st.DeviceAdd("core2", (("core-id", 2),)), st.ScanStarted(), st.InsertAcked(2),
        st.ScanEnded(), st.OstReported(2, 1, 0))  # fmt: skip


def write(path: Path, decisions: Sequence[Sequence[ev.Event]]) -> Path:
    header = Header(World().config, "paper")
    with LogWriter.create(path, header, sync=Sync.BUFFERED) as log:
        for n, events in enumerate(decisions):
            log.append(events, n * 0.001)
    return path


def test_a_replay_is_the_state_that_was(tmp_path: Path) -> None:
    decisions, state = batches(*PLUG)
    found = replay(write(tmp_path / "log", decisions))
    assert found.ok
    assert found.state == state
    assert found.events == sum(len(b) for b in decisions)


def test_the_state_at_any_number_is_the_fold_up_to_there(tmp_path: Path) -> None:
    decisions, _ = batches(*PLUG)
    path = write(tmp_path / "log", decisions)
    flat = [e for b in decisions for e in b]
    enabled = flat.index(ev.StepDone(2, Step.ENABLE)) + 1
    before, after = replay(path, enabled - 1).at, replay(path, enabled).at
    assert before is not None and after is not None
    assert before.slots[2].lifecycle is SlotState.REALIZED
    assert after.slots[2].lifecycle is SlotState.ENABLED
    assert replay(path, 0).at == initial(World().config)
    assert replay(path, len(flat) + 1).at is None


def tampered(replace: ev.Event, by: ev.Event | None) -> list[Batch]:
    decisions, _ = batches(*PLUG)
    put = () if by is None else (by,)
    return [tuple(x for e in b for x in (put if e == replace else (e,))) for b in decisions]


@pytest.mark.parametrize(
    ("replace", "by", "invariant", "at"),
    [
        # enabled before it is wired
        (ev.StepBegun(2, Step.WIRE), ev.StepBegun(2, Step.ENABLE), "built_in_order", Step.ENABLE),
        # the outcome of a step that was never begun
        (ev.StepDone(2, Step.BIND, 2), ev.StepDone(2, Step.WIRE), "transition", Step.WIRE),
        # another vCPU's GICC
        (ev.StepDone(2, Step.BIND, 2), ev.StepDone(2, Step.BIND, 3), "gicc_matches_affinity",
         Step.BIND),
        # a device check of what is not enabled
        (ev.StepBegun(2, Step.ENABLE), ev.StepBegun(2, Step.NOTIFY_INSERT),
         "notified_only_enabled", Step.NOTIFY_INSERT),
    ],
)  # fmt: skip
def test_the_first_wrong_event_is_found_and_named(
    tmp_path: Path, replace: ev.Event, by: ev.Event, invariant: str, at: Step
) -> None:
    found = replay(write(tmp_path / "log", tampered(replace, by)))
    assert found.wrong is not None
    assert found.wrong.violation.invariant == invariant
    assert found.wrong.record.event == by
    assert found.wrong.before == found.state
    assert found.wrong.violation.slot == 2


def test_a_command_that_is_not_followed_up_is_lost(tmp_path: Path) -> None:
    found = replay(write(tmp_path / "log", tampered(ev.StepBegun(2, Step.WIRE), None)))
    assert found.wrong is not None
    assert found.wrong.violation.invariant == "no_command_lost"


def test_a_log_may_end_after_any_line_also_within_a_decision(tmp_path: Path) -> None:
    lines = write(tmp_path / "log", batches(*PLUG)[0]).read_bytes().splitlines(keepends=True)
    for count in range(1, len(lines) + 1):
        found = replay(BytesIO(b"".join(lines[:count])))
        assert found.ok, found.wrong
        assert found.events == count - 1


def test_damage_loses_no_event_before_it(tmp_path: Path) -> None:
    path = write(tmp_path / "log", batches(*PLUG)[0])
    lines = path.read_bytes().splitlines(keepends=True)
    for line in range(1, len(lines)):
        found = replay(BytesIO(b"".join([*lines[:line], b"{}\n", *lines[line:]])))
        assert isinstance(found.damage, LogDamaged)
        assert (found.damage.line, found.events, found.wrong) == (line + 1, line - 1, None)


def test_an_event_about_a_slot_that_is_not_there_is_wrong(tmp_path: Path) -> None:
    decisions, _ = batches()
    found = replay(write(tmp_path / "log", [*decisions, (ev.CpuWentOff(99),)]))
    assert found.wrong is not None
    assert "there is no slot 99" in found.wrong.violation.says


def test_a_log_cut_at_any_byte_replays_up_to_there(tmp_path: Path) -> None:
    decisions, _ = batches(*PLUG)
    whole = write(tmp_path / "log", decisions).read_bytes()
    first = whole.index(b"\n") + 1
    for cut in random.Random(1).sample(range(first, len(whole)), 60):
        path = tmp_path / "cut"
        path.write_bytes(whole[:cut])
        found = replay(path)
        assert found.damage is None
        if not whole[:cut].endswith(b"\n"):
            assert found.torn is not None
            assert found.wrong is None


@pytest.mark.parametrize(
    ("version", "ok"),
    [("0.1.0", True), ("0.2.0", True), ("0.3.0", False), ("1.0", False), ("of my own", False)],
)
def test_an_older_log_is_not_held_against_an_invariant_that_came_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str, ok: bool
) -> None:
    """Until 0.3.0 a slot was enabled again before the guest had said how its eject went."""
    at_once = (*PLUG, st.DeviceDel("core2"), st.ScanStarted(), st.RemoveAcked(2), st.ScanEnded(),
               st.EjectCalled(2), st.DeviceAdd("core2", (("core-id", 2),)))  # fmt: skip
    decisions, _ = batches(*at_once, rules=RULES.without("plug_waits_for_confirmation"))
    monkeypatch.setattr("hpcore.log.header.__version__", version)
    found = replay(write(tmp_path / "log", decisions))
    assert found.written_by == version
    assert (found.wrong is None) == ok
    if found.wrong is not None:
        assert found.wrong.violation.invariant == "eject_confirmed_first"


def test_what_was_under_way_at_the_end_is_named(tmp_path: Path) -> None:
    decisions, _ = batches(*PLUG)
    at = next(i for i, b in enumerate(decisions) if ev.StepBegun(2, Step.BIND) in b)
    found = replay(write(tmp_path / "log", decisions[: at + 1]))
    assert found.ok
    assert found.in_flight == ["bind of vCPU 2"]


def test_damage_in_the_middle_names_the_line_and_keeps_what_came_before(tmp_path: Path) -> None:
    decisions, _ = batches(*PLUG)
    path = write(tmp_path / "log", decisions)
    lines = path.read_bytes().split(b"\n")
    lines[10] = lines[10].replace(b'"slot"', b'"slat"').replace(b'"step"', b'"stop"')
    path.write_bytes(b"\n".join(lines))
    found = replay(path)
    assert isinstance(found.damage, LogError)
    assert "11" in str(found.damage)
    assert found.events > 0


def test_every_event_can_be_said() -> None:
    samples: list[ev.Event] = [
        ev.MachineStepFailed(MachineStep.MIGRATE, "x"), ev.MachineWasReset((0, 1)),
        ev.MachineLost("x"), ev.StepFailed(1, Step.BIND, "x"), ev.PlugFailed(1, "a", "x"),
        ev.UnplugAccepted(1, "a", True), ev.UnplugFailed(1, "a", "x"), ev.TakenByForce(1),
        ev.GedRaised(), ev.RemoveCleared(1), ev.OstReceived(1, 3, 0x82),
        ev.OstReceived(1, 77, 99), ev.EjectAccepted(1), ev.EjectRefused(1, "g", "m"),
        ev.CpuOnGranted(1, 0), ev.CpuOnDenied(1, 0, -3), ev.CpuWentOff(1),
        ev.UnplugRepeated(1, "a"), ev.EjectUnconfirmed(1),
        ev.Refused("S", "g", "m"), ev.Noted("x"), ev.Restored("f"),
        *(e for b in batches(*PLUG)[0] for e in b),
    ]  # fmt: skip
    for event in samples:
        assert say(event) != f"vCPU {ev.slot_of(event)} {ev.event_name(event)}"
    assert {type(e) for e in samples} >= set(ev.EVENTS.values()) - {
        ev.MachinePoweredOff, ev.UnplugCompleted
    }  # fmt: skip
