"""Reading and setting the guest's CPUs, with a local directory in place of /sys."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import pytest

from hpcore.guest import linux
from hpcore.guest.errors import GuestError
from hpcore.guest.linux import LinuxGuest
from hpcore.guest.protocol import Masks
from hpcore.guest.shell import Shell
from tests.guest.consoles import local_shell

T = TypeVar("T")

MASKS = {"possible": "0-5", "present": "0-5", "enabled": "0-1", "online": "0", "offline": "1-5"}


@pytest.fixture
def cpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(linux, "CPU_DIRECTORY", str(tmp_path))
    for name, text in MASKS.items():
        (tmp_path / name).write_text(text + "\n")
    return tmp_path


def run(body: Callable[[LinuxGuest], Awaitable[T]]) -> T:
    async def main() -> T:
        async with local_shell() as console:
            guest = LinuxGuest(Shell(console))
            await guest.wait_ready(10)
            return await body(guest)

    return asyncio.run(main())


def test_all_masks_are_read(cpus: Path) -> None:
    masks = run(LinuxGuest.masks)
    assert masks == Masks(
        possible=frozenset(range(6)),
        present=frozenset(range(6)),
        enabled=frozenset({0, 1}),
        online=frozenset({0}),
        offline=frozenset({1, 2, 3, 4, 5}),
    )


def test_an_empty_mask_is_the_empty_set(cpus: Path) -> None:
    (cpus / "offline").write_text("\n")
    assert run(LinuxGuest.masks).offline == frozenset()


def test_a_kernel_without_the_enabled_mask_gives_none(cpus: Path) -> None:
    (cpus / "enabled").unlink()
    assert run(LinuxGuest.masks).enabled is None


def test_masks_that_are_not_there_are_named(cpus: Path) -> None:
    (cpus / "present").unlink()
    with pytest.raises(GuestError, match="no present in"):
        run(LinuxGuest.masks)


def test_a_mask_of_another_form_is_named(cpus: Path) -> None:
    (cpus / "online").write_text("all\n")
    with pytest.raises(GuestError, match=r"online is odd.*'all'"):
        run(LinuxGuest.masks)


def test_a_cpu_is_brought_up_and_taken_down(cpus: Path) -> None:
    file = cpus / "cpu3" / "online"
    file.parent.mkdir()
    run(lambda guest: guest.online(3))
    assert file.read_text() == "1\n"
    run(lambda guest: guest.offline(3))
    assert file.read_text() == "0\n"


def test_a_refusal_carries_the_guests_reason(cpus: Path) -> None:
    with pytest.raises(
        GuestError, match=r"can't write 1 to .*cpu9/online: .*(nonexistent|No such)"
    ) as refusal:
        run(lambda guest: guest.online(9))
    assert "sh: " not in str(refusal.value)  # nor who said it: shells have many names
