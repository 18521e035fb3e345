"""The door's settings: how its log is kept, and what is said of lines that are wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from hpcore.door.settings import ROTATION, VARIABLE, Settings, SettingsError
from hpcore.log import Rotation


def read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lines: str) -> Settings:
    file = tmp_path / "settings.toml"
    file.write_text(f'qemu = "/bin/true"\nlogs = "{tmp_path}"\n{lines}\n')
    monkeypatch.setenv(VARIABLE, str(file))
    return Settings.read(tmp_path / "executable")


@pytest.mark.parametrize(
    ("lines", "rotation"),
    [
        ("", ROTATION),
        ('log-segment = "64M"', Rotation(64 << 20, ROTATION.keep)),
        ("log-keep = 2", Rotation(ROTATION.size, 2)),
        ('log-segment = "4096"\nlog-keep = 1', Rotation(4096, 1)),
        ('log-segment = "off"', None),
    ],
)
def test_a_vms_log_is_kept_as_the_settings_say(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lines: str, rotation: Rotation | None
) -> None:
    found = read(tmp_path, monkeypatch, lines)
    assert found.rotation == rotation
    assert (found.qemu, found.logs) == (Path("/bin/true"), tmp_path)


def test_a_vm_outlives_its_door_where_the_settings_say_so_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = [read(tmp_path, monkeypatch, line).keep for line in ("", "keep = false", "keep = true")]
    assert kept == [False, False, True]


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ('log-segment = "much"', "log-segment: 'much' is no size of a segment; give one from 4K"),
        ("log-segment = 100", "'100' is no size of a segment"),
        ("log-keep = 0", "log-keep must be a number from 1 on, not 0"),
        ('log-keep = "8"', "log-keep must be a number from 1 on, not '8'"),
        ('cache = "here"', "cache must be an absolute path, not 'here'"),
        ("keep = 1", "keep must be true or false, not 1"),
        ('keep = "yes"', "keep must be true or false, not 'yes'"),
        ("kept = true",
         "'kept' is no setting; there are qemu, logs, cache, log-segment, log-keep, keep"),
    ],
)
def test_a_wrong_line_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str, why: str
) -> None:
    with pytest.raises(SettingsError) as found:
        read(tmp_path, monkeypatch, line)
    assert str(found.value).startswith(f"{tmp_path}/settings.toml: ")
    assert why in str(found.value)
