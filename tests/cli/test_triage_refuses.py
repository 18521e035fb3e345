"""Triage's commands with wrong input: what is wrong, where, and what to do; nothing is spoiled."""

from __future__ import annotations

import contextlib
import gzip
import os
import signal
import threading
from pathlib import Path

import pytest

from hpcore.log import read
from hpcore.log.foreign import is_a_line
from tests.cli.test_triage import BAD, GOOD, as_json
from tests.cli.test_triage import hpcore as in_process
from tests.support.command import hpcore, running
from tests.support.waits import poll
from tests.triage.test_shrink import grabbed


@pytest.fixture(scope="module")
def wrong(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A log with an event that is wrong."""
    return grabbed(tmp_path_factory.mktemp("wrong") / "wrong.jsonl", 2, "core2")


def feed(path: Path, data: bytes) -> threading.Thread:
    """Make a pipe at `path`, through which `data` comes once it is opened."""
    os.mkfifo(path)
    thread = threading.Thread(target=path.write_bytes, args=(data,), daemon=True)
    thread.start()
    return thread


# ---------------------------------------------------------------- standard input, pipes


def test_a_log_comes_from_standard_input_packed_or_not(wrong: Path) -> None:
    data = wrong.read_bytes()
    page, _ = in_process("triage", "-", code=1, given=data)
    assert page.startswith("standard input: paper; ")
    assert "invariant eject_requested_and_off for vCPU 2" in page
    assert "Step by step: hpcore replay - --at 29" in page
    packed, _ = in_process("triage", "-", code=1, given=gzip.compress(data))
    assert packed.splitlines()[1] == (
        "standard input is packed with gzip; what is read is the log in it."
    )
    assert packed.splitlines()[2:] == page.splitlines()[1:]


def test_a_log_on_standard_input_that_is_cut_or_damaged_is_told_as_a_file_is(
    wrong: Path, tmp_path: Path
) -> None:
    lines = wrong.read_bytes().splitlines(keepends=True)
    torn = b"".join(lines[:20]) + lines[20][:30]
    assert "No step is wrong." in in_process("triage", "-", given=torn)[0]
    changed = b"".join([*lines[:10], lines[10].replace(b'"t":', b'"T":'), *lines[11:]])
    page, _ = in_process("triage", "-", code=1, given=changed)
    (tmp_path / "log").write_bytes(changed)
    of_file, _ = in_process("triage", tmp_path / "log", code=1)
    assert "Damaged: standard input: line 11 (seq 10) is damaged" in page
    assert of_file.replace(str(tmp_path / "log"), "standard input") == page
    said = in_process("triage", "-", code=2, given=lines[0][:40])[1]
    assert said.startswith("hpcore: standard input: the log is empty: its header breaks off")


def test_foreign_files_come_from_standard_input_packed_too() -> None:
    page, _ = in_process("triage", "-", code=1, given=gzip.compress(BAD.read_bytes()))
    assert "packed with gzip" in page and "stdin:14" in page
    assert "hpcore-" not in page  # where it was kept
    said = in_process("triage", "-", code=2)[1]
    assert said.startswith("hpcore: stdin: no line says anything about vCPUs")


def test_what_comes_through_a_pipe_is_read_twice_all_the_same(
    wrong: Path, tmp_path: Path
) -> None:
    for name, data in (("log", wrong.read_bytes()), ("trace", BAD.read_bytes())):
        thread = feed(tmp_path / name, data)
        page, _ = in_process("triage", tmp_path / name, code=1)
        thread.join(10)
        assert "First wrong step" in page
    thread = feed(tmp_path / "again", BAD.read_bytes())
    out, _ = in_process("import", tmp_path / "again", "--log", tmp_path / "new", code=1)
    thread.join(10)
    assert str(tmp_path / "again") in out
    notes = " ".join(getattr(record.event, "text", "") for record in read(tmp_path / "new")[1])
    assert f"imported from {tmp_path / 'again'}" in notes


@pytest.mark.parametrize("bad", [True, False])
def test_one_of_two_logs_comes_from_standard_input(wrong: Path, bad: bool) -> None:
    words: tuple[str | Path, ...] = (wrong, "-") if bad else ("-", wrong)
    ended = hpcore("bisect", *words, stdin=wrong.read_bytes())
    assert (ended.code, "the good log is wrong itself" in ended.err) == (2, True)
    assert "only one of the logs" in hpcore("bisect", "-", "-").err


def test_ctrl_c_ends_a_command_that_waits_for_a_pipe(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)

    def taken() -> int | None:
        """The pipe's other end, once the command has opened this one."""
        with contextlib.suppress(OSError):
            return os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)
        return None

    with running("triage", pipe) as run:
        ours = poll(taken, "it waits for the pipe")
        run.send(signal.SIGINT)
        ended = run.end()
    os.close(ours)
    assert (ended.code, ended.err) == (130, "hpcore: interrupted\n")


# ----------------------------------------------------------------- what is no input


