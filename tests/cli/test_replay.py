"""`hpcore replay` of logs that are good, torn, damaged, forged, or no logs at all."""

from __future__ import annotations

import gzip
import os
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from hpcore.log import Header, LogWriter, Sync
from hpcore.log.foreign import BOM
from hpcore.log.framing import NO_SUM, seal
from hpcore.model import events as ev
from hpcore.model import stimuli as st
from hpcore.model.effects import Step
from hpcore.model.events import Event
from tests.support.command import hpcore, refused, unreadable
from tests.support.world import World
from tests.triage.test_replay import PLUG, batches, tampered, write

Lines = list[bytes]


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """A good log of a plug."""
    return write(tmp_path / "log", batches(*PLUG)[0])


def rewrite(log: Path, change: Callable[[Lines], object]) -> None:
    lines = log.read_bytes().splitlines(keepends=True)
    change(lines)
    log.write_bytes(b"".join(lines))


# ------------------------------------------------------------------------ good


def test_a_good_log_is_told_step_by_step_with_its_last_state(log: Path) -> None:
    ended = hpcore("replay", log)
    assert ended.code == 0, ended
    assert "vCPU 2 is to be plugged as core2" in ended.out
    assert "43 events, every invariant held at each." in ended.out
    assert "the machine is running" in ended.out
    quiet = hpcore("replay", log, "--quiet").out
    assert "to be plugged" not in quiet
    assert "43 events" in quiet
    assert len(quiet.splitlines()) == 2


def test_a_log_comes_from_standard_input_too(log: Path) -> None:
    ended = hpcore("replay", "-", "--json", stdin=log.read_bytes())
    assert (ended.code, ended.last["events"]) == (0, 43)


def test_the_state_at_an_event_is_shown_and_beyond_the_end_there_is_none(log: Path) -> None:
    at = hpcore("replay", log, "--at", "3", "--json").last
    assert at["ok"] is True
    assert at["state"]["shared"]["phase"] == "created"
    start = hpcore("replay", log, "--at", "0", "--json").last
    assert start["state"]["shared"]["phase"] == "defined"
    error = refused("replay", log, "--at", "44")
    assert f"{log}: there is no event 44; the last is 43" in error
    for wrong in ("-1", "x"):
        assert "'--at'" in refused("replay", log, "--at", wrong)


# ------------------------------------------------------------------------ torn


def test_a_log_cut_anywhere_replays_up_to_its_last_whole_line(log: Path) -> None:
    data = log.read_bytes()
    header = data.index(b"\n") + 1
    dice = random.Random(1)
    cuts = {header, header + 1, len(data) - 1, *(dice.randrange(header, len(data)) for _ in "1234")}
    for cut in sorted(cuts):
        log.write_bytes(data[:cut])
        ended = hpcore("replay", log, "--json")
        whole = data[:cut].count(b"\n") - 1
        assert (ended.code, ended.last["events"]) == (0, whole), (cut, ended)
        torn = not data[:cut].endswith(b"\n")
        assert (ended.last["torn"] is not None) == torn
        assert ("The log ends in a torn line" in ended.err) == torn


def test_a_log_cut_in_its_header_has_nothing_in_it(log: Path) -> None:
    log.write_bytes(log.read_bytes()[:100])
    assert "the log is empty: its header breaks off" in refused("replay", log)


# --------------------------------------------------------------------- damaged


def edit(lines: Lines) -> None:
    lines[10] = lines[10].replace(b'"slot":0', b'"slot":1')


def edit_header(lines: Lines) -> None:
    lines[0] = lines[0].replace(b"paper", b"stone")


def swap(lines: Lines) -> None:
    lines[10], lines[11] = lines[11], lines[10]


def delete(lines: Lines) -> None:
    del lines[10]


def double(lines: Lines) -> None:
    lines.insert(10, lines[9])


