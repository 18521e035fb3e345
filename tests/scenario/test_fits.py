"""What a scenario asks of a guest without a shell is found before the machine is made."""

from __future__ import annotations

from pathlib import Path

import pytest

from hpcore.run.accelerator import AcceleratorError, Capabilities, GuestImages, GuestScript
from hpcore.run.discovery import Found
from hpcore.scenario import values as sc
from hpcore.scenario.fits import asks_the_shell, need_carrying, need_shell
from hpcore.scenario.read import bundled, load, parse

WITHOUT = GuestImages(Path("Image"), Path("initrd"), shell=False)
WITH = GuestImages(Path("Image"), Path("initrd"))

OF_THE_SHELL = {sc.OnlineStep, sc.OfflineStep, sc.ShellStep, sc.RebootStep, sc.PowerOffStep}


def test_every_bundled_step_that_goes_without_a_shell_is_let_through() -> None:
    lines = [line for name in bundled() for line in load(name).steps]
    for line in lines:
        if not isinstance(line.step, sc.ExpectStep | sc.RepeatStep):
            assert asks_the_shell(line.step) == (type(line.step) in OF_THE_SHELL)
    assert asks_the_shell(sc.ExpectStep(masks={"online": frozenset({0})}))
    assert not asks_the_shell(sc.ExpectStep(slots={1: "parked"}))


@pytest.mark.parametrize(
    ("steps", "line"),
    [
        ("steps: [boot, {online: 1}]", 1),
        ("steps:\n  - boot\n  - repeat:\n      times: 2\n      steps:\n        - shell: x", 6),
        ("steps:\n  - boot\n  - offline: 1\n    fails: x\n  - poweroff", 3),
        ("steps:\n  - boot\n  - expect: {slots: {0: online}, online: 0}", 3),
    ],
)
def test_the_first_step_that_needs_a_shell_is_named_with_its_line(steps: str, line: int) -> None:
    scenario = parse(steps, "mine.yaml")
    with pytest.raises(AcceleratorError, match=rf"line {line} of the scenario mine, `.*--no-shell"):
        need_shell(scenario, WITHOUT)
    need_shell(scenario, WITH)
    need_shell(scenario, GuestScript())


def test_a_scenario_that_was_not_read_from_a_file_has_steps_by_number() -> None:
    lines = (sc.Line(sc.BootStep(), 1, "boot"), sc.Line(sc.RebootStep(), 2, "reboot"))
    scenario = sc.Scenario("made", "", load("cover-letter").machine, "", lines)
    with pytest.raises(AcceleratorError, match="step 2 of the scenario made, `reboot`"):
        need_shell(scenario, WITHOUT)


def test_what_needs_no_shell_is_let_through() -> None:
    steps = "boot, {plug: 1}, {unplug: cpu1}, pause, resume, reset, rebooted, {scale: 2}, settle"
    need_shell(parse(f"machine: {{maxcpus: 2, cpus: 1}}\nsteps: [{steps}]"), WITHOUT)


@pytest.mark.parametrize(
    ("steps", "does"),
    [
        ("boot, migrate", "migrates"),
        ("boot, {repeat: {times: 2, steps: [{save-machine: vm}]}}", "saves"),
    ],
)
def test_what_an_accelerator_does_not_carry_is_said_before_the_machine_is_made(
    steps: str, does: str
) -> None:
    scenario = parse(f"steps: [{steps}]", "mine.yaml")
    able = Capabilities(no_migration=None, no_save=None)
    need_carrying(scenario, Found("this", "tests", None, able))
    unable = Capabilities(no_migration="not yet", no_save="not yet")
    says = rf"scenario mine {does} the machine, which 'this' does not: not yet"
    with pytest.raises(AcceleratorError, match=says):
        need_carrying(scenario, Found("this", "tests", None, unable))
    expected = parse("steps: [boot, {migrate: , fails: not yet}]")
    need_carrying(expected, Found("this", "tests", None, unable))
