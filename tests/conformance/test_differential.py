"""Our hotplug registers and QEMU's own answer alike, whatever is asked of them."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator

import pytest
from hpcore_qtest.native.boards import LOONGARCH64_VIRT, Q35, NativeBoard
from hypothesis import given, settings
from hypothesis import strategies as some

from hpcore.platform import hotplug_registers
from hpcore.platform.hotplug_registers import HotplugRegisters, SlotRegisters
from tests.conformance import differential
from tests.conformance.differential import BOARDS, Differential, run
from tests.conformance.operations import BYTES, Add, Read, Remove, Reset, TakeEvents, Write, decode
from tests.conformance.qemu_host import QemuHost
from tests.conformance.sides import accepts
from tests.qtest.native import needs_hotplugging

pytestmark = needs_hotplugging

HYPOTHESIS_STEPS = 2_000
"""At least; how many it draws is its own choice."""
SECONDS = 8.0
FEWEST_STEPS = 500
"""Of each QEMU; it is some ten times as many in `SECONDS` on an idle machine."""


class Both:
    """A differential in an event loop of its own, for tests that have none."""

    def __init__(self, board: NativeBoard) -> None:
        self.runner = asyncio.Runner()
        self.differential = Differential(board)

    def compare(self, data: bytes) -> None:
        difference = self.runner.run(self.differential.compare(decode(data)))
        assert difference is None, str(difference)

    def close(self) -> None:
        self.runner.run(self.differential.close())
        self.runner.close()


@pytest.fixture(scope="module", params=BOARDS, ids=lambda board: str(board.name))
def both(request: pytest.FixtureRequest) -> Iterator[Both]:
    sides_ = Both(request.param)
    yield sides_
    sides_.close()


CASES = some.integers(1, 100).flatmap(
    lambda steps: some.binary(min_size=steps * BYTES, max_size=steps * BYTES)
)
"""By itself `binary` is a few bytes long nearly always, which is one operation."""


def test_no_case_that_hypothesis_finds_is_answered_otherwise(both: Both) -> None:
    @settings(max_examples=100)
    @given(CASES)
    def answered_alike(data: bytes) -> None:
        both.compare(data)

    while (before := both.differential.steps) < HYPOTHESIS_STEPS:
        answered_alike()
        assert both.differential.steps > before, "no operation was carried out"


def test_nothing_differs_in_a_short_run_on_both_machines(
    capsys: pytest.CaptureFixture[str],
) -> None:
    said: list[str] = []
    found = asyncio.run(run(BOARDS, SECONDS, seed=5, say=said.append, fewest=FEWEST_STEPS))
    with capsys.disabled():
        print("", *said, sep="\n")
    assert not found, "\n".join(map(str, found))
    assert [line.partition(":")[0] for line in said] == [board.name for board in BOARDS]


def test_every_kind_of_operation_and_every_width_is_drawn() -> None:
    drawn = decode(random.Random(0).randbytes(20_000))
    assert {type(operation) for operation in drawn} == {Read, Write, TakeEvents, Add, Remove, Reset}
    accesses = {(o.offset, o.size) for o in drawn if isinstance(o, Read | Write)}
    everywhere = {(o, s) for s in (1, 2, 4, 8) for o in range(hotplug_registers.LENGTH - s + 1)}
    assert accesses == everywhere
    assert not accepts(Q35, Read(0, 8))
    assert accepts(LOONGARCH64_VIRT, Read(0, 8))


@pytest.mark.parametrize("board", BOARDS, ids=lambda board: str(board.name))
def test_a_difference_is_found_and_shrunk_to_what_shows_it(
    board: NativeBoard, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fault planted in our block: an eject takes the event bits along, as QEMU's does not."""

    def store_flags(self: HotplugRegisters, index: int, value: int) -> None:
        stored(self, index, value)
        if not self.slots[index].enabled:
            self.slots[index] = SlotRegisters()

    stored = HotplugRegisters._store_flags
    monkeypatch.setattr(HotplugRegisters, "_store_flags", store_flags)
    monkeypatch.setattr(differential, "WORKERS", 1)
    (found,) = asyncio.run(run([board], 60.0, seed=1, say=lambda _line: None))
    assert Add in {type(operation) for operation in found.operations}
    assert len(found.operations) <= 8
    assert "QEMU:" in str(found)
    assert "ours:" in str(found)


def test_a_wrong_word_to_the_user_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(QemuHost, "ost_reported", lambda *_: None)
    monkeypatch.setattr(differential, "WORKERS", 1)
    (found,) = asyncio.run(run([Q35], 60.0, seed=1, say=lambda _line: None))
    assert found.at is None
    assert found.ours == ()
