"""`hpcore import` and `hpcore triage`: what is typed, what is printed, and the exit codes."""

from __future__ import annotations

import io
import json
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from hpcore.cli import main
from hpcore.log import Header, LogWriter
from hpcore.model.config import MachineConfig
from hpcore.model.effects import Step
from hpcore.model.events import StepBegun
from tests.foreign.cases import CASES, Trace

GOOD, BAD = CASES / "qemu.trace", CASES / "report.trace"


def hpcore(*words: str | Path, code: int = 0, given: bytes = b"") -> tuple[str, str]:
    """What the command prints, and says on standard error, once it has come to `code`.

    It is run in this process: a new one takes a second to load what it needs.
    """
    out, err = io.StringIO(), io.StringIO()
    stdin = io.TextIOWrapper(io.BytesIO(given))
    argv = ["hpcore", *(str(word) for word in words)]
    with (
        patch("sys.argv", argv), patch("sys.stdin", stdin),
        redirect_stdout(out), redirect_stderr(err),
    ):  # fmt: skip
        ended = main._run()
    assert ended == code, (out.getvalue(), err.getvalue())
    return out.getvalue(), err.getvalue()


def as_json(*words: str | Path, code: int = 0) -> dict[str, Any]:
    found = json.loads(hpcore(*words, "--json", code=code)[0].splitlines()[-1])
    assert isinstance(found, dict)
    return found


def test_a_page_names_the_first_wrong_step_and_the_bug() -> None:
    page, _ = hpcore("triage", BAD, code=1)
    first = page.index("First wrong step, of 2")
    assert page.index("Asked") < page.index("Came of it") < first < page.index("State before it")
    for words in (
        "report.trace:14", "invariant removal_not_shadowed for vCPU 2", "looks like removal_lost",
        "SHUTDOWN: host-signal", "Looks like removal_lost:", "flags read by the guest, 0 differ",
    ):  # fmt: skip
        assert words in page, words


def test_a_good_trace_exits_with_0_and_a_wrong_one_with_1() -> None:
    page, _ = hpcore("triage", GOOD)
    assert "No step is wrong." in page and "Looks like" not in page
    found = as_json("triage", BAD, code=1)
    assert found["looks_like"]["name"] == "removal_lost" and found["looks_like"]["where"]
    assert found["wrong"][0]["place"] == "report.trace:14"
    assert found["wrong"][0]["before"]["slots"][2]["insert"] is True


def test_an_import_writes_a_log_that_replay_and_triage_read(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    out, _ = hpcore("import", GOOD, CASES / "console.txt", "--log", log)
    assert "Flags read: 2, all equal." in out
    assert "No step is wrong." in hpcore("triage", log)[0]
    assert "every invariant held" in hpcore("replay", log, "--quiet")[0]
    hpcore("import", BAD, "--log", log, "--force", code=1)
    assert "removal_not_shadowed" in hpcore("replay", log, "--quiet", code=1)[0]
    assert as_json("triage", log, code=1)["looks_like"]["name"] == "removal_lost"


def test_a_log_of_a_run_is_judged_as_well(tmp_path: Path) -> None:
    name = tmp_path / "run.jsonl"
    with LogWriter.create(name, Header(MachineConfig.of(2), "qtest")) as log:
        log.append([StepBegun(1, Step.STOP)], t=0.5)
    page, _ = hpcore("triage", name, code=1)
    assert "First wrong step, of 1" in page and "invariant eject_in_order for vCPU 1" in page
    both = as_json("triage", name, name, code=1)
    assert [each["looks_like"]["name"] for each in both["logs"]] == ["space_freed_under_thread"] * 2


def test_standard_input_is_read() -> None:
    page, _ = hpcore("triage", "-", code=1, given=BAD.read_bytes())
    assert "removal_lost" in page and "stdin:14" in page


@pytest.mark.parametrize("rules", ["stock", "v5", "v6"])
def test_the_protocol_that_judges_is_a_choice(rules: str) -> None:
    found = as_json("triage", BAD, "--rules", rules, code=1)
    assert found["looks_like"]["name"] == "removal_lost"
    names = {mark["name"] for step in found["wrong"] for mark in step["marks"]}
    assert ("remove_waits_for_insert" in names) is (rules != "stock")


def test_what_cannot_be_done_is_said(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    hpcore("import", GOOD, "--log", log)
    (tmp_path / "other").write_text("nothing of the kind\n")
    for words, says in (
        (("triage", tmp_path / "none"), "No such file"),
        (("import", tmp_path, "--log", tmp_path / "new"), "Is a directory"),
        (("triage", tmp_path / "other"), "no line says anything about vCPUs"),
        (("triage", log, GOOD), "is a log of hpcore's"),
        (("import", GOOD, "--log", log), "exists"),
        (("import", GOOD, "--log", GOOD, "--force"), "give another --log"),
        (("triage", GOOD, "--rules", "v99"), "no such file, and no protocol of that name"),
    ):  # fmt: skip
        assert says in hpcore(*words, code=2)[1]
    before = GOOD.read_text()
    assert before.startswith("4700@")


def test_a_crash_names_what_was_under_way_on_which_thread(tmp_path: Path) -> None:
    trace = Trace()
    trace.plug(2)
    trace.scan(2, "inserting")
    trace.command("device_del", answered=False, id="core2")
    (tmp_path / "crash.trace").write_text(trace.text)
    page, _ = hpcore("triage", tmp_path / "crash.trace", code=1)
    for words in (
        "No step is wrong.", "device_del id=core2 was asked by thread 100 and has no answer",
        "the trace ends without SHUTDOWN", "thread 100 last was given device_del (main)",
        "thread 111 last", "between: ", "Looks like no bug that is known",
    ):  # fmt: skip
        assert words in page, words
