"""The directory of QEMU's sockets: its path, its lock, and the sweep of what killed ones left."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from hpcore.qemu.runtime_directory import remove_runtime_directory, runtime_directory

KILLED = """
import os, signal
from hpcore.qemu.runtime_directory import runtime_directory
directory = runtime_directory()
(directory / "tree.dtb").touch()
print(directory, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def parent(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the directories are made: nobody else's are there."""
    parent = tmp_path_factory.mktemp("run")
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(parent))
    return parent


def test_the_runtime_directory_is_short_though_tmpdir_is_long(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    long = tmp_path / ("x" * 100)
    long.mkdir()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(long))
    first, second = runtime_directory(), runtime_directory()
    try:
        assert first != second
        assert len(str(first / "console")) < 107
        assert first.stat().st_mode & 0o077 == 0
    finally:
        remove_runtime_directory(first)
        remove_runtime_directory(second)


def test_what_a_killed_process_left_is_taken_away_by_the_next(parent: Path) -> None:
    done = subprocess.run([sys.executable, "-c", KILLED], stdout=subprocess.PIPE, check=False)
    left = Path(done.stdout.decode().strip())
    assert left.parent == parent
    assert (left / "tree.dtb").exists()
    mine = runtime_directory()
    assert list(parent.iterdir()) == [mine]
    remove_runtime_directory(mine)
    remove_runtime_directory(mine)
    assert not list(parent.iterdir())


def test_what_a_living_process_has_made_stays(parent: Path) -> None:
    waits = KILLED.replace("os.kill(os.getpid(), signal.SIGKILL)", "input()")
    piped = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", waits], **piped) as other:  # type: ignore[call-overload]
        theirs = Path(other.stdout.readline().decode().strip())
        mine, also_mine = runtime_directory(), runtime_directory()
        assert set(parent.iterdir()) == {theirs, mine, also_mine}
        other.communicate(b"\n")
    remove_runtime_directory(also_mine)
    remove_runtime_directory(mine)
    assert list(parent.iterdir()) == [theirs]


@pytest.mark.parametrize("name", ["hpcore-qemu-", "hpcore-logs", "hpcore-qemu-12345678x"])
def test_what_a_user_has_named_alike_stays(parent: Path, name: str) -> None:
    (parent / name).mkdir(mode=0o700)
    (parent / "hpcore-qemu-abcdefgh").mkdir(mode=0o755)
    (parent / "hpcore-qemu-ijklmnop").symlink_to(parent / name)
    remove_runtime_directory(runtime_directory())
    assert len(list(parent.iterdir())) == 3
