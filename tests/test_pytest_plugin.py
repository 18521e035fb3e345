"""The plugin for pytest: what its fixtures find, and what a failing test leaves."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

pytest_plugins = ["pytester"]

STORM = """
machine: {cpus: 1, maxcpus: 2}
steps:
  - boot
  - plug: {id: a, core-id: 1}
    waits: false
  - unplug: a
"""
TESTS = f'''
from pathlib import Path

from hpcore.model.properties import always

STORM = """{STORM}"""


@always
def never_plugged(index, slot, shared):
    """Nothing is plugged."""
    return slot.cold or slot.id is None


def test_storm(hpcore_check):
    hpcore_check.sequence(STORM)


def test_calm(hpcore_check):
    answer = hpcore_check.sequence(STORM.replace("waits: false", "waits: true"))
    assert answer.completed


def test_property(hpcore_check):
    hpcore_check.sequence("cover-letter", properties=(never_plugged,))


def test_log(hpcore_log, hpcore_check):
    hpcore_log.write_bytes(Path("good.jsonl").read_bytes())
    hpcore_check.log(hpcore_log)
    assert False, "for a reason of its own"


def test_damaged(hpcore_log, hpcore_check):
    hpcore_log.write_bytes(Path("good.jsonl").read_bytes().replace(b"realize", b"reelize"))
    hpcore_check.log(hpcore_log)
'''


def test_a_failing_test_leaves_its_log_and_says_what_is_wrong(pytester: pytest.Pytester) -> None:
    from hpcore.scenario import parse  # noqa: PLC0415 - as the plugin does
    from hpcore.sequence import Question, check  # noqa: PLC0415
    from hpcore.sequence.told import log_of  # noqa: PLC0415

    question = Question.of(parse(STORM))
    log_of(pytester.path / "good.jsonl", check(question).findings[0], question, "of the protocol")
    pytester.makepyfile(test_mine=TESTS)
    done = pytester.runpytest_inprocess(
        "-p", "hpcore.pytest_plugin", "--hpcore-log", "kept", "-p", "no:cacheprovider"
    )
    done.assert_outcomes(passed=1, failed=4)
    done.stdout.fnmatch_lines([
        "*step 3, `unplug a`*can fail: Device 'a' is still being plugged*",
        "*step 3: unplug a: the user unplugs a",
        "*kept as kept/test_mine.py-test_storm.jsonl; see `hpcore replay *",
        "*never_plugged is broken for vCPU 4: Nothing is plugged.",
        "*for a reason of its own*",
    ])  # fmt: skip
    kept = {path.name for path in (pytester.path / "kept").iterdir()}
    assert kept == {
        "test_mine.py-test_storm.jsonl", "test_mine.py-test_storm.yaml",
        "test_mine.py-test_property.jsonl", "test_mine.py-test_property.yaml",
        "test_mine.py-test_log.jsonl", "test_mine.py-test_damaged.jsonl",
    }  # fmt: skip


def test_without_the_option_nothing_is_kept(pytester: pytest.Pytester) -> None:
    test = "def test_mine(hpcore_log):\n    hpcore_log.touch()\n    assert 0"
    pytester.makepyfile(test_mine=test)
    done = pytester.runpytest_inprocess("-p", "hpcore.pytest_plugin", "-p", "no:cacheprovider")
    done.assert_outcomes(failed=1)
    done.stdout.no_fnmatch_line("*kept as*")


def test_pytest_finds_the_plugin_by_itself_where_hpcore_is_installed() -> None:
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())
    points = project["project"]["entry-points"]["pytest11"]
    assert points == {"hpcore.pytest_plugin": "hpcore.pytest_plugin"}
