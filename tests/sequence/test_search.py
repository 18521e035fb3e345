"""What the search of sequences finds, and that it leaves nothing out."""

from __future__ import annotations

import doctest
from collections.abc import Iterator

import attrs
import pytest
from attrs import frozen

import hpcore.sequence
from hpcore.check import HOSTILE, LEGACY, LINUX, PROPERTIES, CheckError, GuestModel
from hpcore.model.machines import SlotState
from hpcore.model.properties import always, eventually, sometimes
from hpcore.model.rules import RULES
from hpcore.model.states import Shared, Slot, State
from hpcore.model.stimuli import CpuOnCalled, Stimulus
from hpcore.scenario import load, values
from hpcore.sequence import Anyhow, FindingKind, Question, SequenceRefused, check
from hpcore.sequence.steps import BEGINS
from tests.sequence.reference import search
from tests.sequence.sequences import PLUG, PLUG_ON, UNPLUG_ON, asked, scenario, whys


def test_the_example_that_the_room_opens_with_runs() -> None:
    done = doctest.testmod(hpcore.sequence)
    assert (done.failed, done.attempted) == (0, 6)


@frozen
class Eager:
    """Starts every vCPU that it may, and takes none off."""

    name: str = "eager"
    reads_registered: bool = False
    leaves_out: frozenset[str] = frozenset()

    def calls(self, index: int, slot: Slot, shared: Shared) -> Iterator[Stimulus]:
        if shared.guest_runs:
            yield CpuOnCalled(index, 0, 0, 0)

    def machine_calls(self, shared: Shared) -> Iterator[Stimulus]:
        return iter(())


EAGER = Eager()

# ------------------------------------------------------------ beside a plain search

SEQUENCES = {
    "plug and back": (f"[boot, {PLUG}, {{online: a}}, {{unplug: a}}]", "cpus: 1, maxcpus: 2", ""),
    "overlapping": (f"[boot, {PLUG_ON}, {{plug: 2, waits: false}}, settle]",
                    "cpus: 1, maxcpus: 3", ""),
    "never answered": (f"[boot, {PLUG}, {{unplug: a}}]", "cpus: 1, maxcpus: 2", "kind: silent"),
    "the check is lost": (f"[boot, {PLUG}]", "cpus: 1, maxcpus: 2",
                          "answers: {device-check: [lost, 1]}"),
    "in a pause": (f"[boot, pause, {PLUG}, resume, {{expect: {{slots: {{a: enabled}}}}}}]",
                   "cpus: 1, maxcpus: 2", ""),
    "reset": (f"[boot, {PLUG}, {UNPLUG_ON}, reset, {{expect: {{slots: {{1: parked}}}}}}]",
              "cpus: 1, maxcpus: 2", ""),
    "again at once": (f"[boot, {PLUG}, {UNPLUG_ON}, {PLUG}]", "cpus: 1, maxcpus: 2", ""),
    "scale": ("[boot, {scale: 3}, {scale: 1}]", "cpus: 1, maxcpus: 3", ""),
}  # fmt: skip


WITH_FAULTS = ("plug and back", "never answered", "again at once")
"""The others with a fault take a minute, and find nothing more; they were tried."""


@pytest.mark.parametrize(
    ("name", "options"),
    [
        *((name, {}) for name in SEQUENCES),
        *((name, {"race": True}) for name in SEQUENCES if name != "scale"),
        *((name, {"faults": 1}) for name in WITH_FAULTS),
    ],
)
def test_the_search_finds_what_a_plain_one_does(name: str, options: dict[str, int]) -> None:
    question = Question.of(scenario(*SEQUENCES[name]), **options)
    plain = search(question)
    every = check(attrs.evolve(question, reduce=False))
    assert every.states == len(plain.nodes)
    assert set(whys(every)) == set(plain.found)
    reduced = check(question)
    assert set(whys(reduced)) == set(plain.found)
    assert reduced.states <= every.states
    assert {f.why for f in reduced.fault_ends} == {f.why for f in every.fault_ends}
    assert reduced.completed is every.completed
    if plain.found:
        assert len(reduced.findings[0].way) == min(plain.found.values()), "no shorter way"


@pytest.mark.parametrize("guest", [HOSTILE, LINUX, LEGACY], ids=lambda g: g.name)
def test_a_guest_model_is_searched_as_wholly(guest: GuestModel) -> None:
    question = Question(scenario(f"[boot, {PLUG_ON}]"), Anyhow(guest))
    plain, every = search(question), check(attrs.evolve(question, reduce=False))
    assert every.states == len(plain.nodes)
    assert set(whys(every)) == set(plain.found) == set(whys(check(question)))


# --------------------------------------------------------------------- the shipped ones


