"""The QEMU that is fetched: what is kept, and which one is found."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from hpcore.fetch.apt import PrivateApt
from hpcore.fetch.cache import CACHE_VARIABLE
from hpcore.fetch.errors import FetchError
from hpcore.fetch.sources import Mirror
from hpcore.qemu import fetch
from hpcore.qemu.errors import QemuError
from hpcore.qemu.fetch import fetch_qemu, fetched_qemu, find_hotplugging, missing_libraries
from hpcore.qemu.find import LOONGARCH64, X86_64, Program
from tests.qemu.support import program
from tests.support.command import hpcore


@pytest.mark.parametrize("wanted", [LOONGARCH64, X86_64])
def test_the_fetched_programs_start_a_machine_with_their_own_firmware(
    wanted: Program,
) -> None:
    """Uses the machine's cache and, the first time, the network."""
    qemu = fetch_qemu().program(wanted)
    machine = "virt" if wanted is LOONGARCH64 else "q35"
    argv = [str(qemu.path), "-machine", machine, "-accel", "tcg", "-S", "-nodefaults"]
    done = subprocess.run(
        [*argv, "-display", "none", "-monitor", "stdio"],
        input="quit\n", capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert f"QEMU {qemu.version}" in done.stdout


def test_the_command_says_where_it_is() -> None:
    ended = hpcore("qemu", "fetch", "--json")
    assert ended.code == 0, ended
    qemu = fetched_qemu()
    assert qemu is not None
    assert (ended.last["version"], ended.last["directory"]) == (qemu.version, str(qemu.directory))


def test_the_wrapper_is_the_qemu_process_itself(tmp_path: Path) -> None:
    """Else the signal that ends QEMU with its parent would reach a shell."""
    wrapper = program(
        tmp_path / "qemu-x",
        fetch.WRAPPER.format(name="qemu-x", libraries=fetch.OWN_LIBRARIES).split("\n", 1)[1],
    )
    (tmp_path / "programs").mkdir()
    program(tmp_path / "programs" / "qemu-x", 'echo "$$ $LD_LIBRARY_PATH $*"')
    with subprocess.Popen([wrapper, "-S", "a b"], stdout=subprocess.PIPE, text=True) as process:
        said, _ = process.communicate(timeout=30)
    assert said == f"{process.pid} {tmp_path}/lib -L {tmp_path} -S a b\n"


def test_a_fetch_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HPCORE_DEBIAN_MIRROR", f"file:{tmp_path}/no-such-mirror")
    with pytest.raises(FetchError, match="no-such-mirror"):
        fetch_qemu(tmp_path / "cache")
    assert fetched_qemu(tmp_path / "cache") is None
    assert [p.name for p in (tmp_path / "cache" / "qemu").iterdir()] == [".lock"]


def test_the_environments_program_goes_before_the_fetched_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    newer = program(tmp_path / "mine", "echo QEMU emulator version 11.0.1")
    monkeypatch.setenv(X86_64.variable, str(newer))
    assert find_hotplugging(X86_64).path == newer


def test_without_a_fetched_one_the_error_says_how_to_fetch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path))
    program(tmp_path / LOONGARCH64.name, "echo QEMU emulator version 9.2.0")
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}/bin")
    with pytest.raises(QemuError, match=r"9\.2\.0; 10\.0 or newer .*`hpcore qemu fetch`"):
        find_hotplugging(LOONGARCH64)


def test_libraries_that_are_not_there_are_found_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program(tmp_path / "ldd", 'printf "\\tlibx.so.1 => not found\\n\\tliby.so.2 => /y (0x0)\\n"')
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}/bin")
    assert missing_libraries(Path("/any")) == {"libx.so.1"}
    assert missing_libraries(Path("/any"), tmp_path) == {"libx.so.1"}


def test_missing_libraries_come_with_those_that_they_need(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The packages are looked through for what the programs lack, round by round."""
    debs = {"libx1": ["libx.so.1"], "libz2": ["libz.so.2", "libother.so.9"], "libc6": ["libc.so.6"]}

    def unpack(_self: PrivateApt, deb: Path) -> Path:
        files = tmp_path / deb
        files.mkdir()
        for name in debs[str(deb)]:
            (files / name).write_text(name)
        return files

    def missing(_program: Path, beside: Path) -> set[str]:
        have = {path.name for path in beside.iterdir()}
        needs = {"libx.so.1"} | ({"libz.so.2"} if "libx.so.1" in have else set())
        return needs - have

    monkeypatch.setattr(PrivateApt, "update", lambda _self: None)
    monkeypatch.setattr(PrivateApt, "needed_by", lambda *_: [*debs, "libx-common", "adduser"])
    monkeypatch.setattr(PrivateApt, "download", lambda _self, package: Path(package))
    monkeypatch.setattr(PrivateApt, "unpack", unpack)
    monkeypatch.setattr(fetch, "missing_libraries", missing)
    lib = tmp_path / "lib"
    mirror = Mirror("http://mirror.invalid", None)
    fetch._fetch_libraries(tmp_path / "work", mirror, "amd64", [Path("q")], lib, lambda _t: None)
    assert sorted(path.name for path in lib.iterdir()) == ["libx.so.1", "libz.so.2"]
