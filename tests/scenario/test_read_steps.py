"""Steps that are read one by one, and machines in one word, as people type them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as some

from hpcore.model.config import MachineConfig
from hpcore.scenario import values as sc
from hpcore.scenario.read import load, parse, read_machine
from hpcore.scenario.read_steps import MOST_STEPS, StepReader
from hpcore.scenario.write import dump
from hpcore.scenario.yaml_values import ScenarioError
from tests.scenario.test_write import CONFIG
from tests.scenario.test_write import STEPS as ANY_STEP


def read(text: str, machine: MachineConfig = CONFIG) -> tuple[sc.Line, ...]:
    return StepReader(machine, "typed").read(text)


@given(ANY_STEP, some.sampled_from(["", "- "]))
def test_a_step_reads_the_same_with_its_colon_and_without(step: sc.ScenarioStep, dash: str) -> None:
    text = dump(sc.Scenario("typed", "", CONFIG, "", (sc.Line(step, 1, ""),)))
    written = text.rpartition("  - ")[2].rstrip("\n") if "\n  - " in text else ""
    (wanted,) = parse(text, "typed").steps
    for typed in (written, written.replace(": ", " ", 1)):
        (line,) = read(dash + typed)
        assert (line.step, line.text) == (wanted.step, wanted.text)


@pytest.mark.parametrize(
    ("typed", "step"),
    [
        ("plug 2", sc.PlugStep("cpu2", dict(CONFIG.topology.props(2)))),
        ("plug: {id: a, core-id: 1}", sc.PlugStep("a", {"core-id": 1})),
        ("plug {id: a, core-id: 1}  # the second core", sc.PlugStep("a", {"core-id": 1})),
        ("unplug cpu2", sc.UnplugStep("cpu2")),
        ("scale 4", sc.ScaleStep(4)),
        ("wait 2s", sc.WaitStep(2000)),
        ("  boot ", sc.BootStep()),
        ("shell: echo plug 2", sc.ShellStep("echo plug 2")),
        ("shell echo plug 2", sc.ShellStep("echo plug 2")),
        ("shell wait 2", sc.ShellStep("wait 2")),
    ],
)
def test_what_is_typed_is_the_step_of_a_scenario(typed: str, step: sc.ScenarioStep) -> None:
    (line,) = read(typed)
    assert line.step == step


def test_a_step_may_have_what_a_scenario_gives_it() -> None:
    (line,) = read("{unplug: cpu0, fails: cold}")
    assert line.fails == "cold"
    (line,) = read("{plug: 1, waits: false}")
    assert not line.waits


@pytest.mark.parametrize("typed", ["", "   ", "# a comment", "\t# another"])
def test_nothing_is_no_step(typed: str) -> None:
    assert read(typed) == ()


def test_several_steps_are_a_list() -> None:
    lines = read("  - plug: 1\n  - unplug: cpu1\n    waits: false\n")
    assert [(line.number, line.waits, line.at) for line in lines] == [(1, True, 1), (2, False, 2)]


def test_steps_are_numbered_on_and_have_their_lines() -> None:
    reader = StepReader(CONFIG, "stdin")
    assert reader.read("boot", at=1)[0].number == 1
    assert reader.read("repeat: {times: 2, steps: [plug: 1, unplug: cpu1]}", at=2)[0].number == 2
    with pytest.raises(ScenarioError, match=r"^stdin:7: 'plugg' is no key of a step; did you"):
        reader.read("plugg: 2", at=7)
    (line,) = reader.read("plug 1", at=9)
    assert (line.number, line.at) == (5, 9)


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("plug 9", "stdin:3: plug: there is no vCPU 9; this machine has 0 to 3"),
        ("plug: {id: a", "stdin:3: not YAML"),
        ("plug", "stdin:3: plug must be a mapping"),
        ("boot now", "stdin:3: this step has the value now; it takes no value"),
        ("wait soon", "stdin:3: wait: 'soon' is no time"),
        ("{plug: 1, unplug: 1}", "stdin:3: a step has one verb; this has 2"),
        ("[]", "stdin:3: steps must be a list with at least one step"),
        ("7", "stdin:3: a step must be a mapping"),
        ("repeat: {times: 1000000, steps: [boot, boot, boot, boot, boot, boot, boot, boot, boot, "
         "boot, boot]}", "stdin:3: with every repeat these are 11,000,000 steps"),
    ],
)  # fmt: skip
def test_what_is_no_step_is_refused_at_its_line(typed: str, said: str) -> None:
    with pytest.raises(ScenarioError) as error:
        StepReader(CONFIG, "stdin").read(typed, at=3)
    assert str(error.value).startswith(said)


def test_no_more_steps_are_read_than_a_scenario_may_have() -> None:
    reader = StepReader(CONFIG, "stdin")
    reader.read("- settle\n" * (MOST_STEPS - 1))
    reader.read("settle")
    with pytest.raises(ScenarioError, match="more than 10000 steps"):
        reader.read("settle")


def test_what_all_steps_wait_is_bounded_too() -> None:
    reader = StepReader(CONFIG, "stdin")
    for _ in range(24):
        reader.read("wait: 60m")
    with pytest.raises(ScenarioError, match="a scenario waits 86,400 s at most"):
        reader.read("wait: 1s")
    assert reader.read("plug 1")


# --------------------------------------------------------------------- a machine


def test_a_machine_in_one_word_is_that_of_a_scenario() -> None:
    text = "cpus=1,maxcpus=4,threads=2,cpu=cortex-a72,gic=2,memory=512"
    assert read_machine(text) == CONFIG
    assert read_machine(" cpus = 2 , maxcpus=6") == MachineConfig.of(cpus=2, maxcpus=6)
    assert read_machine("cpus=4,maxcpus=6") == load("cover-letter").machine


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("cpus=", "'cpus=' is not as in cpus=2"),
        ("cpus=2,,maxcpus=4", "'' is not as in cpus=2"),
        ("2", "'2' is not as in cpus=2"),
        ("maxcpu=2", "'maxcpu' is no key of machine; did you mean 'maxcpus'?"),
        ("cpus=two", "cpus is 'two'; it must be a whole number"),
        ("cpus=2,cpus=3", "cpus stands there twice"),
        ("cpus=4,maxcpus=2", "cpus is 4, more than maxcpus, which is 2"),
        ("maxcpus=1000", "maxcpus is 1000"),
        ("cpus=2,memory=5", "memory is 5 MiB; the least is 256"),
    ],
)
def test_a_machine_that_is_none_is_refused(text: str, said: str) -> None:
    with pytest.raises(ScenarioError) as error:
        read_machine(text)
    assert str(error.value).startswith(f"the machine {text}: ")
    assert said in str(error.value)
