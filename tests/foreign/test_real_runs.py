"""Traces of real QEMUs: each flaw of QEMU's own is found in its trace, and good runs are clean."""

from __future__ import annotations

import asyncio
import contextlib
from contextlib import AsyncExitStack
from pathlib import Path

import attrs
import pytest
from hpcore_qtest.native.block import Block
from hpcore_qtest.native.boards import Q35, NativeBoard
from hpcore_qtest.native.machine import device_id
from hpcore_qtest.qemu.machine import StoppedQemu

from hpcore.foreign import STOCK, Kind, import_files
from hpcore.platform.hotplug_registers import Store
from hpcore.qemu.errors import QemuError
from hpcore.qemu.fetch import find_hotplugging
from hpcore.qemu.find import X86_64
from hpcore.scenario import values as sc
from tests.foreign.real import PC, Scene, ost, play, plugged, traced, unplugged, verdict_on
from tests.qemu.support import needs_qemu
from tests.qtest.native import ACCELERATORS, needs_hotplugging
from tests.qtest.test_known_flaws import (
    BOARDS,
    CONFIG,
    ON_BOTH,
    Raw,
    controlled,
    plug,
    qemus_scan,
    raw,
)

pytestmark = [needs_qemu, needs_hotplugging]


# --------------------------------------------------------------- a good run is clean


@ON_BOTH
@pytest.mark.parametrize("times", [True, False], ids=["times", "no times"])
def test_a_good_run_comes_out_clean_and_its_flags_are_all_equal(
    accel: str, times: bool, tmp_path: Path
) -> None:
    play(BOARDS[accel], tmp_path / "trace", good_run, times=times)
    comes_out_clean(tmp_path)


def test_a_good_run_of_a_pc_with_a_piix4_comes_out_clean_too(tmp_path: Path) -> None:
    play(PC, tmp_path / "trace", good_run)
    comes_out_clean(tmp_path)


async def good_run(it: Raw) -> None:
    for _ in range(2):
        await plugged(it)
        await unplugged(it)
    await it.machine.qemu.reset()
    await plugged(it)
    for slot in range(3):
        await it.block.flags(slot)


def comes_out_clean(tmp_path: Path) -> None:
    done, verdict = verdict_on(tmp_path, tmp_path / "trace")
    assert verdict.ok and not verdict.wrong and verdict.looks_like is None
    assert done.flags_read > 10 and not done.flags_differ and not done.assumed
    told = " ".join(each.text for each in verdict.happened)
    assert told.count("is plugged as slot2") == 3
    assert told.count("DEVICE_DELETED") == 2
    assert not verdict.open and verdict.end is not None and verdict.end.name == "shutdown"