@pytest.mark.parametrize(
    ("change", "line"),
    [(edit, 11), (swap, 11), (delete, 11), (double, 11), (edit_header, 1)],
)
def test_a_line_that_is_not_what_was_written_is_named(
    log: Path, change: Callable[[Lines], object], line: int
) -> None:
    rewrite(log, change)
    ended = hpcore("replay", log, "--json")
    assert ended.code == 1, ended
    assert ended.last["ok"] is False
    assert f"{log}: line {line} (" in ended.last["error"]
    assert "is damaged" in ended.last["error"]
    assert f"line {line} (" in ended.err
    if line > 1:
        assert ended.last["violation"] == {"seq": line - 1, "invariant": "log_intact"}
        assert f"head -n {line - 1} keeps them" in ended.last["error"]
        kept = b"".join(log.read_bytes().splitlines(keepends=True)[: line - 1])
        assert hpcore("replay", "-", stdin=kept).code == 0


# ---------------------------------------------------------------------- forged


@pytest.mark.parametrize(
    ("replace", "by", "invariant"),
    [
        (ev.StepBegun(2, Step.WIRE), ev.StepBegun(2, Step.ENABLE), "built_in_order"),
        (ev.StepDone(2, Step.BIND, 2), ev.StepDone(2, Step.BIND, 3), "gicc_matches_affinity"),
        (ev.StepBegun(2, Step.ENABLE), ev.StepBegun(2, Step.NOTIFY_INSERT),
         "notified_only_enabled"),
    ],
)  # fmt: skip
def test_a_forged_log_breaks_an_invariant_and_the_state_before_is_shown(
    tmp_path: Path, replace: Event, by: Event, invariant: str
) -> None:
    log = write(tmp_path / "forged", tampered(replace, by))
    last = (ended := hpcore("replay", log, "--json")).last
    assert (ended.code, last["ok"]) == (1, False)
    found = last["violation"]
    assert (found["invariant"], found["slot"]) == (invariant, 2)
    assert found["before"]["slots"][2]["lifecycle"] == "realized"
    assert f"Event {found['seq']} is wrong" in last["error"]
    people = hpcore("replay", log)
    assert people.code == 1
    assert f"It breaks {invariant} for vCPU 2: " in people.out
    assert "State before it: the machine is running" in people.out


def test_a_forged_transition_is_wrong_wherever_it_is(tmp_path: Path) -> None:
    decisions = [*batches(*PLUG)[0], (ev.CpuWentOff(77),)]
    ended = hpcore("replay", write(tmp_path / "forged", decisions), "--json")
    assert ended.code == 1
    assert ended.last["violation"]["invariant"] == "transition"
    assert "there is no slot 77" in ended.last["error"]


# --------------------------------------------------------------------- no log


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "the log is empty: nothing was ever written to it"),
        (os.urandom(5000), "this is not a log of hpcore"),
        (b"\0" * 5000, "the log is empty"),
        (b'{"json": true}\n', "this is not a log of hpcore"),
    ],
    ids=["empty", "garbage", "zeros", "json"],
)
def test_a_file_that_is_no_log(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "file"
    path.write_bytes(content)
    other = write(tmp_path / "other", batches(*PLUG)[0])
    for command in (("replay", path), ("diff", path, other), ("check", "--from", path)):
        error = refused(*command)
        assert str(path) in error
        assert said in error


Change = Callable[[bytes], bytes]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda log: log.decode().encode("utf-16"), "it is UTF-16; iconv -f UTF-16 -t UTF-8"),
        (lambda log: log.decode().encode("utf-16-le"), "it is UTF-16; iconv -f UTF-16LE"),
        (lambda log: log.decode().encode("utf-16-be"), "it is UTF-16; iconv -f UTF-16BE"),
        (lambda log: log.split(b"\n", 1)[1], "its first line, the header, is missing"),
    ],
    ids=["UTF-16", "UTF-16LE", "UTF-16BE", "headless"],
)
def test_a_log_in_another_form_is_no_log_and_the_form_is_named(
    log: Path, change: Change, said: str
) -> None:
    log.write_bytes(change(log.read_bytes()))
    error = refused("replay", log)
    assert f"{log}: this is not a log of hpcore: {said}" in error


