"""What was done, as steps: played again they end well, and come to the same."""

from __future__ import annotations

import asyncio
from pathlib import Path

import attrs
import pytest

from hpcore.model.config import MachineConfig
from hpcore.run.accelerator import GuestScript
from hpcore.run.open import open_machine
from hpcore.scenario import values as sc
from hpcore.scenario.play import Player, StepResult
from hpcore.scenario.read_steps import StepReader
from hpcore.scenario.retold import retold
from tests.support.played import found, play

CONFIG = MachineConfig.of(cpus=2, maxcpus=4)


def done(tmp_path: Path, *typed: str) -> tuple[tuple[sc.Line, ...], list[bool]]:
    """What is told of these steps, each of which may fail, and which vCPUs are enabled then."""

    async def go() -> tuple[tuple[sc.Line, ...], list[bool]]:
        reader = StepReader(CONFIG, "typed")
        told: list[sc.Line] = []
        async with open_machine(
            found(), CONFIG, GuestScript(), log=tmp_path / "typed.jsonl"
        ) as machine:
            player = Player(machine)
            for text in typed:
                for line in reader.read(text):
                    first = len(player.results)
                    await player.play((line,))
                    told += retold(line, player.results[first:])
            return tuple(told), [slot.enabled for slot in machine.slots]

    return asyncio.run(go())


def again(tmp_path: Path, lines: tuple[sc.Line, ...]) -> list[object]:
    """Which vCPUs are enabled once `lines` were played as a scenario, which must end well."""
    outcome = play(sc.Scenario("again", "", CONFIG, "", lines), tmp_path / "again.jsonl")
    assert outcome.ok, [(r.line.text, r.error) for r in outcome.results if r.error]
    return [slot["enabled"] for slot in outcome.slots]


def test_what_went_well_is_told_as_it_was_typed(tmp_path: Path) -> None:
    typed = ("boot", "plug 2", "{unplug: cpu0, fails: cold}", "repeat: {times: 2, steps: [settle]}")
    lines, enabled = done(tmp_path, *typed, "expect: {slots: {2: enabled}}")
    assert [line.text for line in lines] == [
        "boot", "plug 2", "unplug cpu0", "repeat 2 times", "expect slots (2 enabled)",
    ]  # fmt: skip
    assert again(tmp_path, lines) == enabled == [True, True, True, False]


@pytest.mark.parametrize(
    ("typed", "fails"),
    [
        ("unplug cpu0", "Hot-unplug of cold-booted CPU not supported!"),
        ("{unplug: cpu0, fails: in other words}", "Hot-unplug of cold-booted CPU not supported!"),
        ("plug: {id: a, core-id: 9}", "Invalid core-id 9 specified"),
        ("{plug: 2, fails: whatever}", None),
    ],
)
def test_what_went_otherwise_is_told_as_it_went(
    typed: str, fails: str | None, tmp_path: Path
) -> None:
    lines, _ = done(tmp_path, "boot", typed)
    told = lines[-1].fails
    assert told == fails or (told is not None and fails is not None and told.startswith(fails))
    again(tmp_path, lines)


def test_a_repeat_that_failed_on_its_way_is_told_step_by_step(tmp_path: Path) -> None:
    lines, enabled = done(tmp_path, "boot", "repeat: {times: 3, steps: [plug: 2, online: 2]}")
    assert [line.text for line in lines] == ["boot", "plug 2", "online 2", "plug 2"]
    assert lines[-1].fails
    assert again(tmp_path, lines) == enabled == [True, True, True, False]


def line(step: sc.ScenarioStep, fails: str | None = None) -> sc.Line:
    return sc.Line(step, 1, "words", fails)


def test_an_expectation_that_was_not_so_is_left_out() -> None:
    expect = line(sc.ExpectStep())
    failed = StepResult(expect, 0.0, "it is not so", failure="it is not so")
    assert retold(expect, [failed]) == ()


def test_only_the_piece_that_comes_again_is_kept_of_a_failure() -> None:
    plug = line(sc.PlugStep("a"))
    words = "the guest took over 60 s; its last output: [    4.9]\nand more"
    (told,) = retold(plug, [StepResult(plug, 0.0, words, failure=words)])
    assert told.fails == "the guest took over 60 s"


@pytest.mark.parametrize(
    "step",
    [sc.PlugStep("a"), sc.UnplugStep("a"), sc.ScaleStep(2), sc.OnlineStep(1), sc.OfflineStep(1),
     sc.RebootStep()],
)  # fmt: skip
def test_an_interrupted_step_is_one_that_is_not_waited_for(step: sc.ScenarioStep) -> None:
    begun = line(step, "never")
    assert retold(begun, [], begun) == (attrs.evolve(begun, fails=None, waits=False),)


@pytest.mark.parametrize("step", [sc.BootStep(), sc.ResetStep(), sc.PauseStep()])
def test_an_interrupted_step_that_must_be_waited_for_is_told_whole(step: sc.ScenarioStep) -> None:
    assert retold(line(step), [], line(step)) == (line(step),)


@pytest.mark.parametrize("step", [sc.WaitStep(1000), sc.SettleStep(), sc.ExpectStep(),
                                  sc.ShellStep("sleep 9"), sc.RebootedStep()])  # fmt: skip
def test_an_interrupted_step_that_only_waits_is_left_out(step: sc.ScenarioStep) -> None:
    assert retold(line(step), [], line(step)) == ()


def test_an_interrupted_repeat_is_told_up_to_there() -> None:
    plug, wait = line(sc.PlugStep("a")), line(sc.WaitStep(60_000))
    repeat = line(sc.RepeatStep(2, (plug, wait)))
    assert retold(repeat, [StepResult(plug, 0.1)], wait) == (plug,)
