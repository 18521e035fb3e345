"""Where a VM's disk is now, by what QEMU says of its disks; and what becomes of a failure."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, cast

import pytest
from attrs import define, evolve, field

from hpcore.door import renewal
from hpcore.door.asked import Asked, read
from hpcore.door.disk_now import DiskMoved, disk_now
from hpcore.door.disks import BootDisk
from hpcore.door.renewal import Renewal
from hpcore.guest.boot import BootFiles
from hpcore.model.stimuli import Note, Stimulus
from hpcore.platform import virt
from hpcore.platform.firmware import QEMU_VIRT
from hpcore.qemu import QemuError, Qmp
from hpcore.qemu.guest_memory import Piece
from hpcore.qemu.running import RunningQemu
from hpcore.run.accelerator import GuestImages

DISK = BootDisk(Path("/vm/disk.qcow2"), "qcow2")


@define
class Real:
    """A real QEMU that has these disks, and what it was told."""

    disks: list[dict[str, Any]]
    told: list[tuple[str, object]] = field(factory=list)

    async def execute(self, command: str, arguments: Mapping[str, object] | None = None) -> object:
        self.told.append((command, arguments))
        return self.disks if command == "query-block" else ""

    async def close(self) -> None:
        pass


def of(file: str, *below: str, drv: str = "qcow2", node: str = "n") -> dict[str, Any]:
    """A disk in query-block, with the images below it."""
    image: dict[str, Any] = {"filename": file}
    for name in reversed(below):
        above = {"filename": name}
        image = {**image, "backing-image": {**above, **_rest(image)}}
    return {"qdev": "q", "inserted": {"file": file, "drv": drv, "node-name": node, "image": image}}


def _rest(image: Mapping[str, Any]) -> dict[str, Any]:
    return {"backing-image": image["backing-image"]} if "backing-image" in image else {}


def now(*disks: dict[str, Any], disk: BootDisk = DISK) -> tuple[BootDisk, Real]:
    real = Real(list(disks))
    return asyncio.run(disk_now(real, disk)), real


def test_a_disk_is_where_it_was_and_qemu_writes_it_out_before_it_is_read() -> None:
    found, real = now({"device": "cd"}, of("/vm/other", node="o"), of("/vm/disk.qcow2", node="d"))
    assert found == DISK
    assert real.told[1:] == [("human-monitor-command", {"command-line": 'qemu-io d "flush"'})]


@pytest.mark.parametrize("name", [
    "file:/vm/disk.qcow2",
    'json:{"driver": "qcow2", "file": {"driver": "file", "filename": "/vm/disk.qcow2"}}',
    'json:{"driver": "throttle", "file": {"file.filename": "/vm/disk.qcow2"}}',
])  # fmt: skip
def test_a_disk_is_known_by_other_names_of_it(name: str) -> None:
    assert now(of("/vm/other"), of(name))[0] == DISK


def test_a_disk_below_a_snapshot_is_read_from_the_snapshot() -> None:
    direct = of("/vm/b.qcow2", "/vm/a.qcow2", "/vm/disk.qcow2", node="top")
    found, real = now(of("/vm/other"), direct)
    assert found == BootDisk(Path("/vm/b.qcow2"), "qcow2")
    assert real.told[1][1] == {"command-line": 'qemu-io top "flush"'}


def test_a_disk_that_is_another_ones_backing_image_too_is_itself() -> None:
    assert now(of("/vm/over", "/vm/disk.qcow2"), of("/vm/disk.qcow2"))[0] == DISK


def test_a_disk_over_an_image_that_a_description_names_is_not_taken_for_that_image() -> None:
    over = (
        'json:{"driver": "qcow2", "file": {"filename": "/vm/over"}, '
        '"backing": {"file": {"filename": "/vm/disk.qcow2"}}}'
    )
    with pytest.raises(DiskMoved, match="lies below json"):
        now(of(over, "/vm/disk.qcow2"))


def test_a_disk_that_qemu_has_no_more_is_named_with_those_that_it_has() -> None:
    with pytest.raises(DiskMoved, match=r"/vm/disk.qcow2 is no disk .* it has /vm/a, /vm/b"):
        now(of("/vm/a"), of("/vm/b"))


@pytest.mark.parametrize(("driver", "format"), [("raw", "raw"), ("throttle", None)])
def test_the_format_that_qemu_has_found_is_not_guessed_anew(
    driver: str, format: str | None
) -> None:
    unnamed = evolve(DISK, format=None)
    assert now(of("/vm/disk.qcow2", drv=driver), disk=unnamed)[0].format == format


# ------------------------------------------------------------------- a write that fails


class Broken:
    """Memory that takes nothing."""

    def __init__(self) -> None:
        self.asked: list[Piece] = []

    async def prepare(self, _qmp: object) -> None:
        pass

    async def write(self, pieces: Iterable[Piece]) -> None:
        self.asked += pieces
        raise QemuError("it takes nothing")


def asked() -> Asked:
    words = "-M virt -cpu cortex-a57 -m 1G -qmp unix:q,server=on,wait=off -drive"
    return read([*words.split(), f"file={DISK.image},format=qcow2"])


def test_memory_that_was_written_in_part_is_reset_and_the_guest_starts_as_loaded(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    same, line = tmp_path / "same", "round=2"
    same.write_bytes(b"same")
    real, memory, reported = Real([of(str(DISK.image))]), Broken(), list[Stimulus]()

    async def connect(*_arguments: object) -> Real:
        return real

    monkeypatch.setattr(Qmp, "connect", connect)
    monkeypatch.setattr(renewal, "GuestMemory", lambda _qemu: memory)
    monkeypatch.setattr(renewal, "disk_images", lambda *_: GuestImages(same, same, line))
    boot = BootFiles(b"blob", b"tree", same, same)
    monkeypatch.setattr(renewal, "boot_files", lambda *_: boot)
    qemu = cast(RunningQemu, type("Qemu", (), {"directory": tmp_path}))
    renews = Renewal(asked(), QEMU_VIRT, GuestImages(same, same, "round=1"), qemu, tmp_path)

    async def main() -> None:
        await renews.renew(reported.append)
        assert memory.asked == [Piece(virt.DTB_BASE, b"tree")]
        assert real.told[-1] == ("system_reset", None)
        (note,) = reported
        assert isinstance(note, Note)
        assert note.text.endswith("loaded at the start: it takes nothing")

        count = len(real.told)
        await renews.renew(reported.append)  # of that reset
        assert len(real.told) == count
        await renews.renew(reported.append)  # of the next
        assert len(memory.asked) == 2

    asyncio.run(main())
    assert list(tmp_path.iterdir()) == [same], "what was kept meanwhile is removed"