def test_a_log_of_hpcore_is_not_imported_whatever_form_it_has(wrong: Path, tmp_path: Path) -> None:
    """It would be taken for JSON of another kind, and no step of it be wrong."""
    data = wrong.read_bytes()
    new = tmp_path / "new"
    said = in_process("import", wrong, "--log", new, code=2)[1]
    assert f"is a log of hpcore's already; `hpcore triage {wrong}` judges it" in said
    for name, content, line in (
        ("utf16", data.decode().encode("utf-16"), 1),
        ("headless", data.partition(b"\n")[2], 1),
        ("tail", data[500:], 2),
    ):
        path = tmp_path / name
        path.write_bytes(content)
        for words in (("import", path, "--log", new), ("triage", path)):
            said = in_process(*words, code=2)[1]
            assert f"{path}: line {line} is one of a log of hpcore's" in said
    assert not new.exists()
    assert not is_a_line('{"seq": 1, "sum": "of money"}')


def test_a_packed_file_with_nothing_in_it_is_said_to_be_cut(tmp_path: Path) -> None:
    path = tmp_path / "cut.gz"
    path.write_bytes(gzip.compress(BAD.read_bytes())[:20])
    said = in_process("triage", path, code=2)[1]
    assert "the gzip stream is damaged or cut" in said


def test_a_loop_of_links_and_a_name_that_is_empty_are_no_files(tmp_path: Path) -> None:
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    many = "Too many levels of symbolic links"
    assert many in in_process("triage", loop, code=2)[1]
    assert many in in_process("import", loop, "--log", tmp_path / "new", code=2)[1]
    said = in_process("import", GOOD, "--log", loop, code=2)[1]
    assert said.endswith(f"{many}; give another --log\n")
    assert "the name of a file is empty" in in_process("triage", "", code=2)[1]
    assert "standard input is given twice" in in_process("triage", "-", "-", code=2)[1]


def test_a_log_without_a_wrong_event_is_no_case_and_is_named(wrong: Path, tmp_path: Path) -> None:
    right = tmp_path / "right.jsonl"
    right.write_bytes(b"".join(wrong.read_bytes().splitlines(keepends=True)[:20]))
    assert f"{right}: no event of the log breaks" in in_process("shrink", right, code=2)[1]
    said = in_process("bisect", right, right, code=2)[1]
    assert "the bad log: no event of the log breaks" in said


def test_a_vcpu_that_there_is_not_is_named(wrong: Path) -> None:
    said = in_process("replay", wrong, "--cpu", "9", code=2)[1]
    assert f"{wrong}: there is no vCPU 9; its machine has " in said


@pytest.mark.parametrize("option", ["--log", "--rules"])
def test_what_only_an_import_has_use_for_is_refused_for_a_log(
    wrong: Path, tmp_path: Path, option: str
) -> None:
    value = {"--log": str(tmp_path / "new"), "--rules": "stock"}[option]
    for name, why in ((wrong, "is a log"), (wrong.parent, "is a directory, of logs")):
        said = in_process("triage", name, option, value, code=2)[1]
        assert f"{option} is for what is imported, and {name} {why}" in said


# --------------------------------------------------------------------- outputs


@pytest.mark.parametrize(
    ("words", "option"),
    [
        (("show", "LOG"), "--html"), (("show", "LOG"), "--perfetto"),
        (("shrink", "LOG"), "--log"), (("shrink", "LOG"), "--scenario"),
        (("import", "LOG"), "--log"), (("triage", "LOG"), "--log"),
    ],
)  # fmt: skip
def test_what_is_read_is_never_overwritten(
    wrong: Path, tmp_path: Path, words: tuple[str, ...], option: str
) -> None:
    log, link = tmp_path / "log", tmp_path / "link"
    log.write_bytes(wrong.read_bytes())
    link.symlink_to(log)
    before = log.read_bytes()
    for output in (log, link):
        given = [str(log) if word == "LOG" else word for word in words]
        said = in_process(*given, option, output, "--force", code=2)[1]
        assert f"{log} is what is read; give another {option}" in said
    assert log.read_bytes() == before


@pytest.mark.parametrize(
    "words",
    [("show", "LOG", "--html"), ("shrink", "LOG", "--scenario"),
     ("explore", "--slots", "1", "--html")],
)  # fmt: skip
def test_a_full_disk_is_named_with_the_file(wrong: Path, words: tuple[str, ...]) -> None:
    given = [str(wrong) if word == "LOG" else word for word in words]
    said = in_process(*given, "/dev/full", "--force", code=2)[1]
    assert said.endswith("/dev/full: it cannot be written: No space left on device\n")


def test_a_page_that_finds_no_room_on_standard_output_says_so(wrong: Path) -> None:
    ended = hpcore(
        wrong, before=["sh", "-c", 'h=$1; shift; exec "$h" triage "$@" >/dev/full', "sh"]
    )
    assert ended.code == 2
    assert "the output cannot be written: No space left on device" in ended.err


def test_a_slip_in_an_option_is_said_in_one_sentence(wrong: Path) -> None:
    said = in_process("replay", wrong, "--nope", code=2)[1]
    assert "Did you mean '--to'? See `" in said


def test_json_says_where_the_log_came_from(wrong: Path) -> None:
    assert as_json("triage", wrong, code=1)["log"] == str(wrong)
