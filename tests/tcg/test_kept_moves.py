"""A machine that outlives hpcore moves, and hpcore dies at any moment of it: one QEMU has it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from hpcore_tcg import TcgAccelerator
from hpcore_tcg.kept import MOVES, KeptTcgSession

from hpcore.model.effects import MachineStep, RunMachineStep, RunStep
from hpcore.model.rules import TEARDOWN
from hpcore.promises.rig import COLD_BUILD
from hpcore.qemu.kept import KeptQemu
from hpcore.qemu.kept_directory import QemuDirectory
from hpcore.qemu.runtime_directory import is_held
from hpcore.run.accelerator import MachineGone
from tests.qemu.support import needs_qemu
from tests.tcg.dying import SLOTS, taken_up
from tests.tcg.rig import config, no_more

pytestmark = needs_qemu

SECONDS = 60
MOMENTS = 400
"""More than a move has."""
SOME = 6
"""`make test` tries one of so many; `make test-long` all."""


async def steps(session: KeptTcgSession, slot: int, *every: object) -> None:
    async with asyncio.timeout(SECONDS):
        for step in every:
            await session.execute(RunStep(step, slot))  # type: ignore[arg-type]


@asynccontextmanager
async def machine() -> AsyncIterator[tuple[Path, int]]:
    """The monitor alone, with all vCPUs wired and enabled: where it lives, and how far it was
    heard."""
    session = await TcgAccelerator().keep(config(2, SLOTS), None, lambda _stimulus: None)
    place = session.place
    try:
        for made in (MachineStep.CREATE_VCPUS, MachineStep.INIT_GIC):
            await session.execute(RunMachineStep(made))
        for slot in range(SLOTS):
            await steps(session, slot, *COLD_BUILD)
        heard = session.heard
        await session.leave()
        yield place, heard
    finally:
        await no_more(place)


def dies(place: Path, heard: int, how: str, way: str, at: int | str) -> str | int:
    """What the moment was, or how many there are."""
    ended = subprocess.run(
        [sys.executable, "-m", "tests.tcg.dying", str(place), str(heard), how, way, str(at)],
        capture_output=True, timeout=SECONDS, check=False,
    )  # fmt: skip
    said: str | int = json.loads(ended.stdout)
    assert (ended.returncode < 0) == isinstance(said, str), ended.stderr.decode()
    return said


async def looks(place: Path, heard: int) -> tuple[KeptTcgSession, bool]:
    """Take it up after a death: exactly one QEMU has it, and whether it has moved is told truly."""
    session, why = await taken_up(place, heard, moving=True)
    every = QemuDirectory.all_of(place)
    assert [(one.lives, one.may_have) for one in every] == [(True, True)]
    assert is_held(place)
    moved = every[0].number > heard >> MOVES
    assert moved == (why is None), why
    assert session.heard >> MOVES == every[0].number
    await steps(session, SLOTS - 1, *TEARDOWN)
    await steps(session, SLOTS - 1, *COLD_BUILD)
    return session, moved


async def is_killed(place: Path, number: int) -> None:
    """The QEMU of that number dies."""
    own = place / f"q{number}"
    qemu = await KeptQemu.attach(own, own / "qmp", place=place)
    os.kill(qemu.pid, signal.SIGKILL)
    await qemu.wait()


def test_where_the_other_qemu_dies_too_the_machine_is_where_it_was() -> None:
    async def run() -> None:
        async with machine() as (place, heard):
            at = "before execute migrate-continue of q0"
            assert await asyncio.to_thread(dies, place, heard, "move", "stopped", at) == at
            await is_killed(place, 1)
            session, moved = await looks(place, heard)
            assert not moved
            await session.leave()

    asyncio.run(run())


def test_where_the_other_qemu_had_the_machine_and_dies_too_the_machine_is_gone() -> None:
    """It may have gone on there: nobody knows, so that it does not go on where it was."""

    async def run() -> None:
        async with machine() as (place, heard):
            at = "before execute cont of q1"
            assert await asyncio.to_thread(dies, place, heard, "move", "stopped", at) == at
            await is_killed(place, 1)
            with pytest.raises(MachineGone, match="had moved to another QEMU, which has ended"):
                await taken_up(place, heard, moving=True)
            assert not any(one.lives for one in QemuDirectory.all_of(place))

    asyncio.run(run())


def test_where_the_first_qemu_dies_too_the_other_one_has_the_machine() -> None:
    async def run() -> None:
        async with machine() as (place, heard):
            at = "before execute cont of q1"
            assert await asyncio.to_thread(dies, place, heard, "move", "stopped", at) == at
            await is_killed(place, 0)
            session, moved = await looks(place, heard)
            assert moved
            await session.leave()

    asyncio.run(run())


either = pytest.mark.parametrize("way", ["stopped", "live"])
"""The monitor alone writes little, so that even a QEMU before 9.0 carries it live."""


def all_die(way: str, moments: range) -> tuple[list[str], list[str]]:
    """Moves that end at these moments, each taken up: those after which the machine had moved, and
    those after which it was where it was."""
    outcomes: list[tuple[str, bool]] = []

    async def run() -> None:
        async with machine() as (place, heard_first):
            heard = heard_first
            for at in moments:
                moment = await asyncio.to_thread(dies, place, heard, "move", way, at)
                if isinstance(moment, int):
                    return  # there are not so many
                # who attaches is killed, too
                await asyncio.to_thread(dies, place, heard, "attach", way, at % 17 + 1)
                session, moved = await looks(place, heard)
                outcomes.append((moment, moved))
                heard = session.heard
                await session.leave()

    asyncio.run(run())
    moved = [moment for moment, whether in outcomes if whether]
    return moved, [moment for moment, whether in outcomes if not whether]


@either
def test_a_death_amid_a_move_leaves_one_machine_that_is_told_of_truly(way: str) -> None:
    moved, stayed = all_die(way, range(1, MOMENTS, SOME))
    assert moved
    assert stayed


@pytest.mark.long
@either
def test_a_death_at_each_moment_of_a_move_leaves_one_machine_that_is_told_of_truly(
    way: str,
) -> None:
    moved, stayed = all_die(way, range(1, MOMENTS))
    assert len(moved) > 5
    assert len(stayed) > 20