@pytest.mark.parametrize(
    "name", ["cover-letter", "plug-unplug", "reset", "guest-refuses", "refusals", "revoke"]
)
def test_a_scenario_that_is_shipped_goes_as_it_says_in_every_run(name: str) -> None:
    answer = check(Question.of(load(name)))
    assert answer.ok and answer.completed


def test_what_an_accelerator_may_do_in_a_pause_is_found() -> None:
    """`paused` expects that nothing is done meanwhile, as where the machine itself does it."""
    answer = check(Question.of(load("paused")))
    assert ("expect", 6, "slot 2 is enabled, not parked") in whys(answer)


# ----------------------------------------------------------------------- what is found


def test_a_plug_that_nobody_waits_for_is_in_the_way_of_its_unplug() -> None:
    answer = asked(f"[boot, {PLUG_ON}, {{unplug: a}}]")
    (first, *_) = answer.findings
    assert first.kind is FindingKind.FAILS
    assert first.line is not None and first.line.number == 3
    assert first.why.startswith("Device 'a' is still being plugged")
    assert [h.begins.number for h in first.way if h.begins] == [1, 2, 3]
    assert answer.completed, "if it is slow enough"


def test_what_must_fail_is_found_not_to() -> None:
    answer = asked(f"[boot, {PLUG}, {{unplug: a, fails: busy}}]")
    assert [why for _, _, why in whys(answer)] == ["it should have failed with 'busy', and did not"]
    assert not answer.completed


def test_an_expectation_that_need_not_come_true_is_found_at_rest() -> None:
    answer = asked(f"[boot, {PLUG}, {{expect: {{online: 0-1}}}}]")
    assert whys(answer) == [("expect", 3, "online is 0, not 0-1")]


def test_an_expectation_waits_as_it_does_in_a_run() -> None:
    answer = asked(f"[boot, {PLUG}, {UNPLUG_ON}, {{expect: {{slots: {{1: parked}}}}}}]")
    assert answer.ok


def test_a_step_that_need_never_end_is_found() -> None:
    lost = asked(f"[boot, {PLUG}]", guest="answers: {device-check: lost}")
    assert whys(lost) == [("never", 2, "it need never end")]
    assert lost.findings[0].way[-1].says == "the guest loses the device check of vCPU 1"


def test_a_step_that_goes_on_for_ever_is_found() -> None:
    """The user's next command waits for the end of the machine's step, which never comes."""
    answer = asked("[boot, pause, {online: 0}]")
    assert whys(answer) == [("never", 3, "it need never end")]


def test_a_deadline_runs_out_once_nothing_else_goes_on() -> None:
    silent = asked(f"[boot, {PLUG}, {{unplug: a}}]", guest="kind: silent")
    assert [(k, n) for k, n, _ in whys(silent)] == [("fails", 3)]
    assert "did not answer in time" in silent.findings[0].why
    assert asked(f"[boot, {PLUG}, {{unplug: a}}]").ok, "a guest that answers is not late"


def test_a_step_that_a_fault_makes_fail_ends_the_run_and_is_no_finding() -> None:
    answer = asked(f"[boot, {PLUG}]", faults=1)
    assert answer.ok and answer.completed
    assert "realize failed: failed" in {end.why for end in answer.fault_ends}
    assert all(end.faults == 1 for end in answer.fault_ends)


def test_a_guest_may_be_late_at_the_price_of_a_fault() -> None:
    answer = asked(f"[boot, {PLUG}, {{unplug: a}}]", faults=1)
    assert any("did not answer in time" in end.why for end in answer.fault_ends)


def test_commands_overlap_in_a_race() -> None:
    steps = f"[boot, {PLUG}, {{unplug: a}}]"
    assert asked(steps).ok
    assert "still being plugged" in asked(steps, race=True).findings[0].why


def test_a_reset_that_nobody_asked_for_may_come() -> None:
    steps = f"[boot, {PLUG}, {{unplug: a}}]"
    answer = asked(steps, resets=True)
    assert ("fails", 3, "the machine was reset") in whys(answer)


def test_a_guest_of_the_checkers_need_not_answer() -> None:
    question = Question(scenario(f"[boot, {PLUG}]"), Anyhow(LINUX))
    assert ("never", 2, "it need never end") in whys(check(question))


def test_every_kind_of_step_is_known() -> None:
    looks = {values.ExpectStep, values.SettleStep, values.RepeatStep}
    assert set(values.ScenarioStep.__args__) - looks == set(BEGINS)


