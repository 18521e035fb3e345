"""What the prompt offers, shows and keeps out of the way, without a terminal."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import attrs
import pytest

from hpcore.cli.prompt.completion import completions, last_word
from hpcore.cli.prompt.console import KEPT, LONGEST, QuietConsole
from hpcore.cli.prompt.slots import machine_line, table
from hpcore.cli.prompt.words import PROMPT, STEPS, WORDS
from hpcore.model.config import MachineConfig
from hpcore.model.effects import MachineStep, Step
from hpcore.model.machines import SlotState
from hpcore.model.states import Owed, State, initial
from hpcore.run.accelerator import GuestScript
from hpcore.run.open import open_machine
from hpcore.scenario import read_steps
from tests.support.played import found

CONFIG = MachineConfig.of(cpus=2, maxcpus=6)


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> State:
    """A machine with vCPU 3 plugged as `spare`."""
    log: Path = tmp_path_factory.mktemp("words") / "log"

    async def go() -> State:
        async with open_machine(found(), CONFIG, GuestScript(), log=log) as machine:
            await machine.boot()
            await machine.plug("spare", core_id=3)
            return machine.state

    return asyncio.run(go())


# --------------------------------------------------------------------- the words


def test_every_step_is_offered_and_no_word_is_two_things() -> None:
    assert tuple(STEPS) == read_steps.STEPS
    assert len(WORDS) == len(STEPS) + len(PROMPT)


@pytest.mark.parametrize("name", sorted(STEPS))
def test_a_step_is_typed_as_its_help_shows(name: str) -> None:
    typed, _ = STEPS[name]
    for example in typed.split("; "):
        (line,) = read_steps.StepReader(CONFIG, "help").read(example)
        assert line.text.split()[0] == name


def test_the_library_of_the_prompt_is_loaded_for_a_terminal_alone() -> None:
    code = "import sys, hpcore.cli.shell; sys.exit('prompt_toolkit' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# ---------------------------------------------------------------- what comes next


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("", {"boot", "plug", "save", "quit", "slots"}),
        ("re", {"reset", "reboot", "rebooted", "resume", "repeat"}),
        ("- pl", {"plug"}),
        ("{unp", {"unplug"}),
        ("plug ", {"2", "4", "5"}),
        ("plug: ", {"2", "4", "5"}),
        ("- plug: ", {"2", "4", "5"}),
        ("unplug ", {"spare"}),
        ("unplug: sp", {"spare"}),
        ("unplug: {id: ", {"spare"}),
        ("unplug: {", {"id", "force"}),
        ("plug: {id: a, c", {"cluster-id", "core-id"}),
        ("online ", {"cpu0", "cpu1", "spare"}),
        ("scale ", {"2", "3", "4", "5", "6"}),
        ("expect: {on", {"online"}),
        ("expect: {slots: {", {"cpu0", "cpu1", "spare"}),
        ("expect: {slots: {spare: on", {"online"}),
        ("{unplug: ", {"spare"}),
        ("{unplug: spare, ", {"fails", "waits"}),
        ("help un", {"unplug"}),
    ],
)
def test_what_may_come_next_is_offered(typed: str, offered: set[str], state: State) -> None:
    assert offered <= completions(typed, CONFIG, state).keys()
    if typed:
        assert offered == completions(typed, CONFIG, state).keys()


@pytest.mark.parametrize(
    "typed", ["save un", "boot ", "shell echo pl", "unplug spare ", "plug: {id: ", "nonsense "]
)
def test_nothing_is_offered_where_anything_may_stand(typed: str, state: State) -> None:
    assert completions(typed, CONFIG, state) == {}


@pytest.mark.parametrize(
    ("typed", "word"), [("plug 2", "2"), ("plug: {core-i", "core-i"), ("plug ", ""), ("", "")]
)
def test_only_the_last_word_is_replaced(typed: str, word: str) -> None:
    assert last_word(typed) == word


# -------------------------------------------------------------------- the slots


def test_the_table_has_neighbours_that_are_alike_in_one_line(state: State) -> None:
    assert table(state) == [
        "vCPU  id       state    online  owed",
        "0-1   at boot  online   yes",
        "2              parked   no",
        "3     spare    enabled  no",
        "4-5            parked   no",
    ]


def test_what_a_slot_owes_is_in_the_table(state: State) -> None:
    asked = attrs.evolve(state.slots[3], command=Owed.UNPLUG, requested=True)
    assert table(state.with_slot(3, asked))[3].endswith("unplug: the guest is asked")
    plugged = attrs.evolve(
        state.slots[2], command=Owed.PLUG, step=Step.REALIZE, lifecycle=SlotState.PARKED, id="a"
    )
    assert table(state.with_slot(2, plugged))[2].endswith("plug: realize")


def test_a_long_table_says_what_it_leaves_out(state: State) -> None:
    lines = table(state, most=2)
    assert lines[:3] == table(state)[:3]
    assert lines[3:] == ["and 2 more lines: `slots` shows them"]
    assert table(state, most=4) == table(state)


def test_the_machine_is_told_in_a_line(state: State) -> None:
    assert machine_line(initial(CONFIG)) == "defined"
    shared = attrs.evolve(state.shared, paused=True, step=MachineStep.RESUME)
    words = machine_line(attrs.evolve(state, shared=shared))
    assert words == "running, paused, resume is under way"


# ------------------------------------------------------------------- the console


def test_the_console_is_quiet_until_it_is_asked_for() -> None:
    said: list[str] = []
    console = QuietConsole(said.append)
    for number in range(KEPT + 5):
        console.printed(f"line {number}\r\n".encode())
    console.printed(b"half a ")
    assert said == []
    console.toggle()
    assert said == [f"| line {number}" for number in range(5, KEPT + 5)]
    said.clear()
    console.printed(b"line\nnext")
    assert said == ["| half a line"]
    console.toggle()
    console.printed(b" one\n")
    assert said == ["| half a line"]


def test_a_line_without_an_end_is_shown_in_pieces() -> None:
    said: list[str] = []
    console = QuietConsole(said.append)
    console.toggle()
    console.printed(b"x" * LONGEST)
    assert said == []
    console.printed(b"\xff")
    assert said == [f"| {'x' * LONGEST}\N{REPLACEMENT CHARACTER}"]
