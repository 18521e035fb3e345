"""A scenario that is written reads as it was; what new steps are told when they are wrong."""

from __future__ import annotations

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from hpcore.guest.played import LOST, Answers
from hpcore.guest.played.answers import LARGEST_STATUS
from hpcore.guest.played.hostile import moves
from hpcore.model.acpi import Notification
from hpcore.model.config import MachineConfig
from hpcore.scenario import values as sc
from hpcore.scenario.read import bundled, load, parse
from hpcore.scenario.read_steps import LONGEST_WAIT
from hpcore.scenario.write import dump
from hpcore.scenario.yaml_values import ScenarioError

CONFIG = MachineConfig.of(
    cpus=1, maxcpus=4, threads=2, cpu_model="cortex-a72", gic_version=2, memory=512
)
TEXT = some.text(some.characters(codec="utf-8", categories=("L", "N", "P", "S", "Zs")), max_size=20)
CPUS = some.integers(0, 3) | TEXT
STEPS = some.one_of(
    some.builds(sc.PlugStep, TEXT, some.dictionaries(TEXT.filter(
        lambda key: key not in {"id", "driver", ""}), some.integers() | TEXT, max_size=3),
        some.none() | TEXT),
    some.builds(sc.UnplugStep, TEXT, some.booleans()),
    some.builds(sc.ScaleStep, some.integers(-1, 600), some.booleans()),
    some.builds(sc.OnlineStep, CPUS), some.builds(sc.OfflineStep, CPUS),
    some.builds(sc.ShellStep, TEXT, some.none() | TEXT),
    some.builds(sc.ExpectStep, some.dictionaries(
        some.sampled_from(sc.MASKS), some.frozensets(some.integers(0, 20))),
        some.dictionaries(CPUS, some.sampled_from(["parked", "online"]))),
    some.sampled_from([
        sc.ResetStep(), sc.RebootStep(), sc.PauseStep(), sc.ResumeStep(), sc.PowerOffStep(),
        sc.MigrateStep(), sc.SettleStep(), sc.BootStep(), sc.RebootedStep(),
    ]),
    some.builds(sc.SaveStep, TEXT.filter(lambda name: name and "\0" not in name)),
    some.builds(sc.WaitStep, some.integers(1, LONGEST_WAIT)
                | some.integers(1, 60).map(lambda minutes: minutes * 60_000)),
    some.sampled_from(moves(CONFIG)).map(lambda m: sc.CallStep(str(m.call), m.arguments)),
)  # fmt: skip


def line(step: sc.ScenarioStep, fails: str | None, waits: bool) -> sc.Line:
    may_not_wait = isinstance(
        step,
        sc.PlugStep | sc.UnplugStep | sc.ScaleStep | sc.OnlineStep | sc.OfflineStep
        | sc.RebootStep,
    )
    return sc.Line(step, 0, "", fails, waits or not may_not_wait)


ANSWER = some.just(LOST) | some.integers(0, LARGEST_STATUS)
ANSWERS = some.dictionaries(
    some.sampled_from(Notification),
    ANSWER | some.lists(ANSWER, min_size=1, max_size=3).map(tuple),
)
LINES = some.lists(
    some.builds(line, STEPS, some.none() | TEXT, some.booleans()), min_size=1, max_size=4
).map(tuple)


def unworded(lines: tuple[sc.Line, ...]) -> tuple[sc.Line, ...]:
    """The lines without what only people read."""
    return tuple(
        attrs.evolve(one, number=0, text="", step=(
            attrs.evolve(one.step, steps=unworded(one.step.steps))
            if isinstance(one.step, sc.RepeatStep) else one.step
        ))
        for one in lines
    )  # fmt: skip


def same(one: sc.Scenario, other: sc.Scenario) -> bool:
    return attrs.evolve(one, name="", steps=unworded(one.steps)) == attrs.evolve(
        other, name="", steps=unworded(other.steps)
    )


@pytest.mark.parametrize("name", bundled())
def test_every_scenario_that_comes_along_is_written_as_it_was_read(name: str) -> None:
    scenario = load(name)
    assert same(parse(dump(scenario)), scenario)


@settings(max_examples=150)
@given(LINES, TEXT, TEXT, some.sampled_from(["linux", "hostile"]), ANSWERS)
def test_any_scenario_reads_as_it_was_written(
    lines: tuple[sc.Line, ...], about: str, append: str, kind: str, answers: Answers
) -> None:
    repeated = (*lines, sc.Line(sc.RepeatStep(3, lines), 0, ""))
    scenario = sc.Scenario("", about, CONFIG, append, repeated, kind, answers)
    assert same(parse(dump(scenario)), scenario), dump(scenario)


@pytest.mark.parametrize(("step", "says"), [
    ("call: 3", "call must be a mapping"),
    ("call: {}", "call takes one of read, write, ost, eject, cpu_on, cpu_off"),
    ("call: {ejekt: 2}", "did you mean 'eject'?"),
    ("call: {eject: two}", "an argument of eject is 'two'"),
    ("call: {write: [1, 2]}", "write takes address, size, value; not 2 numbers"),
    ("call: {write: [1, 3, 0]}", "size is 3; it must be 1, 2, 4 or 8"),
    ("call: {eject: -1}", "numbers of 64 bits"),
    ("settle: 3", "it takes no value"),
    ("scale: many", "scale is 'many'; it must be a whole number"),
    ("scale: yes", "scale is 'yes'; it must be a whole number"),
    ("scale: true", "scale is True; it must be a whole number"),
    ("scale: {undo: true}", "to is None; it must be a whole number"),
    ("scale: {to: 3, undo: 1}", "undo is 1; it must be true or false"),
    ("scale: {too: 3}", "'too' is no key of scale; did you mean 'to'?"),
    ("rebooted: now", "it takes no value"),
    ("reset:\n   waits: false", "waits: false has no meaning for reset"),
    ("wait: 2", "wait: '2' is no time; give one as in 500ms, 2s or 1m"),
    ("wait: 2h", "wait: '2h' is no time"),
    ("wait: 1.5s", "wait: '1.5s' is no time"),
    ("wait", "wait: '' is no time"),
    ("wait: 0s", "wait is 0s; it must be 1ms to 60m"),
    ("wait: 61m", "wait is 61m; it must be 1ms to 60m"),
    ("wait: 2s\n   waits: false", "waits: false has no meaning for wait"),
    ("repeat: {times: 25, steps: [{wait: 1h}]}", "wait: '1h' is no time"),
    ("repeat: {times: 25, steps: [{wait: 60m}]}",
     "with every repeat the waits are 90,000 s; a scenario waits 86,400 s at most"),
    ("plug: 3\n   waits: maybe", "waits is 'maybe'; it must be true or false"),
    ("call: {eject: 2}\n   waits: false", "waits: false has no meaning for call"),
])  # fmt: skip
def test_a_wrong_step_is_told_what_it_takes(step: str, says: str) -> None:
    with pytest.raises(ScenarioError, match="s:3: ") as told:
        parse(f"machine: {{maxcpus: 4}}\nsteps:\n - {step}", "s")
    assert says in str(told.value)