@ON_BOTH
def test_a_run_of_hpcores_own_comes_out_clean(
    accel: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    board = traced(BOARDS[accel], tmp_path / "trace")
    monkeypatch.setattr(ACCELERATORS[accel], "board", board)

    async def scene() -> None:
        async with controlled(accel) as (it, _events):
            for step in (plug(2), plug(3), sc.UnplugStep("core2"), sc.ResetStep(), plug(2)):
                await it.take(step)

    asyncio.run(scene())
    done, verdict = verdict_on(tmp_path, tmp_path / "trace")
    assert verdict.ok and not verdict.wrong
    assert done.flags_read > 50 and not done.flags_differ


# -------------------------------------------------- each flaw, its step and its name


async def removal_meets_insert(it: Raw) -> None:
    await it.machine.add(2)
    await it.machine.request_removal(2)
    await it.machine.board.events.take(it.machine.qemu.qtest)
    await qemus_scan(it)
    await it.block.flags(2)


async def stale_removal(it: Raw) -> None:
    await plugged(it)
    await it.machine.request_removal(2)
    await it.eject(2)  # the remove bit is left as it is
    await it.machine.add(2)
    await it.block.flags(2)


async def unasked_eject(it: Raw) -> None:
    await plugged(it)
    await it.eject(2)


async def cold_booted_eject(it: Raw) -> None:
    await it.eject(1)


async def events_over_reset(it: Raw) -> None:
    await plugged(it)
    await it.machine.request_removal(2)
    await it.machine.qemu.reset()
    await it.block.flags(2)


FLAWS: dict[str, tuple[Scene, str, str]] = {
    "removal_lost": (removal_meets_insert, "removal_not_shadowed", "handle_qmp_command"),
    "stale_removal": (stale_removal, "notified_only_enabled", "DEVICE_DELETED"),
    "unasked_eject": (unasked_eject, "eject_was_requested", "ejecting_cpu"),
    "cold_booted_ejected": (cold_booted_eject, "eject_not_cold_booted", "ejecting_cpu"),
    "events_kept_over_reset": (events_over_reset, "reset_keeps_plugged", '"RESET"'),
}
"""By the name of the bug: how it is made to happen, what it breaks, and what is on the line."""


@ON_BOTH
@pytest.mark.parametrize("name", FLAWS)
def test_the_first_wrong_step_and_its_bug_are_named(
    name: str, accel: str, tmp_path: Path
) -> None:
    is_named(BOARDS[accel], name, tmp_path)


@pytest.mark.parametrize("name", FLAWS)
def test_they_are_named_on_a_pc_with_a_piix4_too(name: str, tmp_path: Path) -> None:
    is_named(PC, name, tmp_path)


def is_named(board: NativeBoard, name: str, tmp_path: Path) -> None:
    scene, breaks, on_line = FLAWS[name]
    trace = tmp_path / "trace"
    play(board, trace, scene)
    done, verdict = verdict_on(tmp_path, trace)
    first = verdict.wrong[0]
    assert breaks in {mark.name for mark in first.marks if mark.wrong}
    assert first.place is not None and first.looks_like is not None
    assert on_line in trace.read_text().splitlines()[int(first.place.rpartition(":")[2]) - 1]
    assert first.looks_like.name == name
    assert verdict.looks_like is first.looks_like
    assert not done.flags_differ, "what QEMU did was followed"


@ON_BOTH
def test_an_abort_at_the_creation_after_maxcpus_is_named(accel: str, tmp_path: Path) -> None:
    small = attrs.evolve(BOARDS[accel], most=CONFIG.possible)

    async def scene(it: Raw) -> None:
        for _ in range(2):
            await plugged(it)
            await unplugged(it)
        with pytest.raises(QemuError, match="SIGABRT"):
            await it.machine.add(2)

    play(small, tmp_path / "trace", scene)
    _, verdict = verdict_on(tmp_path, tmp_path / "trace")
    assert not verdict.wrong and verdict.died and not verdict.ok
    assert verdict.end is not None and verdict.end.name == "silent"
    assert any("device_add" in text for text in verdict.open)
    assert any("(main)" in mark.text for mark in verdict.threads)
    assert verdict.looks_like is not None and verdict.looks_like.name == "creations_run_out"


def test_a_migration_that_never_ends_is_named(tmp_path: Path) -> None:
    small = attrs.evolve(Q35, most=CONFIG.possible)

    async def scene() -> None:
        async with raw(small) as it, AsyncExitStack() as stack:
            await it.machine.add(2)
            cpu = it.machine.slots[2]
            props = ",".join(f"{name}={value}" for name, value in cpu.props.items())

            async def destination(board_name: str) -> StoppedQemu:
                board = traced(Q35, tmp_path / board_name)
                arguments = board.arguments(CONFIG, CONFIG.possible)
                arguments += ["-device", f"{cpu.driver},id={device_id(2)},{props}"]
                qemu = find_hotplugging(X86_64)
                made = await StoppedQemu.start(qemu, arguments, incoming=True)
                stack.push_async_callback(made.close)
                return made

            first = await destination("first")
            await it.machine.qemu.move_to(first)
            there = Block(first.qtest, Q35, CONFIG.possible)
            await first.qmp.execute("device_del", {"id": device_id(2)})
            await there.visit(2, (Store.CLEAR_INSERT, Store.CLEAR_REMOVE, Store.EJECT))
            await ost(there, 2, 3, 0)
            again = {"driver": cpu.driver, "id": device_id(2), **cpu.props}
            await first.qmp.execute("device_add", again)
            second = await destination("second")
            with contextlib.suppress(QemuError):
                await first.move_to(second, seconds=1.5)

    asyncio.run(scene())
    _, verdict = verdict_on(tmp_path, tmp_path / "first")
    assert any("migrate" in text for text in verdict.open)
    assert not verdict.wrong
    assert verdict.looks_like is not None and verdict.looks_like.name == "migration_never_ends"


def test_the_same_trace_is_right_by_the_rules_of_a_stock_qemu_but_breaks_the_same(
    tmp_path: Path,
) -> None:
    play(Q35, tmp_path / "trace", removal_meets_insert)
    mine = import_files([str(tmp_path / "trace")], tmp_path / "a.jsonl")
    stock = import_files([str(tmp_path / "trace")], tmp_path / "b.jsonl", STOCK)
    assert (Kind.HABIT, "remove_waits_for_insert") in mine.marks
    assert not any(kind is Kind.HABIT for kind, _ in stock.marks)
    assert mine.wrong == stock.wrong > 0
