"""Reading scenarios, and what a wrong one is told."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as some

from hpcore.model.topology import PROPS
from hpcore.scenario import values as sc
from hpcore.scenario.read import bundled, load, parse
from hpcore.scenario.yaml_values import ScenarioError


@pytest.mark.parametrize("name", bundled())
def test_every_scenario_that_comes_along_can_be_read_and_says_what_it_is_about(name: str) -> None:
    scenario = load(name)
    assert scenario.about
    assert scenario.steps[0].step == sc.BootStep()


def test_a_scenario_is_a_machine_and_steps() -> None:
    scenario = parse(
        "machine: {cpus: 2, maxcpus: 4, memory: 512}\n"
        "guest: {append: maxcpus=2}\n"
        "steps:\n"
        "  - boot\n"
        "  - plug: {id: a, core-id: 3}\n"
        "  - expect: {online: '0-1,3', slots: {a: online}}\n"
        "  - unplug: {id: a, force: true}\n"
    )
    assert scenario.machine.memory == 512
    assert scenario.append == "maxcpus=2"
    assert [line.step for line in scenario.steps] == [
        sc.BootStep(),
        sc.PlugStep("a", {"core-id": 3}),
        sc.ExpectStep({"online": frozenset({0, 1, 3})}, {"a": "online"}),
        sc.UnplugStep("a", force=True),
    ]


def test_plug_takes_an_index_and_works_out_the_props() -> None:
    scenario = parse("machine: {cpus: 1, maxcpus: 4, threads: 2}\nsteps: [boot, {plug: 3}]")
    step = scenario.steps[1].step
    assert isinstance(step, sc.PlugStep)
    assert (step.id, dict(step.props)) == ("cpu3", dict(zip(PROPS, (0, 0, 1, 1), strict=True)))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "s:1: a scenario must be a mapping (key: value), not nothing"),
        ("[boot]", "must be a mapping (key: value), not a list"),
        ("machine: {}", "there is no 'steps:'"),
        ("steps: []", "steps must be a list with at least one step"),
        ("steps: [bot]", "'bot' is no step; did you mean 'boot'?"),
        ("steps:\n - boot\n - pulg: 3", "s:3: 'pulg' is no key of a step; did you mean 'plug'?"),
        ("steps:\n - boot: 3", "s:2: this step has the value 3; it takes no value"),
        ("steps:\n - plug: 4\n   online: 4", "s:2: a step has one verb; this has 2"),
        ("steps:\n - expect: {onlin: 3}", "did you mean 'online'?"),
        ("steps:\n - expect: {online: 3-x}", "s:2: online:"),
        ("steps:\n - expect: {online: 0-99999999999}", "s:2: online:"),
        ("steps:\n - expect: {slots: {2: parkt}}", "did you mean 'parked'?"),
        ("steps:\n - repeat: {times: 0, steps: [boot]}", "times is 0"),
        ("steps:\n - repeat: {times: two, steps: [boot]}", "it must be a whole number"),
        ("machine: {maxcpus: 0}\nsteps: [boot]", "s:1: machine: maxcpus is 0"),
        ("machine: {maxcpus: 513}\nsteps: [boot]", "at most 512 vCPUs"),
        ("machine: {cpus: 5, maxcpus: 2}\nsteps: [boot]", "more than maxcpus"),
        ("machine: {gic: 4}\nsteps: [boot]", "gic is 4; it must be 2 or 3"),
        ("machine: {memory: 5}\nsteps: [boot]", "memory is 5 MiB; the least is 256"),
        ("machine: {cpus: yes}\nsteps: [boot]", "cpus is 'yes'; it must be a whole number"),
        ("steps:\n  - plug: {id: 4\n", "not YAML"),
        ("steps: [boot]\nsteps: [boot]", "not YAML"),
        ("steps: *nowhere", "not YAML"),
    ],
)
def test_a_wrong_scenario_is_told_where_and_what(text: str, says: str) -> None:
    with pytest.raises(ScenarioError) as error:
        parse(text, "s")
    assert says in str(error.value)


def nested(repeats: int, times: int = 2) -> str:
    """Boot, within so many repeats."""
    opening = f"{{repeat: {{times: {times}, steps: ["
    return "steps: [" + opening * repeats + "boot" + "]}}" * repeats + "]"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (nested(100, times=1), "s:1: nested more than 64 levels deep"),
        ("steps: " + "[" * 5000, "s:1: nested more than 64 levels deep"),
        ("steps: " + "{a: " * 5000, "s:1: nested more than 64 levels deep"),
        ("steps:\n" + "- " * 5000 + "boot", "s:2: nested more than 64 levels deep"),
        ("steps:\n" + "? " * 5000 + "boot", "s:2: nested more than 64 levels deep"),
        ("steps: &a\n - boot\n - *a", "s:3: *a stands within what it names, so without end"),
        ("steps:\n - &a {repeat: {times: 2, steps: [*a]}}", "s:2: *a stands within what it names"),
        ("steps: [boot]\nmachine: &m {<<: *m}", "s:2: *m stands within what it names"),
    ],
    ids=["repeats", "lists", "mappings", "dashes", "keys", "cycle", "repeat", "merge"],
)
def test_what_is_too_deep_or_without_end_is_refused_at_its_line(text: str, says: str) -> None:
    with pytest.raises(ScenarioError) as error:
        parse(text, "s")
    assert str(error.value).startswith(says)


def test_twenty_repeats_within_each_other_are_read() -> None:
    assert sc.steps_taken(parse(nested(20)).steps) == 1 << 20


@pytest.mark.parametrize("first", ["[x, x, x]", "x" * 1000, "{a: x, b: x}"])
def test_aliases_of_aliases_are_refused_before_they_are_built(first: str) -> None:
    lines = [f"a0: &a0 {first}"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 40)]
    with pytest.raises(ScenarioError, match=r"^s:\d+: its aliases stand for more than 1048576"):
        parse("\n".join(lines), "s")


def test_an_alias_may_save_writing_a_step_twice() -> None:
    scenario = parse("steps:\n - boot\n - &p {plug: {id: a, core-id: 0}}\n - unplug: a\n - *p")
    assert scenario.steps[1].step == scenario.steps[3].step


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (nested(3, times=1_000_000), "s:1: with every repeat these are 1,000,000,000,000 steps; a "
                                     "scenario takes 10,000,000 at most: lower times"),
        ("steps:\n - boot\n - repeat: {times: 1000000, steps: [boot, boot, boot, boot, boot, boot, "
         "boot, boot, boot, boot, boot]}", "s:3: with every repeat these are 11,000,000 steps"),
        ("steps:\n" + " - repeat: {times: 1000000, steps: [boot]}\n" * 11,
         "s:1: with every repeat these are 11,000,000 steps"),
    ],
)  # fmt: skip
def test_steps_that_would_never_end_are_refused_before_the_first(text: str, says: str) -> None:
    with pytest.raises(ScenarioError) as error:
        parse(text, "s")
    assert str(error.value).startswith(says)


@given(some.text(max_size=80))
def test_any_text_is_a_scenario_or_a_scenario_error(text: str) -> None:
    with contextlib.suppress(ScenarioError):
        parse(text)


WORDS = some.sampled_from(
    ["boot", "plug", "expect", "steps", "times", "repeat", "slots", "unplug", "shell", "id"]
)
TREES = some.recursive(
    some.none() | some.booleans() | some.integers() | WORDS,
    lambda inner: some.lists(inner, max_size=3) | some.dictionaries(WORDS, inner, max_size=3),
)


@given(some.lists(TREES, max_size=3))
def test_any_steps_are_a_scenario_or_a_scenario_error(steps: list[object]) -> None:
    with contextlib.suppress(ScenarioError):
        parse(json.dumps({"steps": steps}))  # JSON is YAML


def test_a_name_that_is_no_file_lists_those_that_come_along(tmp_path: Path) -> None:
    with pytest.raises(ScenarioError, match="did you mean cover-letter"):
        load("cover-leter")
    with pytest.raises(ScenarioError, match="Is a directory"):
        load(str(tmp_path))


def test_a_file_that_is_no_text_is_said_to_be_none(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ScenarioError, match="not UTF-8"):
        load(str(path))
