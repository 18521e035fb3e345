"""What all accelerators check alike before there is a machine."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from hpcore.guest.errors import GuestError
from hpcore.model.config import MachineConfig
from hpcore.platform import firmware
from hpcore.run import admission
from hpcore.run.accelerator import AcceleratorError, GuestImages, GuestScript

MACHINE = MachineConfig.of(cpus=1, maxcpus=2)


def test_a_machine_without_gicv3_is_refused_with_its_version() -> None:
    admission.need_gicv3("kvm", MACHINE)
    with pytest.raises(AcceleratorError, match=r"kvm needs a GICv3, .* has gic-version 2; use 3"):
        admission.need_gicv3("kvm", MachineConfig.of(cpus=1, maxcpus=2, gic_version=2))


def test_who_boots_a_guest_takes_no_script() -> None:
    images = GuestImages(Path("kernel"), Path("initrd"))
    assert admission.images_of("tcg", images) is images
    assert admission.images_of("tcg", None) is None
    with pytest.raises(AcceleratorError, match="tcg boots its guest: give it a kernel"):
        admission.images_of("tcg", GuestScript())


@pytest.mark.parametrize(
    ("first", "own", "line"),
    [("quiet", "nosmp", "quiet nosmp"), ("", "nosmp", "nosmp"), ("quiet", "", "quiet")],
)
def test_what_an_accelerator_appends_stands_before_what_the_guest_brings(
    monkeypatch: pytest.MonkeyPatch, first: str, own: str, line: str
) -> None:
    given: list[tuple[Any, ...]] = []
    monkeypatch.setattr("hpcore.guest.boot.prepare", lambda *all_of_it: given.append(all_of_it))
    images = GuestImages(Path("kernel"), Path("initrd"), append=own)
    asyncio.run(admission.prepare(MACHINE, firmware.QEMU_VIRT, images, first))
    assert given == [(MACHINE, firmware.QEMU_VIRT, Path("kernel"), Path("initrd"), line)]


def test_a_guest_that_cannot_boot_is_refused_in_its_words(monkeypatch: pytest.MonkeyPatch) -> None:
    def prepare(*_: object) -> None:
        raise GuestError("kernel: it is none")

    monkeypatch.setattr("hpcore.guest.boot.prepare", prepare)
    with pytest.raises(AcceleratorError, match=r"^kernel: it is none$"):
        asyncio.run(admission.prepare(
            MACHINE, firmware.QEMU_VIRT, GuestImages(Path("kernel"), Path("initrd"))
        ))  # fmt: skip


def test_without_a_guest_there_is_nothing_to_prepare() -> None:
    assert asyncio.run(admission.prepare(MACHINE, firmware.QEMU_VIRT, None)) is None