def test_a_packed_log_is_read_which_is_said_and_not_followed(log: Path) -> None:
    plain = hpcore("replay", log, "--json").last
    log.write_bytes(gzip.compress(BOM + log.read_bytes().replace(b"\n", b"\r\n")))
    found = hpcore("replay", log, "--json").last
    wrapping = found.pop("wrapping")
    assert wrapping == [
        "is packed with gzip", "begins with a byte order mark (BOM)", "has lines that end in CRLF",
    ]  # fmt: skip
    assert plain.pop("wrapping") == []
    assert found == plain
    said = hpcore("replay", "-", "--quiet", stdin=log.read_bytes()).out
    assert f"standard input {' and '.join(wrapping)}; what is read is the log in it." in said
    assert "it is packed with gzip, so nobody goes on with it" in refused("replay", log, "--follow")
    assert "it is compressed with gzip; unpack it with gunzip" in refused("attach", log)


def test_a_line_that_alone_ends_in_crlf_is_damaged_and_named(log: Path) -> None:
    def crlf(lines: Lines) -> None:
        lines[10] = lines[10].replace(b"\n", b"\r\n")

    rewrite(log, crlf)
    assert "line 11 (seq 10) is damaged: it ends in CRLF" in refused("replay", log, code=1)


def test_a_log_that_cannot_be_read(tmp_path: Path) -> None:
    missing, secret = tmp_path / "missing", tmp_path / "secret"
    before = unreadable(secret)
    assert f"{missing}: " in refused("replay", missing)
    assert "No such file" in refused("replay", missing)
    assert "Is a directory" in refused("replay", tmp_path)
    assert f"{secret}' is not readable" in refused("replay", secret, before=before)


def test_a_log_of_a_later_hpcore_is_refused_with_its_version(log: Path) -> None:
    def later(lines: Lines) -> None:
        body = lines[0].rpartition(b',"sum"')[0] + b"}"
        body = body.replace(b'"version":"1.3"', b'"version":"9.0"')
        lines[0] = seal(body.replace(b'"hpcore":"', b'"hpcore":"77.'), NO_SUM)[0] + b"\n"

    rewrite(log, later)
    error = refused("replay", log)
    assert "the log's format is 9.0, written by hpcore 77." in error
    assert "Install hpcore 77." in error


def test_a_log_with_a_header_alone_is_good(tmp_path: Path) -> None:
    LogWriter.create(tmp_path / "log", Header(World().config, "paper"), sync=Sync.OS).close()
    last = hpcore("replay", tmp_path / "log", "--json").last
    assert (last["events"], last["ended"]) == (0, False)
    said = hpcore("replay", tmp_path / "log").out
    assert f"0 events, every invariant held at each. There was nothing to decide. {NO_END}" in said


# ------------------------------------------------------------------ its words


def test_what_somebody_wrote_into_a_log_moves_no_cursor(tmp_path: Path) -> None:
    evil = "\x1b[2J\x1b]0;mine\x07\x9b\b\u202e"
    decisions = [*batches(*PLUG)[0], (ev.Noted(f"look{evil}"),), (ev.CpuWentOff(77),)]
    log = write(tmp_path / "log", decisions)
    for options in ((), ("--at", "43")):
        out = hpcore("replay", log, *options).out
        assert r"look\x1b[2J\x1b]0;mine\x07\x9b\x08\u202e" in out
        assert all(line.isprintable() for line in out.splitlines())
    other = write(tmp_path / "other", [*decisions[:-2], (ev.Noted("look"),)])
    out = hpcore("diff", log, other).out
    assert r"\x1b[2J" in out
    assert all(line.isprintable() for line in out.splitlines())


# ------------------------------------------------------------------- its end

NO_END = "The log does not say how the machine ended."


@pytest.mark.parametrize("end", [st.PowerOffSeen(), st.PowerDown(), st.Lost("it broke")])
def test_a_log_that_is_cut_at_a_lines_end_does_not_say_how_the_machine_ended(
    tmp_path: Path, end: st.Stimulus
) -> None:
    log = write(tmp_path / "log", batches(*PLUG, end)[0])
    assert NO_END not in hpcore("replay", log).out
    assert hpcore("replay", log, "--json").last["ended"] is True
    lines = log.read_bytes().splitlines(keepends=True)
    for kept in (len(lines) - 1, 20, 2):
        log.write_bytes(b"".join(lines[:kept]))
        ended = hpcore("replay", log, "--quiet")
        assert ended.code == 0, ended
        assert NO_END in ended.out
        last = hpcore("replay", log, "--json").last
        assert (last["ok"], last["ended"], last["torn"]) == (True, False, None)
