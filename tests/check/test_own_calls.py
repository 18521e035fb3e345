"""Code of the user's own that does not come back: where it is, is said; and Ctrl-C ends it."""

from __future__ import annotations

import re
import signal
from pathlib import Path

import pytest

from hpcore.check import CheckError
from hpcore.check.own import guest_in
from hpcore.check.own_calls import OwnCalls
from tests.support.command import Running, running, scenario

SEARCH = """from hpcore.model.properties import always
def search(slot):
    while True:
        slot = slot
"""
ASKED = f"{SEARCH}@always\ndef finds(index, slot, shared):\n    return search(slot)\n"
READ = f"{SEARCH}search(1)\n"
GUEST = """class Mine:
    name, reads_registered, leaves_out = "mine", False, frozenset()
    def calls(self, index, slot, shared):
        while slot:
            yield from ()
    def machine_calls(self, shared):
        return ()
"""
MAKES = """class Mine:
    def __init__(self):
        while self:
            pass
"""


def said_by(run: Running) -> str:
    """The next line on standard error that speaks of what went wrong."""
    assert run.process.stderr is not None
    return next(line for line in map(bytes.decode, run.process.stderr) if line.startswith("hpcore"))


@pytest.mark.parametrize(
    ("text", "options", "lines", "function", "what"),
    [
        (ASKED, ("--property", "{}"), "34", "search", "the property finds"),
        (ASKED, ("{yaml}", "--property", "{}"), "34", "search", "the property finds"),
        (READ, ("--property", "{}"), "34", "search", "the file"),
        (GUEST, ("--guest", "{}:Mine"), "45", "Mine.calls", "the guest mine"),
        (MAKES, ("--guest", "{}:Mine"), "34", "Mine.__init__", "the making of Mine"),
    ],
    ids=["a property", "of a sequence", "the file", "a guest", "its making"],
)  # fmt: skip
def test_what_does_not_come_back_is_said_with_its_line_and_once_more_at_the_end(
    text: str, options: tuple[str, ...], lines: str, function: str, what: str, tmp_path: Path
) -> None:
    file = tmp_path / "mine.py"
    file.write_text(text)
    yaml = scenario(tmp_path / "order.yaml", "boot")
    given = [option.format(file, yaml=yaml) for option in options]
    with running("check", *given) as run:
        told = said_by(run)
        run.send(signal.SIGINT)
        ended = run.end()
    where = rf"{re.escape(str(file))}:[{lines}], in {re.escape(function)}: {what} has not come back"
    assert re.fullmatch(rf"hpcore: {where} for \d s; Ctrl-C ends the check\n", told)
    assert re.fullmatch(rf"hpcore: interrupted; {where} for \d+ s\n", ended.err)
    assert ended.code == 130


def test_a_program_is_told_as_well(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(ASKED)
    with running("check", "--property", file, "--json") as run:
        said_by(run)
        run.send(signal.SIGTERM)
        ended = run.end()
    assert ended.code == 143
    assert re.match(rf"terminated; {re.escape(str(file))}:[34], in search", ended.last["error"])


def test_what_takes_long_is_said_once_of_each_and_comes_to_its_end() -> None:
    calls = OwnCalls(long=0)

    def answer(number: int) -> tuple[int, str | None]:
        return number, calls.overdue()

    said = calls.make("one", __file__, answer, 7)
    assert said[0] == 7
    assert re.fullmatch(r".*test_own_calls.py:\d+, in .*answer: one has not come back for 0 s",
                        said[1])  # fmt: skip
    assert calls.make("one", __file__, answer, 8) == (8, None)
    assert "two" in calls.make("two", __file__, answer, 9)[1]
    assert calls.overdue() is None


def test_a_call_that_is_short_is_not_said_whatever_ends_it() -> None:
    calls = OwnCalls(long=60)

    def interrupted() -> None:
        assert calls.overdue() is None
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as stopped:
        calls.make("one", __file__, interrupted)
    assert not hasattr(stopped.value, "__notes__")


def test_code_outside_of_the_file_is_said_by_the_file_alone() -> None:
    calls = OwnCalls(long=0)
    assert calls.make("one", "mine.py", calls.overdue) == "mine.py: one has not come back for 0 s"


def test_a_guest_that_exits_as_it_is_made_is_no_proof(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text("class Mine:\n    def __init__(self):\n        raise SystemExit(0)\n")
    with pytest.raises(CheckError, match=r"Mine cannot be made.*line 3: SystemExit: 0"):
        guest_in(f"{file}:Mine")
