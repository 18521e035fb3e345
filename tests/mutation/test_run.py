"""A mutant is found by a failure, a loop without end, a death; and what comes of it is told."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import cast

import pytest

from tests.mutation import forks
from tests.mutation.forks import Outcome, Voice
from tests.mutation.measure import Measured
from tests.mutation.mutants import Mutant, mutants_of
from tests.mutation.plan import Plan
from tests.mutation.running import all_functions, change_running
from tests.mutation.trial import Trial, _chosen

SURVIVES, FOUND = Outcome(None), Outcome("failed", "t.py::a")


def outcome_of(do: Callable[[Voice], None]) -> Outcome:
    out: list[Outcome] = []
    forks.run(["it"], 1, lambda _, voice: do(voice), lambda _, outcome: out.append(outcome))
    (only,) = out
    return only


def only_mutant(source: str, operator: str, path: str = "a.py") -> Mutant:
    (mutant,) = (m for m in mutants_of(path, source, {}) if m.operator == operator)
    return mutant


# ------------------------------------------------------------------ the processes


def test_what_a_process_says_last_is_what_came_of_its_mutant() -> None:
    assert outcome_of(lambda voice: voice.ends(FOUND)) == FOUND


def test_a_loop_without_end_is_found_by_the_test_that_it_holds_up() -> None:
    def loops(voice: Voice) -> None:
        voice.begins("t.py::a", 0.1)
        while True:
            pass

    assert outcome_of(loops) == Outcome("too long", "t.py::a")


def test_a_process_that_dies_is_found() -> None:
    def dies(voice: Voice) -> None:
        voice.begins("t.py::a", 60)
        os.kill(os.getpid(), signal.SIGKILL)

    assert outcome_of(dies) == Outcome("died", "t.py::a")


def test_a_mutant_that_eats_memory_is_stopped() -> None:
    def eats(voice: Voice) -> None:
        voice.begins("t.py::a", 60)
        bytearray(4 * forks.MEMORY)
        voice.ends(SURVIVES)

    assert outcome_of(eats) == Outcome("died", "t.py::a")


def runs(pid: str) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] not in "ZX"
    except FileNotFoundError:
        return False


def test_what_a_mutant_started_and_wrote_is_gone_after_it(tmp_path: Path) -> None:
    told = tmp_path / "told"

    def starts(voice: Voice) -> None:
        pid = os.fork()
        if pid == 0:
            time.sleep(600)
        told.write_text(f"{pid} {os.environ['TMPDIR']}")
        voice.ends(SURVIVES)

    assert outcome_of(starts) == SURVIVES
    pid, directory = told.read_text().split()
    assert not Path(directory).exists()
    until = time.monotonic() + 10
    while runs(pid) and time.monotonic() < until:
        time.sleep(0.01)
    assert not runs(pid)


def test_so_many_at_a_time_as_there_are_jobs() -> None:
    began = time.monotonic()
    ended: list[int] = []

    def sleeps(_: int, voice: Voice) -> None:
        time.sleep(0.5)
        voice.ends(SURVIVES)

    forks.run(range(4), 4, sleeps, lambda n, _: ended.append(n))
    assert sorted(ended) == [0, 1, 2, 3]
    assert time.monotonic() - began < 1.9


# -------------------------------------------------- a program that is changed while it runs


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], ModuleType]:
    """Makes a module of the tree out of its source."""

    def make(source: str) -> ModuleType:
        monkeypatch.setattr("tests.mutation.running.ROOT", tmp_path)
        made = ModuleType("a")
        exec(compile(source, str(tmp_path / "a.py"), "exec", dont_inherit=True), made.__dict__)
        monkeypatch.setitem(sys.modules, "a", made)
        return made

    return make


def test_whoever_took_a_function_from_its_module_runs_the_changed_one(
    module: Callable[[str], ModuleType],
) -> None:
    source = "def f(a):\n    return [b > 1 for b in a]\n"
    taken = module(source).f
    changed = "return [b >= 1 for b in a]"
    mutant = next(m for m in mutants_of("a.py", source, {}) if m.after == changed)
    assert change_running(mutant, all_functions())
    assert taken([0, 1, 2]) == [False, True, True]


def test_a_function_that_another_one_made_before_is_changed_too(
    module: Callable[[str], ModuleType],
) -> None:
    source = "def f(a):\n    def g():\n        return a + 1\n    return g\n"
    made = module(source)
    before = made.f(5)
    assert change_running(only_mutant(source, "arithmetic"), all_functions())
    assert (before(), made.f(5)()) == (4, 4)


def test_a_line_outside_of_functions_cannot_be_changed_while_the_program_runs(
    module: Callable[[str], ModuleType],
) -> None:
    source = "A = 1\n"
    module(source)
    assert not change_running(only_mutant(source, "constant"), all_functions())


def test_what_a_function_closes_over_cannot_be_changed_while_it_runs(
    module: Callable[[str], ModuleType],
) -> None:
    source = "def f(a):\n    def g():\n        return h(a)\n    return g\nkept = f(1)\n"
    module(source)
    mutant = next(m for m in mutants_of("a.py", source, {}) if m.after == "return None"
                  and m.line == 3)  # fmt: skip
    assert not change_running(mutant, all_functions())


# ------------------------------------------------------------------- which tests, in which order


MEASURED = Measured(
    {"tests/log/t.py::slow": 2.0, "tests/log/t.py::quick": 0.1, "tests/run/t.py::other": 0.2},
    {"hpcore/log/a.py": {2: {"tests/log/t.py::slow", "tests/log/t.py::quick"},
                         4: {"tests/run/t.py::other"}}},
    {"hpcore/log/a.py": {1, 3, 4}},
)  # fmt: skip
SOURCE = "def f():\n    a.b = 1\ndef g():\n    a.b = 2\nA = 3\n"


def asked(plan: Plan, line: int) -> list[str]:
    mutants = [m for m in mutants_of("hpcore/log/a.py", SOURCE, {}) if m.line == line]
    (trial,) = plan.trials(mutants[:1], afresh=False)
    return [name.rpartition("::")[2] for name, _ in trial.tests]


def test_the_tests_that_run_a_line_are_asked_first_the_cheapest_before_the_others() -> None:
    assert asked(Plan(MEASURED, 60), 2) == ["quick", "slow", "other"]
    assert asked(Plan(MEASURED, 60), 4) == ["other", "quick", "slow"]


def test_no_more_tests_are_asked_than_a_mutant_is_worth() -> None:
    assert asked(Plan(MEASURED, 1), 2) == ["quick", "other"]


def test_a_test_that_has_found_another_of_the_file_comes_first() -> None:
    plan = Plan(MEASURED, 60)
    mutant = mutants_of("hpcore/log/a.py", SOURCE, {})[0]
    (trial,) = plan.trials([mutant], afresh=False)
    plan.learn(trial, Outcome("failed", "tests/log/t.py::slow"))
    assert asked(plan, 2) == ["slow", "quick", "other"]


def test_what_is_run_at_import_is_asked_of_its_room_and_of_all_that_run_the_file() -> None:
    assert asked(Plan(MEASURED, 60), 5) == ["quick", "other", "slow"]


def test_what_is_made_at_import_is_asked_of_a_test_that_only_stands_beside_one_that_runs_the_file(
) -> None:
    beside = Measured(
        {**MEASURED.seconds, "tests/run/t.py::reads the table": 0.15, "tests/run/u.py::far": 0.1},
        MEASURED.runs, MEASURED.imported,
    )  # fmt: skip
    assert asked(Plan(beside, 60), 5) == ["quick", "reads the table", "other", "slow"]
    assert asked(Plan(beside, 60), 2) == ["quick", "slow", "other"]


def test_what_was_run_at_import_must_be_imported_again() -> None:
    plan = Plan(MEASURED, 60)
    must = {m.line: plan.must_be_imported(m) for m in mutants_of("hpcore/log/a.py", SOURCE, {})}
    assert must == {2: False, 4: True, 5: True}


# ------------------------------------------------------------------- which items are a trial's


class Item:
    """As much of a test as is looked at."""

    def __init__(self, nodeid: str) -> None:
        self.nodeid = nodeid


def test_a_test_whose_name_has_a_changed_value_is_run_under_its_new_name() -> None:
    names = ("t.py::a[1]", "t.py::a[2]", "t.py::b[1]")
    mutant = only_mutant("a = b is c\n", "compare")
    trial = Trial(mutant, tuple((name, 0.1) for name in names[:2]), afresh=True)
    before = [cast(pytest.Item, Item(name)) for name in names]
    assert [item.nodeid for item, _ in _chosen(trial, before)] == ["t.py::a[1]", "t.py::a[2]"]
    after = [cast(pytest.Item, Item(name)) for name in ("t.py::a[3]", *names[1:])]
    assert [item.nodeid for item, _ in _chosen(trial, after)] == ["t.py::a[3]", "t.py::a[2]"]
