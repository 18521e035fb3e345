"""`hpcore run` with wrong input: what is wrong, where, and what to do; nothing is left behind."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from hpcore.log.foreign import BOM
from hpcore.log.framing import MAGIC
from tests.qemu.support import program
from tests.support.command import hpcore, needs_guest, refused, scenario, unreadable
from tests.triage.test_replay import write

COVER = "cover-letter"
PACKED = gzip.compress(b"steps: [boot]", mtime=0)


# ------------------------------------------------------------------- the guest


@needs_guest
@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "No such file or directory"),
        (bytes(0x202) + b"HdrS" + bytes(4096), "is an x86 kernel (bzImage), not an arm64 kernel"),
        (bytes(0x38) + b"ARM\x64", "is cut short: 60 bytes; fetch or build it again"),
        (b"", "is an empty file, not an arm64 kernel"),
        (b"\x1f\x8b" + bytes(100), "does not unpack"),
    ],
    ids=["missing", "x86", "truncated", "empty", "broken gzip"],
)
def test_a_file_that_is_no_kernel(tmp_path: Path, content: bytes | None, said: str) -> None:
    kernel, log = tmp_path / "kernel", tmp_path / "log"
    if content is not None:
        kernel.write_bytes(content)
    error = refused("run", COVER, "--log", log, "--kernel", kernel)
    assert said in error
    assert str(kernel) in error
    assert not log.exists()


@needs_guest
@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is an empty file; give a cpio archive (newc)"),
        (b"nonsense" * 1000, "is of an unknown kind; give a cpio archive (newc)"),
        (b"\x1f\x8b" + bytes(100), "does not unpack (gzip)"),
    ],
    ids=["empty", "nonsense", "broken gzip"],
)
def test_a_file_that_is_no_initrd(tmp_path: Path, content: bytes, said: str) -> None:
    initrd, log = tmp_path / "initrd", tmp_path / "log"
    initrd.write_bytes(content)
    error = refused("run", COVER, "--log", log, "--initrd", initrd)
    assert f"the initrd {initrd} {said}" in error
    assert not log.exists()


@needs_guest
@pytest.mark.parametrize("option", ["--kernel", "--initrd"])
def test_a_directory_for_an_image(tmp_path: Path, option: str) -> None:
    error = refused("run", COVER, "--log", tmp_path / "log", option, tmp_path)
    assert f"cannot read the {option[2:]} {tmp_path}: Is a directory" in error


@needs_guest
def test_an_initrd_that_is_not_there(tmp_path: Path) -> None:
    error = refused("run", COVER, "--log", tmp_path / "log", "--initrd", tmp_path / "no")
    assert f"cannot read the initrd {tmp_path / 'no'}: No such file or directory" in error


@needs_guest
@pytest.mark.parametrize("option", ["--kernel", "--initrd"])
def test_an_image_that_may_not_be_read(tmp_path: Path, option: str) -> None:
    secret = tmp_path / "secret"
    before = unreadable(secret)
    error = refused("run", COVER, "--log", tmp_path / "log", option, secret, before=before)
    assert f"'{option}': Path '{secret}' is not readable" in error


def test_a_scenario_that_may_not_be_read(tmp_path: Path) -> None:
    secret = tmp_path / "secret.yaml"
    before = unreadable(secret)
    error = refused("run", secret, "--log", tmp_path / "log", before=before)
    assert f"{secret}: Permission denied" in error


def test_no_guest_at_all(tmp_path: Path) -> None:
    env = {"HPCORE_CACHE": str(tmp_path)}
    error = refused("run", COVER, "--log", tmp_path / "log", env=env)
    assert "no guest to boot; run `hpcore guest fetch`" in error or "zig" in error


@needs_guest
def test_a_kernel_command_line_that_is_too_long(tmp_path: Path) -> None:
    error = refused("run", COVER, "--log", tmp_path / "log", "--append", "x" * 3000)
    assert "arm64 reads 2047: shorten it" in error


# ------------------------------------------------------------- the accelerator


def test_no_qemu_on_the_path(tmp_path: Path) -> None:
    error = refused("run", COVER, "--log", tmp_path / "log", env={"PATH": str(tmp_path)})
    assert "qemu-system-aarch64 is not on PATH; install qemu-system-aarch64" in error


def test_a_setting_that_names_no_qemu(tmp_path: Path) -> None:
    missing = str(tmp_path / "qemu")
    error = refused("run", COVER, "--log", tmp_path / "log", env={"HPCORE_QEMU": missing})
    assert f"HPCORE_QEMU is {missing}, which is no program" in error


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("echo QEMU emulator version 5.2.0", "is QEMU 5.2.0; 7.2 or newer is needed"),
        ("echo hello", "says no version but: hello"),
        ("echo broken >&2; exit 3", "says no version but: broken"),
    ],
)
def test_a_qemu_that_will_not_do(tmp_path: Path, script: str, said: str) -> None:
    qemu = program(tmp_path / "qemu", script)
    error = refused("run", COVER, "--log", tmp_path / "log", env={"HPCORE_QEMU": str(qemu)})
    assert said in error
    assert str(qemu) in error


@needs_guest
def test_a_qemu_that_ends_at_once_is_quoted(tmp_path: Path) -> None:
    told = "echo QEMU emulator version 8.0.0; [ $1 = --version ] || { echo no luck >&2; exit 7; }"
    qemu, log = program(tmp_path / "qemu", told), tmp_path / "log"
    error = refused("run", COVER, "--log", log, env={"HPCORE_QEMU": str(qemu)})
    assert "QEMU did not start: it ended with exit status 7 and said: no luck" in error
    assert hpcore("replay", log).code == 0
    people = hpcore("run", COVER, "--log", log, "--force", env={"HPCORE_QEMU": str(qemu)})
    assert people.code == 2, people
    assert (people.out + people.err).count("no luck") == 1


GARBAGE = r"\033[31m\033]0;mine\007\302\233\b\377"
"""As printf takes it: colours, a title of the window, a C1 control, a backspace, and no UTF-8."""


@needs_guest
def test_what_a_qemu_says_moves_no_cursor(tmp_path: Path) -> None:
    told = "echo QEMU emulator version 8.0.0; [ $1 = --version ] || "
    qemu = program(tmp_path / "qemu", f"{told}{{ printf 'no luck{GARBAGE}' >&2; exit 7; }}")
    for options in ((), ("--json",)):
        env = {"HPCORE_QEMU": str(qemu)}
        ended = hpcore("run", COVER, "--log", tmp_path / "log", "--force", *options, env=env)
        assert ended.code == 2, ended
        assert r"no luck\x1b[31m\x1b]0;mine\x07\x9b\x08" in ended.out + ended.err
        assert all(line.isprintable() for line in (ended.out + ended.err).splitlines()), ended


def test_what_a_qemu_says_in_place_of_its_version_moves_no_cursor(tmp_path: Path) -> None:
    qemu = program(tmp_path / "qemu", f"printf 'what{GARBAGE}'")
    error = refused("run", COVER, "--log", tmp_path / "log", env={"HPCORE_QEMU": str(qemu)})
    assert r"says no version but: what\x1b[31m\x1b]0;mine\x07\x9b\x08" in error


def test_an_accelerator_with_a_slip_in_its_name(tmp_path: Path) -> None:
    error = refused("run", COVER, "--log", tmp_path / "log", "--accel", "tgc")
    assert "there is no accelerator 'tgc'; did you mean tcg?" in error
    assert "kvm" in refused("run", COVER, "--accel", "xen", "--log", tmp_path / "log")


def test_a_log_that_is_executed_leaves_no_log(tmp_path: Path) -> None:
    one = write(tmp_path / "one", [])
    error = refused("run", one, "--log", tmp_path / "two", "--force")
    assert error == f"{one} is a log, which is executed and leaves none; leave out --log, --force"


@pytest.mark.parametrize("option", ["--kernel", "--initrd", "--console"])
@needs_guest
def test_what_only_a_real_guest_has_use_for(tmp_path: Path, option: str) -> None:
    log = tmp_path / "log"
    error = refused("run", COVER, "--log", log, "--accel", "qtest", option, tmp_path / "file")
    assert "'qtest' runs no guest code, it plays the guest" in error
    assert error.endswith(f"leave out {option}")
    assert not log.exists()


@needs_guest
def test_a_kind_of_guest_that_only_a_played_one_can_be(tmp_path: Path) -> None:
    path = scenario(tmp_path / "s.yaml", "boot")
    path.write_text("guest: {kind: hostile}\n" + path.read_text())
    error = refused("run", path, "--log", tmp_path / "log")
    assert "asks for a guest of the kind 'hostile', which is played, and 'tcg' boots" in error
    assert not (tmp_path / "log").exists()
    ended = hpcore("run", path, "--log", tmp_path / "log", "--accel", "qtest")
    assert ended.code == 0, ended


# --------------------------------------------------------------- the scenario


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("steps:\n  - boot\n  - plgu: 1\n", ":3: 'plgu' is no key of a step; did you mean 'plug'?"),
        ("steps:\n  - boot\n  - rebot\n", ":3: 'rebot' is no step; did you mean 'reboot'?"),
        ("steps:\n  - expect:\n      onlin: 0\n", ":3: 'onlin' is no key of expect; did you mean"),
        ("machine: {maxcpu: 4}\nsteps: [boot]\n", ":1: 'maxcpu' is no key of machine; did you"),
        ("machine: {maxcpus: 0}\nsteps: [boot]\n", ":1: machine: maxcpus is 0; it must be 1 or"),
        ("machine: {maxcpus: 513}\nsteps: [boot]\n", ":1: machine: maxcpus is 513; arm virt with"),
        ("machine: {cpus: 3, maxcpus: 2}\nsteps: [boot]\n", ":1: machine: cpus is 3, more than"),
        ("machine: {cpus: 1, maxcpus: 2}\nsteps:\n  - plug: 2\n", ":3: plug: there is no vCPU 2"),
        ("machine: {gic: 4}\nsteps: [boot]\n", ":1: gic is 4; it must be 2 or 3"),
        ("machine: {cpus: 1}\n", ":1: there is no 'steps:'"),
        ("a: [\n", ": not YAML"),
        ("", "must be a mapping (key: value), not nothing"),
    ],
)
def test_a_scenario_with_a_slip_is_refused_with_its_line(
    tmp_path: Path, text: str, said: str
) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    error = refused("run", path, "--log", tmp_path / "log")
    assert error.startswith(str(path))
    assert said in error
    assert not (tmp_path / "log").exists()


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("cover-leter", "did you mean cover-letter?"),
        ("nothing.yaml", "nothing.yaml: no such file"),
        ("/tmp", "/tmp: Is a directory"),
    ],
)
def test_a_scenario_that_is_not_there(tmp_path: Path, name: str, said: str) -> None:
    assert said in refused("run", name, "--log", tmp_path / "log")


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (PACKED, "it is compressed with gzip; unpack it with gunzip"),
        ("steps: [boot]".encode("utf-16"), "it is UTF-16; iconv -f UTF-16 -t UTF-8 makes UTF-8"),
    ],
)
def test_what_is_no_text_is_named(tmp_path: Path, data: bytes, said: str) -> None:
    path = tmp_path / "mine"
    path.write_bytes(data)
    error = refused("run", path, "--log", tmp_path / "log")
    assert error.startswith(f"{path}: neither a scenario nor a log: {said}")


def test_a_log_behind_a_byte_order_mark_is_a_log(tmp_path: Path) -> None:
    path = tmp_path / "mine"
    path.write_bytes(BOM + MAGIC)
    assert "is a log, which is executed" in refused("run", path, "--log", tmp_path / "log")


def test_a_scenario_may_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_bytes(BOM + b"machine: {cpus: 1, maxcpus: 2}\nsteps: [boot]\n")
    ended = hpcore("run", path, "--log", tmp_path / "log", "--accel", "qtest")
    assert ended.code == 0, ended


@needs_guest
@pytest.mark.parametrize(
    ("steps", "said"),
    [
        (("plug: 1", "plug: 1"), "cpu(id1=0:0:1:0) with arch-id 1 exist"),
        (("unplug: 0",), "Hot-unplug of cold-booted CPU not supported!"),
    ],
)
def test_a_refused_command_fails_the_run_in_qemus_words(
    tmp_path: Path, steps: tuple[str, ...], said: str
) -> None:
    path = scenario(tmp_path / "s.yaml", "boot", *steps)
    error = refused("run", path, "--log", tmp_path / "log", code=1)
    assert error == said
    assert hpcore("replay", tmp_path / "log").code == 0


@needs_guest
@pytest.mark.parametrize("plugs", ["plug: 1", "scale: 2"])
def test_a_plug_where_there_is_no_hotplug_is_refused_before_the_machine_is_made(
    plugs: str, tmp_path: Path
) -> None:
    steps = ("boot", f"repeat: {{times: 2, steps: [{{{plugs}}}]}}")
    path = scenario(tmp_path / "s.yaml", *steps, machine="cpus: 1, maxcpus: 2, gic: 2")
    error = refused("run", path, "--log", tmp_path / "log")
    assert "line 4 of the scenario s plugs a vCPU, and 'tcg' has no hotplug here" in error
    assert "a GICv2 cannot hotplug CPU interfaces; use gic-version 3" in error
    assert not (tmp_path / "log").exists()


@needs_guest
def test_a_machine_that_the_host_cannot_hold(tmp_path: Path) -> None:
    path = scenario(tmp_path / "s.yaml", "boot", machine="cpus: 1, memory: 99999999")
    error = refused("run", path, "--log", tmp_path / "log")
    assert "Cannot allocate memory" in error or "memory" in error


# -------------------------------------------------------------------- the log


@needs_guest
def test_a_log_that_exists_is_kept(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("precious")
    error = refused("run", COVER, "--log", log)
    assert f"{log} exists; give another --log, or --force" in error
    assert log.read_text() == "precious"
    path = scenario(tmp_path / "s.yaml", "boot")
    assert hpcore("run", path, "--log", log, "--force").code == 0
    assert hpcore("replay", log).code == 0


@needs_guest
def test_a_log_in_a_directory_that_is_not_there(tmp_path: Path) -> None:
    error = refused("run", COVER, "--log", tmp_path / "no" / "log")
    assert f"there is no directory {tmp_path / 'no'}; make it, or give another --log" in error


@pytest.mark.parametrize("option", ["--log", "--console"])
def test_standard_output_is_no_place_for_a_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, option: str
) -> None:
    monkeypatch.chdir(tmp_path)
    error = refused("run", COVER, option, "-")
    assert error.startswith(f"{option} - is no file, and standard output has another use; give ")
    assert not list(tmp_path.iterdir())


def test_standard_output_is_no_place_for_a_counterexample(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    arguments = ("check", "--slots", "2", "--mutant", "unbind_before_unwire", "--log", "-")
    assert "--log - is no file" in refused(*arguments)
    assert not list(tmp_path.iterdir())


@needs_guest
@pytest.mark.parametrize(("name", "said"), [("/tmp", "Is a directory"), ("/dev/full", "regular")])
def test_a_log_that_is_no_file(name: str, said: str) -> None:
    error = refused("run", COVER, "--log", name, "--force")
    assert name in error
    assert said in error


@needs_guest
def test_no_room_for_the_logs_first_line(tmp_path: Path) -> None:
    log = tmp_path / "log"
    error = refused("run", COVER, "--log", log, before=["prlimit", "--fsize=50"])
    assert f"{log}: cannot write the log: File too large" in error


@needs_guest
def test_a_console_file_that_cannot_be_made(tmp_path: Path) -> None:
    console = tmp_path / "no" / "console"
    error = refused("run", COVER, "--log", tmp_path / "log", "--console", console)
    assert f"{console}: there is no directory {console.parent}; make it, or give" in error


# --------------------------------------------------------------- the arguments


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("run",), "Missing argument 'SCENARIO'. See `hpcore run --help`"),
        (("run", COVER, "--accell", "tcg"), "No such option '--accell'"),
        (("run", COVER, "--sync", "never"), "'never' is not one of 'durable', 'os'"),
        (("runn", COVER), "No such command 'runn'"),
    ],
)
def test_wrong_arguments(arguments: tuple[str, ...], said: str) -> None:
    assert said in refused(*arguments)
