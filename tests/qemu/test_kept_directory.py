"""A machine that moves keeps its directory; each QEMU has one of its own in there, and its lock."""

from __future__ import annotations

import asyncio
import socket
import sys
from pathlib import Path

import pytest

from hpcore.qemu.errors import QemuError
from hpcore.qemu.kept import KeptQemu, QemuGone
from hpcore.qemu.kept_directory import QemuDirectory
from hpcore.qemu.kept_moves import who_has
from hpcore.qemu.runtime_directory import (
    is_held,
    let_go,
    lock_of,
    remove_runtime_directory,
    runtime_directory,
)
from tests.qemu.support import program
from tests.support.waits import until


def qmp(qemu: Path) -> Path:
    return qemu / "qmp"


@pytest.fixture
def machine(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine's directory."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path_factory.mktemp("run")))
    return runtime_directory()


def test_the_machines_directory_is_held_by_whichever_qemu_lives(
    machine: Path, tmp_path: Path
) -> None:
    words = program(tmp_path / "qemu", "echo so it said >&2; exec sleep 60")

    async def run() -> None:
        first, second = QemuDirectory.made(machine, 0), QemuDirectory.made(machine, 1)
        here = KeptQemu.start([words], first.path, (), place=machine)
        let_go(machine)  # whoever started the first one has ended
        there = KeptQemu.start([words], second.path, (), place=machine)
        assert (first.lives, second.lives) == (True, True)
        await until(lambda: "so it said" in here.last_words, "its words")
        await here.close()
        assert "so it said" in here.last_words  # though its directory is gone
        there.leave()
        assert [one.lives for one in QemuDirectory.all_of(machine)] == [True]
        assert is_held(machine)
        remove_runtime_directory(runtime_directory())  # which sweeps
        assert QemuDirectory.all_of(machine) == [second]
        there = KeptQemu(there.pid, second.path, machine)
        await there.close()
        assert not is_held(machine)
        assert not second.lives

    asyncio.run(run())
    remove_runtime_directory(machine)


def test_the_lock_of_a_directory_that_is_no_more_cannot_be_had(machine: Path) -> None:
    remove_runtime_directory(machine)
    with pytest.raises(QemuError, match="cannot be held"):
        lock_of(machine)


def test_qemus_are_numbered_and_one_of_them_may_have_the_machine(machine: Path) -> None:
    for number in (10, 2, 0):
        QemuDirectory.made(machine, number)
    (machine / "console.log").touch()
    every = QemuDirectory.all_of(machine)
    assert [one.number for one in every] == [0, 2, 10]
    assert not any(one.may_have or one.lives for one in every)
    every[2].expect()
    assert [one.may_have for one in every] == [False, False, True]
    for _ in range(2):
        every[2].give_up()
        assert not every[2].may_have
    every[2].remove()
    with pytest.raises(QemuError, match="q10 cannot be written"):
        every[2].expect()
    with pytest.raises(QemuError, match="q2 cannot be made: File exists"):
        QemuDirectory.made(machine, 2)
    remove_runtime_directory(machine)
    assert QemuDirectory.all_of(machine) == []


def test_a_qemu_that_may_not_have_the_machine_is_ended(machine: Path, tmp_path: Path) -> None:
    """Both say who they are by their sockets, as QEMU does."""
    code = (
        "import socket, sys, time; s = socket.socket(socket.AF_UNIX); s.bind(sys.argv[1]); "
        "s.listen(9); time.sleep(60)"
    )
    words = program(tmp_path / "qemu", f"exec {sys.executable} -c '{code}' $1")

    async def run() -> None:
        has, waited = QemuDirectory.made(machine, 3), QemuDirectory.made(machine, 4)
        left = QemuDirectory.made(machine, 5)  # whose QEMU was never started
        has.expect()
        for one in (has, waited):
            KeptQemu.start([words, str(qmp(one.path))], one.path, (), place=machine).unwatch()
        found = await who_has(machine, qmp)
        assert found.directory == has.path
        assert QemuDirectory.all_of(machine) == [has]
        assert not waited.lives
        assert not left.path.exists()
        await found.close()

    asyncio.run(run())
    remove_runtime_directory(machine)


def test_a_machine_that_no_qemu_may_have_is_gone(machine: Path) -> None:
    QemuDirectory.made(machine, 0)
    with pytest.raises(QemuGone, match="QEMU has ended"):
        asyncio.run(who_has(machine, qmp))
    remove_runtime_directory(machine)
    with pytest.raises(QemuGone, match="QEMU has ended"):
        asyncio.run(who_has(machine, qmp))


def test_a_machine_of_an_older_hpcore_is_refused(machine: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listens:
        listens.bind(str(qmp(machine)))
        with pytest.raises(QemuError, match="made by an older hpcore") as error:
            asyncio.run(who_has(machine, qmp))
    assert not isinstance(error.value, QemuGone)
    remove_runtime_directory(machine)
