"""The UEFI firmware: where it is found, what is kept of it, and what QEMU is told."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from hpcore.fetch.errors import FetchError
from hpcore.qemu import uefi
from hpcore.qemu.errors import QemuError
from hpcore.qemu.uefi import (
    BANK,
    CODE,
    DIRECTORY_VARIABLE,
    VARIABLES,
    Uefi,
    fetch_uefi,
    fetched_uefi,
    find_uefi,
    fw_cfg_arguments,
)
from tests.qemu.support import needs_qemu
from tests.support.command import hpcore


def images(directory: Path, size: int = BANK) -> Path:
    """A directory with images of that size, which hold nothing but a mark at their ends."""
    directory.mkdir()
    for name in (CODE, VARIABLES):
        with (directory / name).open("wb") as file:
            file.seek(size - 4)
            file.write(b"end.")
    return directory


@pytest.fixture(autouse=True)
def no_other_firmware(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the environment's nor an installed one."""
    monkeypatch.delenv(DIRECTORY_VARIABLE, raising=False)
    monkeypatch.setattr(uefi, "INSTALLED", tmp_path / "not-installed")


@needs_qemu
def test_qemu_takes_the_fetched_images(tmp_path: Path) -> None:
    """Uses the machine's cache and, the first time, the network."""
    firmware = fetch_uefi()
    variables = firmware.new_variables(tmp_path / "a, b.fd")
    done = subprocess.run(
        ["qemu-system-aarch64", "-machine", "virt,acpi=off", "-S", "-nodefaults",
         "-display", "none", "-monitor", "stdio", *firmware.arguments(variables)],
        input="info block\nquit\n", capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    said = done.stdout.replace("\r", "")
    assert f"{firmware.code} (raw, read-only)" in said
    assert f"{variables} (raw)" in said


def test_the_command_says_where_it_is() -> None:
    ended = hpcore("uefi", "fetch", "--json")
    assert ended.code == 0, ended
    firmware = fetched_uefi()
    assert firmware is not None
    assert ended.last["directory"] == str(firmware.directory)


def test_what_is_kept_takes_no_place_where_it_is_empty() -> None:
    firmware = fetch_uefi()
    for name in (CODE, VARIABLES):
        stat = (firmware.directory / name).stat()
        assert stat.st_size == BANK
        assert 512 * stat.st_blocks < 8 << 20


def test_a_fetch_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HPCORE_DEBIAN_MIRROR", f"file:{tmp_path}/no-such-mirror")
    with pytest.raises(FetchError, match="no-such-mirror"):
        fetch_uefi(tmp_path / "cache")
    assert fetched_uefi(tmp_path / "cache") is None
    assert [p.name for p in (tmp_path / "cache" / "uefi").iterdir()] == [".lock"]


def test_the_environments_goes_before_the_fetched_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetch_uefi()
    assert find_uefi() == fetched_uefi()
    mine = images(tmp_path / "mine")
    monkeypatch.setenv(DIRECTORY_VARIABLE, str(mine))
    assert find_uefi() == Uefi(mine)


def test_an_installed_one_is_found_where_none_was_fetched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed = images(tmp_path / "installed")
    monkeypatch.setattr(uefi, "INSTALLED", installed)
    assert find_uefi(tmp_path / "cache") == Uefi(installed)


def test_without_any_the_error_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(QemuError, match=r"`hpcore uefi fetch`, install qemu-efi-aarch64, or set"):
        find_uefi(tmp_path / "cache")


def test_images_that_qemu_would_refuse_are_refused_with_their_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = images(tmp_path / "small", size=2 << 20)
    monkeypatch.setenv(DIRECTORY_VARIABLE, str(small))
    with pytest.raises(QemuError, match=rf"{CODE} has 2097152 bytes, .* .truncate -s {BANK}"):
        find_uefi()


def test_a_directory_without_them_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(DIRECTORY_VARIABLE, str(tmp_path))
    with pytest.raises(QemuError, match=rf"{CODE} cannot .* which {DIRECTORY_VARIABLE} names"):
        find_uefi()


def test_a_machines_variables_are_a_copy_that_ends_where_the_original_does(tmp_path: Path) -> None:
    firmware = Uefi(images(tmp_path / "images"))
    own = firmware.new_variables(tmp_path / "own.fd")
    assert own.read_bytes() == (firmware.directory / VARIABLES).read_bytes()
    assert 512 * own.stat().st_blocks < 1 << 20
    with pytest.raises(QemuError, match=r"cannot copy UEFI's variables .* No such file"):
        firmware.new_variables(tmp_path / "no" / "own.fd")


def test_an_empty_end_is_there_as_well(tmp_path: Path) -> None:
    directory = images(tmp_path / "images")
    with (directory / VARIABLES).open("r+b") as file:
        file.write(b"start")
        file.seek(-4, 2)
        file.write(bytes(4))
    own = Uefi(directory).new_variables(tmp_path / "own.fd")
    assert own.stat().st_size == BANK
    assert own.read_bytes()[:6] == b"start\0"


def test_a_file_for_firmware_may_have_a_comma_in_its_path() -> None:
    assert fw_cfg_arguments({"etc/a": Path("/x,y"), "etc/b": Path("/z")}) == [
        "-fw_cfg", "name=etc/a,file=/x,,y", "-fw_cfg", "name=etc/b,file=/z",
    ]  # fmt: skip
