"""Preparing what goes into a guest's memory: whatever goes wrong is one kind of error."""

from __future__ import annotations

from pathlib import Path
from uuid import UUID

import pytest

from hpcore.fetch.errors import FetchError
from hpcore.guest import boot
from hpcore.guest.errors import GuestError
from hpcore.model.config import MachineConfig
from hpcore.platform.firmware import HPCORE_VIRT, QEMU_VIRT, Board, build
from hpcore.platform.numa import Nodes
from hpcore.platform.smbios import Identity

MACHINE = MachineConfig.of(1, 2)


@pytest.mark.parametrize("board", [QEMU_VIRT, HPCORE_VIRT])
def test_a_kernel_that_cannot_be_unpacked_into_the_cache_is_the_guests_error(
    board: Board, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_kernel: object) -> Path:
        raise FetchError("the disk is full")

    monkeypatch.setattr(boot, "load_kernel", lambda _path: None)
    monkeypatch.setattr(boot, "bootable", full)
    with pytest.raises(GuestError, match="the disk is full"):
        boot.prepare(MACHINE, board, tmp_path / "kernel", tmp_path / "initrd", "")


def test_a_machine_that_the_tables_cannot_describe_is_the_guests_error(tmp_path: Path) -> None:
    gicv2 = MachineConfig.of(1, 1, gic_version=2)
    with pytest.raises(GuestError, match="set gic-version to 3"):
        boot.prepare(gicv2, QEMU_VIRT, tmp_path / "kernel", tmp_path / "initrd", "")


def test_nodes_of_another_machine_are_the_guests_error(tmp_path: Path) -> None:
    nodes = Nodes((MACHINE.memory,), (0,))
    with pytest.raises(GuestError, match="1 vCPUs have a node and 2 are possible"):
        boot.prepare(MACHINE, QEMU_VIRT, tmp_path / "kernel", tmp_path / "initrd", "", nodes)


def test_an_identity_that_smbios_cannot_hold_is_the_guests_error(tmp_path: Path) -> None:
    who = Identity(UUID(int=1), serial="a\0b")
    with pytest.raises(GuestError, match="with a NUL in it"):
        boot.prepare(MACHINE, QEMU_VIRT, tmp_path / "kernel", tmp_path / "initrd", "", identity=who)


def test_the_firmware_has_the_nodes_and_the_identity_that_the_guest_shall_see(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(boot, "load_kernel", lambda _path: None)
    monkeypatch.setattr(boot, "bootable", lambda _kernel: tmp_path / "kernel")
    monkeypatch.setattr(boot, "check_initrd", lambda _path: None)
    for name in ("kernel", "initrd"):
        (tmp_path / name).touch()
    nodes = Nodes((MACHINE.memory // 2,) * 2, (0, 1))
    who = Identity(UUID(int=1))
    files = boot.prepare(
        MACHINE, QEMU_VIRT, tmp_path / "kernel", tmp_path / "initrd", "", nodes, identity=who
    )
    assert files.blob == build(MACHINE, QEMU_VIRT, nodes, who).blob


def test_an_initrd_that_is_none_is_the_guests_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(boot, "load_kernel", lambda _path: None)
    monkeypatch.setattr(boot, "bootable", lambda _kernel: tmp_path / "kernel")
    (tmp_path / "initrd").write_bytes(b"nonsense")
    with pytest.raises(GuestError, match=r"initrd is of an unknown kind; give a cpio archive"):
        boot.prepare(MACHINE, QEMU_VIRT, tmp_path / "kernel", tmp_path / "initrd", "")
