"""What every command promises: help with an example, JSON, pipes that close, any width."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from hpcore.cli.main import cli
from hpcore.scenario.read import bundled
from hpcore.triage.diff import unknown_names
from tests.support.command import HPCORE, hpcore, needs_guest, refused, running, scenario
from tests.support.waits import poll
from tests.triage.test_replay import PLUG, batches, write

MODELS = ("slot", "gicc", "machine")


def commands(group: click.Group = cli, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from commands(command, (*path, name))
        else:
            yield (*path, name)


@pytest.mark.parametrize("command", [*commands(), ()], ids=" ".join)
def test_the_help_of_every_command_shows_an_example(command: tuple[str, ...]) -> None:
    ended = hpcore(*command, "--help" if command else "-h")
    assert ended.code == 0, ended
    usage, _, rest = ended.out.partition("\n")
    assert usage.startswith("Usage: hpcore")
    assert "  " + " ".join(("hpcore", *command)) in rest
    if command:
        assert "--json" in ended.out


def test_without_a_command_the_help_is_shown() -> None:
    ended = hpcore("guest")
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith("Usage: hpcore guest")


def test_the_version_is_told() -> None:
    assert hpcore("--version").out.startswith("hpcore, version ")


def test_accel_tells_what_runs_here_and_why_not() -> None:
    ended = hpcore("accel", "--json")
    assert ended.code == 0, ended
    found = {one["name"]: one for one in ended.last["accelerators"]}
    assert {"kvm", "qtest", "tcg"} <= found.keys()
    for one in found.values():
        assert one["available"] == (one["reason"] is None)
    assert found["tcg"]["distribution"] == "hpcore-tcg"
    assert all(name in hpcore("accel").out for name in found)


def test_accel_tells_what_one_accelerator_does_not_do_for_real() -> None:
    ended = hpcore("accel", "qtest")
    assert ended.code == 0
    assert "No code of a guest runs: it is played." in ended.out
    assert "because" in ended.out
    (one,) = hpcore("accel", "qtest", "--json").last["accelerators"]
    assert one["plays_guest"] is True
    assert "shell" in one["modelled"]
    assert "did you mean qtest?" in refused("accel", "qtset")


def test_every_accelerator_names_only_events_and_fields_that_there_are() -> None:
    for one in hpcore("accel", "--json").last["accelerators"]:
        assert unknown_names(one["differs"]) == [], one["name"]


def test_accel_without_qemu_says_what_is_missing(tmp_path: Path) -> None:
    ended = hpcore("accel", "--json", env={"PATH": str(tmp_path)})
    assert ended.code == 0, ended
    tcg = next(one for one in ended.last["accelerators"] if one["name"] == "tcg")
    assert tcg["available"] is False
    assert "qemu-system-aarch64 is not on PATH" in tcg["reason"]


def test_the_scenarios_are_listed_and_printed(tmp_path: Path) -> None:
    listed = hpcore("scenarios", "--json").last["scenarios"]
    assert [one["name"] for one in listed] == list(bundled())
    assert all(one["about"] for one in listed)
    assert hpcore("scenarios", "reset").out == bundled()["reset"].read_text()
    assert hpcore("scenarios", "reset", "--json").last["text"] == bundled()["reset"].read_text()
    mine = tmp_path / "mine.yaml"
    mine.write_text("steps: [boot]\n")
    assert hpcore("scenarios", mine).out == "steps: [boot]\n"
    assert "did you mean reset?" in refused("scenarios", "rest")


@pytest.mark.parametrize("name", MODELS)
def test_a_machine_is_shown_as_a_table_as_json_and_as_a_diagram(name: str) -> None:
    rows = hpcore("model", name, "--json").last["transitions"]
    table = hpcore("model", name).out
    diagram = hpcore("model", name, "--mermaid").out
    assert "stateDiagram" in diagram
    for row in rows:
        assert row["trigger"] in table
        assert f"{row['source']} --> {row['dest']}" in diagram
    assert hpcore("model", name, "--mermaid", "--json").last["mermaid"] + "\n" == diagram


def test_the_invariants_are_listed() -> None:
    listed = hpcore("model", "invariants", "--json").last["invariants"]
    table = hpcore("model", "invariants").out
    assert len(listed) > 12
    assert all(rule["name"] in table and rule["says"] for rule in listed)
    assert "leave --mermaid out" in refused("model", "invariants", "--mermaid")
    assert "'slott' is not one of" in refused("model", "slott")


def test_tables_are_written(tmp_path: Path) -> None:
    ended = hpcore("tables", tmp_path / "a", "--cpus", "2", "--maxcpus", "5", "--json")
    assert ended.code == 0, ended
    paths = [Path(name) for name in ended.last["tables"]]
    assert {"dsdt.aml", "apic.aml"} <= {path.name for path in paths}
    assert all(path.stat().st_size > 36 for path in paths)
    ended = hpcore("tables", tmp_path / "b", "--scenario", "cover-letter", "--json")
    assert ended.code == 0, ended


def test_tables_are_those_of_the_board_asked_for(tmp_path: Path) -> None:
    boards = (("qemu", b"PAGE", True), ("qemu-kvm", b"CPHP", True), ("hpcore", b"CPHP", False))
    for board, region, pci in boards:
        ended = hpcore("tables", tmp_path / board, "--board", board, "--json")
        assert ended.code == 0, ended
        names = {Path(name).name for name in ended.last["tables"]}
        assert ("mcfg.aml" in names) is pci
        assert region in (tmp_path / board / "dsdt.aml").read_bytes()
    refusal = refused("tables", tmp_path, "--board", "kvm")
    assert "'kvm' is not one of 'qemu', 'qemu-kvm', 'hpcore'" in refusal


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("/proc/no",), "/proc/no: "),
        (("/etc/passwd",), "/etc/passwd' is a file"),
        (("/dev/null/below",), "/dev/null/below: Not a directory"),
        (("x", "--cpus", "0"), "cpus is 0; it must be 1 or more"),
        (("x", "--cpus", "7", "--maxcpus", "6"), "cpus is 7, more than maxcpus, which is 6"),
        (("x", "--maxcpus", "513"), "at most 512 vCPUs"),
        (("x", "--cpus", "two"), "'two' is not a valid integer"),
        (("x", "--scenario", "rest"), "did you mean reset?"),
    ],
)
def test_tables_that_cannot_be_written(arguments: tuple[str, ...], said: str) -> None:
    assert said in refused("tables", *arguments)
    assert not Path("x").exists()


# ------------------------------------------------------------ pipes and widths


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("log") / "log", batches(*PLUG)[0])


@pytest.mark.parametrize(
    "arguments",
    [
        ("--help",), ("run", "--help"), ("accel",), ("accel", "--json"), ("scenarios",),
        ("scenarios", "reset"), ("model", "slot"), ("model", "slot", "--mermaid"),
        ("replay", "LOG"), ("replay", "LOG", "--json"),
    ],
    ids=" ".join,
)  # fmt: skip
def test_a_reader_that_has_seen_enough_is_no_error(arguments: tuple[str, ...], log: Path) -> None:
    words = [str(log) if word == "LOG" else word for word in arguments]
    process = subprocess.Popen(
        [HPCORE, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    process.stdout.close()  # before it can have written anything
    _, said = process.communicate(timeout=60)
    assert "Traceback" not in said
    assert "Error" not in said
    assert "fault" not in said
    assert process.returncode == 128 + signal.SIGPIPE  # no verdict, neither good nor bad


@pytest.mark.parametrize(
    ("redirections", "code"),
    [("--json >/dev/full", 2), ("2>/dev/full", 0), ("--no-such-option 2>&-", 2)],
)
def test_an_output_that_takes_nothing_gives_no_verdict(redirections: str, code: int) -> None:
    """1 would say that what was checked is wrong."""
    ended = subprocess.run(
        f"{HPCORE} scenarios {redirections}", shell=True, stderr=subprocess.PIPE, text=True,
        check=False,
    )  # fmt: skip
    assert ended.returncode == code
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (signal.SIGINT, "interrupted"),
        (signal.SIGTERM, "terminated"),
        (signal.SIGHUP, "the terminal is gone"),
    ],
)
def test_a_signal_ends_a_command_while_it_is_still_being_loaded(
    number: signal.Signals, said: str
) -> None:
    with running("check", "--slots", "64", "--json") as run:
        poll(lambda: listens(run.pid), "it listens to signals")
        run.send(number)
        ended = run.end()
    assert ended.code == 128 + number
    assert ended.last == {"ok": False, "error": said}
    assert ended.err.endswith(f"hpcore: {said}\n")


def listens(pid: int) -> bool:
    """Whether a process catches SIGHUP, the last of the signals that hpcore listens to."""
    status = Path(f"/proc/{pid}/status").read_text()
    caught = next(line.split()[1] for line in status.splitlines() if line.startswith("SigCgt"))
    return bool(int(caught, 16) >> (signal.SIGHUP - 1) & 1)


def test_brackets_in_a_step_are_no_markup(tmp_path: Path) -> None:
    path = scenario(tmp_path / "s.yaml", "boot", 'shell: "[ a ] || test [/x]"')
    ended = hpcore("run", path, "--accel", "qtest", "--log", tmp_path / "log")
    assert ended.code == 0, ended
    assert "shell [ a ] || test [/x]" in ended.out


def test_a_step_says_how_it_reached_its_target(tmp_path: Path) -> None:
    path = scenario(tmp_path / "s.yaml", "boot", "scale: 3", "scale: 3", "scale: 1")
    arguments = ("run", path, "--accel", "qtest", "--log", tmp_path / "log", "--force")
    ended = hpcore(*arguments)
    assert ended.code == 0, ended
    said = [line.split(" s  ")[1] for line in ended.out.splitlines() if line.startswith("ok")]
    assert said == [
        "boot",
        "scale 3: plugged cpu1, cpu2",
        "scale 3: 3 vCPUs are enabled already",
        "scale 1: unplugged cpu2, cpu1",
    ]
    up, same, down = hpcore(*arguments, "--json").last["scaled"]
    assert (up["step"], up["to"], up["enabled"], up["plugged"]) == (2, 3, 3, ["cpu1", "cpu2"])
    assert not any((same["plugged"], same["unplugged"], up["unplugged"], up["failed"]))
    assert down["unplugged"] == ["cpu2", "cpu1"]


def test_a_target_that_is_not_reached_says_what_was_done(tmp_path: Path) -> None:
    path = scenario(tmp_path / "s.yaml", "boot", "scale: 3", "scale: {to: 1, undo: true}")
    path.write_text("guest: {answers: {eject-request: [0x82]}}\n" + path.read_text())
    ended = hpcore("run", path, "--accel", "qtest", "--log", tmp_path / "log", "--json")
    assert ended.code == 1, ended
    assert "scale to 1: " in ended.last["error"]
    assert "the guest refuses the eject: busy (0x82)" in ended.last["error"]
    scaled = ended.last["scaled"][-1]
    assert (scaled["enabled"], len(scaled["failed"]), len(scaled["unplugged"])) == (3, 1, 1)
    assert scaled["taken_back"] == [f"unplug {id_}" for id_ in scaled["unplugged"]]


@pytest.mark.parametrize("width", ["1", "40", "-5", "wide"])
def test_any_width_of_the_terminal_will_do(width: str, log: Path) -> None:
    env = {"COLUMNS": width}
    for arguments in (("replay", log), ("run", "--help")):
        ended = hpcore(*arguments, env=env)
        assert ended.code == 0, (arguments, ended)
        assert "parked" in ended.out or "--accel" in ended.out  # words stay whole


def test_no_colours_where_nobody_sees_them(log: Path) -> None:
    ended = hpcore("replay", log, "--json")
    assert "\x1b" not in ended.out + ended.err + hpcore("replay", log).out


@needs_guest
def test_the_guest_that_is_fetched_already_is_told() -> None:
    got = hpcore("guest", "fetch", "--json").last
    assert Path(got["kernel"]).is_file()
    assert json.dumps(got["version"]).strip('"').startswith("6.")


def test_diagnostics_are_for_those_who_ask(tmp_path: Path) -> None:
    ended = hpcore("replay", tmp_path / "no", env={"HPCORE_DEBUG": "1"})
    assert ended.code == 2
    assert "No such file" in ended.err
