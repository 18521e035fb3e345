"""A QEMU that is left: its directory's lock says whether it lives, and its file what it said."""

from __future__ import annotations

import asyncio
import os
import socket
from pathlib import Path

import pytest

from hpcore.qemu.errors import QemuError
from hpcore.qemu.kept import KeptQemu, QemuGone
from hpcore.qemu.runtime_directory import (
    held_directories,
    is_held,
    remove_runtime_directory,
    runtime_directory,
)
from tests.qemu.support import alive, program
from tests.support.waits import until


@pytest.fixture
def parent(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    parent = tmp_path_factory.mktemp("run")
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(parent))
    return parent


def test_a_kept_process_holds_its_directory_until_its_end(parent: Path, tmp_path: Path) -> None:
    words = program(tmp_path / "qemu", "echo out of luck >&2; exec sleep 60")

    async def run() -> None:
        directory = runtime_directory()
        qemu = KeptQemu.start([words], directory, ())
        pid = qemu.pid
        await until(lambda: "luck" in qemu.last_words, "its words")
        qemu.leave()
        assert alive(pid)
        assert is_held(directory)
        assert directory in held_directories()
        other = runtime_directory()  # which sweeps
        assert directory.exists()
        remove_runtime_directory(other)

        again = KeptQemu(pid, directory)
        assert again.last_words == "out of luck"
        await again.close()
        assert not alive(pid)
        assert not directory.exists()
        assert not is_held(directory)

    asyncio.run(run())


def test_a_directory_that_nobody_holds_has_no_machine(parent: Path) -> None:
    async def run(directory: Path) -> None:
        with pytest.raises(QemuGone, match="QEMU has ended: what it said is gone"):
            await KeptQemu.attach(directory, directory / "qmp")

    asyncio.run(run(parent / "hpcore-qemu-aaaaaaaa"))


def test_a_directory_that_is_open_to_others_is_none_of_ours(parent: Path) -> None:
    directory = runtime_directory()
    directory.chmod(0o755)
    assert not is_held(directory)
    remove_runtime_directory(directory)
    assert not is_held(parent)


def test_another_users_directory_is_not_taken_for_one_without_a_machine(
    parent: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = runtime_directory()
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    with pytest.raises(QemuError, match="another user's: only that user") as error:
        asyncio.run(KeptQemu.attach(directory, directory / "qmp"))
    assert not isinstance(error.value, QemuGone)
    monkeypatch.undo()
    remove_runtime_directory(directory)


def test_who_listens_is_found_by_the_socket(parent: Path) -> None:
    async def run() -> None:
        directory = runtime_directory()
        with socket.socket(socket.AF_UNIX) as listens:
            listens.bind(str(directory / "qmp"))
            listens.listen(1)
            found = await KeptQemu.attach(directory, directory / "qmp")
            assert found.pid == os.getpid()
            found.unwatch()
        remove_runtime_directory(directory)

    asyncio.run(run())
