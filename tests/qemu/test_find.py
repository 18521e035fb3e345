"""Finding QEMU: what is said when there is none that serves."""

from __future__ import annotations

from pathlib import Path

import pytest

from hpcore.qemu import QemuError, find_qemu
from tests.qemu.support import needs_qemu, program


@needs_qemu
def test_the_installed_qemu_is_found_with_its_version(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HPCORE_QEMU", raising=False)
    qemu = find_qemu()
    assert qemu.path.name == "qemu-system-aarch64"
    assert tuple(map(int, qemu.version.split("."))) >= (7, 2)


def test_no_qemu_on_path_names_the_package(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("HPCORE_QEMU", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(QemuError, match=r"not on PATH.*apt install qemu-system-arm"):
        find_qemu()


def test_a_wrong_variable_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HPCORE_QEMU", str(tmp_path / "nothing"))
    with pytest.raises(QemuError, match=r"HPCORE_QEMU is .*nothing, which is no program"):
        find_qemu()


def test_an_old_qemu_is_refused_with_both_versions(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    old = program(tmp_path / "qemu", "echo QEMU emulator version 6.2.0 '(Debian)'")
    monkeypatch.setenv("HPCORE_QEMU", str(old))
    with pytest.raises(QemuError, match=r"is QEMU 6\.2\.0; 7\.2 or newer is needed"):
        find_qemu()


def test_a_two_digit_version_is_newer(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    new = program(tmp_path / "qemu", "echo QEMU emulator version 10.0.2")
    monkeypatch.setenv("HPCORE_QEMU", str(new))
    assert find_qemu().version == "10.0.2"


def test_something_that_is_no_qemu_is_quoted(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    other = program(tmp_path / "qemu", "echo I am a teapot >&2; exit 3")
    monkeypatch.setenv("HPCORE_QEMU", str(other))
    with pytest.raises(QemuError, match="says no version but: I am a teapot"):
        find_qemu()


def test_a_program_is_asked_once_until_its_file_changes(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked = tmp_path / "asked"
    path = tmp_path / "qemu"
    monkeypatch.setenv("HPCORE_QEMU", str(path))
    for version, times in (("7.2.1", 1), ("10.0.22", 2)):
        program(path, f"echo x >> {asked}; echo QEMU emulator version {version}")
        assert [find_qemu().version for _ in range(3)] == [version] * 3
        assert len(asked.read_text().split()) == times