@pytest.mark.parametrize(
    ("steps", "end"),
    [
        ("[boot, {save-machine: vm.state}]", True),
        ("[boot, poweroff]", True), ("[boot, reboot, rebooted, reset]", True),
        ("[boot, migrate, {wait: 5s}, {shell: 'true'}, settle]", True),
        (f"[boot, {PLUG}, {{call: {{ost: [1, 3, 0x80]}}}}, {{call: {{cpu_on: [0, 1]}}}}]", True),
        ("[boot, {offline: 0, fails: busy}]", True),
        ("[boot, {online: 1, fails: nonexistent}]", True),
        ("[boot, {online: x, fails: no vCPU is plugged}]", True),
        ("[boot, {scale: 9, fails: can have 1 to 2}]", True),
        ("[boot, poweroff, {plug: 1, fails: 'the machine is off'}]", True),
    ],
)  # fmt: skip
def test_every_kind_of_step_comes_to_its_end(steps: str, end: bool) -> None:
    answer = asked(steps)
    assert (whys(answer), answer.completed) == ([], end)


# ------------------------------------------------------------ properties, rules, refusals


def test_a_property_of_ones_own_is_asked_in_every_run() -> None:
    never_on = always("off", "vCPU 1 is never on.", lambda i, s, m: i != 1 or not s.powered)
    answer = asked(f"[boot, {PLUG}, {{online: a}}]", properties=(*PROPERTIES, never_on))
    assert [(f.kind, f.broken, f.slot) for f in answer.findings] == [("broken", "off", 1)]


@pytest.mark.parametrize("most", [1, 2, 3])
def test_a_property_of_the_whole_machine_is_held_as_in_a_plain_search(most: int) -> None:
    """Also where each slot by itself is as it was seen to be, and what they are together is not."""

    @always(whole=True)
    def few_are_on(state: State) -> bool:
        """Few are on."""
        return sum(slot.powered for slot in state.slots) <= most

    question = Question(
        scenario(f"[boot, {PLUG_ON}, {{plug: 2, waits: false}}]", "cpus: 1, maxcpus: 3"),
        Anyhow(EAGER),
        properties=(*PROPERTIES, few_are_on),
    )
    plain, answer = search(question), check(question)
    assert answer.states == len(plain.nodes)
    assert set(whys(answer)) == set(plain.found)
    broken = [f for f in answer.findings if f.kind is FindingKind.BROKEN]
    assert {(f.broken, f.slot) for f in broken} == ({("few_are_on", None)} if most < 3 else set())
    assert [len(f.way) for f in broken[:1]] == sorted(plain.found.values())[:1]


def test_a_property_of_the_whole_machine_is_asked_after_whole_decisions_alone() -> None:
    seen: list[State] = []

    def look(state: State) -> bool:
        seen.append(state)
        return True

    asked(f"[boot, {PLUG}]", properties=(*PROPERTIES, always("seen", "Seen.", on_machine=look)))
    assert any(state.slots[1].enabled for state in seen)
    # realized, and the next step not begun: a state between two events of one decision
    assert not any(s.lifecycle is SlotState.REALIZED and s.step is None
                   for state in seen for s in state.slots)  # fmt: skip


def test_what_is_to_be_seen_in_some_run_is_missed() -> None:
    on = sometimes("on", "A CPU_ON is granted.", lambda e: type(e).__name__ == "CpuOnGranted")
    steps = f"[boot, {PLUG}]"
    assert asked(steps, properties=(*PROPERTIES, on)).missing == ("on",)
    assert asked(f"[boot, {PLUG}, {{online: a}}]", properties=(*PROPERTIES, on)).ok


def test_what_must_end_is_found_where_it_need_not() -> None:
    looked = eventually("looked", "The guest looks.", lambda i, s, m: s.insert)
    answer = asked(f"[boot, pause, {PLUG_ON}]", properties=(*PROPERTIES, looked))
    assert any("looked of vCPU 1 need never end" in f.why for f in answer.findings)


def test_a_mutant_is_found_by_the_sequence_that_shows_it() -> None:
    rules = RULES.without("eject_was_requested")
    steps = f"[boot, {PLUG}, {{call: {{eject: 1}}}}]"
    assert asked(steps).ok
    (found, *_) = asked(steps, rules=rules).findings
    assert found.broken == "eject_requested_and_off"


@pytest.mark.parametrize(
    ("steps", "says"),
    [
        ("[boot, {call: {write: [0, 4, 0]}}]", "knows no registers"),
        ("[boot, {repeat: {times: 2000, steps: [settle]}}]", "lower times"),
        ("[boot, {scale: {to: 2, undo: true}, fails: x}]", "write the plugs and unplugs out"),
    ],
)
def test_what_cannot_be_checked_is_refused(steps: str, says: str) -> None:
    with pytest.raises(SequenceRefused, match=says):
        asked(steps)


def test_a_search_that_grows_too_large_says_so() -> None:
    with pytest.raises(CheckError, match="more than 20 states"):
        asked(f"[boot, {PLUG}]", most=20)
