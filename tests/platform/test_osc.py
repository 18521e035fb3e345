r"""`_OSC` of `\_SB` and of the host bridge, run by ACPICA: what is granted, masked, refused."""

from __future__ import annotations

import struct
import uuid
from collections.abc import Sequence
from pathlib import Path

import pytest

from hpcore.platform.acpi.osc import PCI_HOST, PLATFORM, Capabilities, PciControl, Platform
from hpcore.platform.firmware import HPCORE_VIRT, QEMU_VIRT, Board, build
from tests.platform.acpiexec import evaluate
from tests.platform.machines import machine

PLACES = {PLATFORM: r"\_SB", PCI_HOST: r"\_SB.PCI0"}
BOTH = pytest.mark.parametrize("asked", list(PLACES), ids=list(PLACES.values()))
EVERYTHING = 0xFFFF_FFFF
QUERY = 1


def call(
    path: str, interface: uuid.UUID, revision: int, sent: Sequence[int], directory: Path,
    board: Board = QEMU_VIRT,
) -> tuple[int, ...]:  # fmt: skip
    """The DWORDs that `_OSC` of `path` returns for those that are sent."""
    form = f"<{len(sent)}I"
    returned = evaluate(
        build(machine(2), board).tables["DSDT"], directory,
        f"{path}._OSC ({interface.bytes_le.hex(' ')}) {revision} {len(sent)} "
        f"({struct.pack(form, *sent).hex(' ')})",
    ).buffer  # fmt: skip
    return struct.unpack(form, returned)


def answer(
    asked: Capabilities, wanted: int, directory: Path, *, status: int = 0, revision: int = 1,
    board: Board = QEMU_VIRT,
) -> tuple[int, int]:  # fmt: skip
    """The status and the capabilities that come back, where `wanted` is asked for."""
    between = [0x5A5A_5A5A] * (asked.dword - 1)
    first, *middle, last = call(
        PLACES[asked], asked.interface, revision, [status, *between, wanted], directory, board
    )
    assert middle == between
    return first, last


def test_the_platform_grants_what_vcpu_hotplug_is_made_of(tmp_path: Path) -> None:
    assert answer(PLATFORM, EVERYTHING, tmp_path) == (0x10, 1 << 3 | 1 << 11 | 1 << 23)


def test_the_platform_grants_the_same_on_every_board(tmp_path: Path) -> None:
    assert answer(PLATFORM, EVERYTHING, tmp_path, board=HPCORE_VIRT) == answer(
        PLATFORM, EVERYTHING, tmp_path
    )


def test_a_vcpu_whose_presence_changes_is_never_granted(tmp_path: Path) -> None:
    both = Platform.CPU_ENABLED_TOGGLES | Platform.CPU_PRESENT_TOGGLES
    assert both == 1 << 23 | 1 << 24
    assert answer(PLATFORM, both, tmp_path) == (0x10, 1 << 23)


def test_the_host_bridge_grants_what_qemu_grants(tmp_path: Path) -> None:
    assert answer(PCI_HOST, 0x1F, tmp_path) == (0, 0x1F)
    assert answer(PCI_HOST, EVERYTHING, tmp_path) == (0x10, 0x1F)


@BOTH
def test_nothing_is_granted_that_was_not_asked_for(asked: Capabilities, tmp_path: Path) -> None:
    assert answer(asked, 0, tmp_path) == (0, 0)
    one = {PLATFORM: Platform.INSERTION_EJECTION_OST, PCI_HOST: PciControl.NATIVE_HOTPLUG}[asked]
    assert answer(asked, one, tmp_path) == (0, one)


@BOTH
def test_a_query_is_answered_as_a_request_is(asked: Capabilities, tmp_path: Path) -> None:
    assert answer(asked, EVERYTHING, tmp_path, status=QUERY) == (0x10 | QUERY, asked.granted)
    assert answer(asked, asked.granted, tmp_path, status=QUERY) == (QUERY, asked.granted)


@BOTH
def test_an_unknown_interface_is_told_so_and_keeps_its_capabilities(
    asked: Capabilities, tmp_path: Path
) -> None:
    other = uuid.UUID(int=asked.interface.int ^ 1 << 120)
    sent = [0] * asked.dword + [EVERYTHING]
    assert call(PLACES[asked], other, 1, sent, tmp_path) == (0x04, *sent[1:])


@BOTH
@pytest.mark.parametrize("revision", [0, 2])
def test_an_unknown_revision_is_told_so_and_its_capabilities_masked(
    asked: Capabilities, revision: int, tmp_path: Path
) -> None:
    assert answer(asked, EVERYTHING, tmp_path, revision=revision) == (0x18, asked.granted)


@BOTH
def test_a_buffer_without_the_capabilities_is_a_failure(
    asked: Capabilities, tmp_path: Path
) -> None:
    sent = [0] * asked.dword
    assert call(PLACES[asked], asked.interface, 1, sent, tmp_path) == (0x02, *sent[1:])
