"""A machine on tcg is saved in a file, and taken up again: the EL3 monitor is in QEMU's stream."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import attrs
import pytest
from hpcore_tcg import TcgAccelerator
from hpcore_tcg.belongings import EPOCH, MONITOR

from hpcore.model.effects import MachineStep, RaiseGed, Step
from hpcore.model.machines import GiccState, Phase, SlotState
from hpcore.model.rules import TEARDOWN
from hpcore.model.states import State, initial
from hpcore.model.stimuli import Lost, ResetSeen, Stimulus
from hpcore.promises.rig import COLD_BUILD
from hpcore.run.accelerator import AcceleratorError, GuestImages
from hpcore.run.discovery import find
from hpcore.run.saved_parts import KERNEL
from hpcore.run.saving import restore_machine
from hpcore.session.carrying import MACHINE_TYPE, QEMU
from tests.qemu.support import needs_qemu
from tests.support.guests import guest_or_skip
from tests.support.saved import (
    Kept,
    goes_on_after_a_full_disk,
    goes_on_with_what_was_plugged,
)
from tests.tcg.rig import TcgRig, config, session

pytestmark = needs_qemu

SECONDS = 60
CONFIG = config(2, 3)


def state_with(*wired: int) -> State:
    """What the log of a machine says whose slots `wired` are there, and which runs."""
    state = initial(CONFIG)
    for i in wired:
        state = state.with_slot(i, attrs.evolve(
            state.slots[i], lifecycle=SlotState.ENABLED, gicc=GiccState.WIRED, thread=True,
            space=True, enabled=True, created=True,
        ))  # fmt: skip
    return attrs.evolve(state, shared=attrs.evolve(state.shared, phase=Phase.RUNNING, gic_inits=1))


async def created(rig: TcgRig) -> None:
    await rig.machine_step(MachineStep.CREATE_VCPUS)
    await rig.machine_step(MachineStep.INIT_GIC)
    for slot in (0, 1):
        await rig.steps(slot, *COLD_BUILD)


@asynccontextmanager
async def restored(kept: Kept, changed: Mapping[str, str] = {}) -> AsyncIterator[TcgRig]:
    stimuli: list[Stimulus] = []
    belongings = attrs.evolve(kept.belongings, facts={**kept.belongings.facts, **(changed or {})})
    opened = await TcgAccelerator().restore(
        state_with(0, 1, 2), belongings, kept.stream, stimuli.append
    )
    async with TcgRig(opened, stimuli) as rig:
        yield rig


def test_two_machines_of_one_file_go_on_where_it_was_saved(tmp_path: Path) -> None:
    async def run() -> None:
        kept = Kept(tmp_path / "stream")
        async with session(2, 3) as rig:
            await created(rig)
            await rig.steps(2, *COLD_BUILD)
            await rig.session.save(kept.keep)
            await rig.steps(2, *TEARDOWN)  # the one that was saved goes on
            await rig.do(RaiseGed())
            assert rig.stimuli == []
        async with restored(kept) as one, restored(kept) as other:
            for rig in (one, other):
                await rig.machine_step(MachineStep.RESUME)
                await rig.steps(2, *TEARDOWN)  # which it knows to be enabled and wired
                await rig.steps(2, *COLD_BUILD)
            await one.machine_step(MachineStep.MIGRATE)
            await one.machine_step(MachineStep.RESET)
            await one.heard(ResetSeen())
            await one.machine_step(MachineStep.RESTART, (0, 1, 2))
            await one.steps(2, Step.DISABLE)
            await other.session.save(Kept(tmp_path / "again").keep)
            assert not any(isinstance(s, Lost) for s in (*one.stimuli, *other.stimuli))

    asyncio.run(asyncio.wait_for(run(), SECONDS))


def test_what_does_not_fit_is_refused_with_words(tmp_path: Path) -> None:
    async def run() -> None:
        kept = Kept(tmp_path / "stream")
        async with session(2, 3) as rig:
            await created(rig)
            await rig.session.save(kept.keep)
        for changed, says in (
            ({QEMU: "9.9.9"}, r"saved with qemu 9\.9\.9, and here it is"),
            ({MACHINE_TYPE: "virt-2.6-machine"}, "saved with machine-type virt-2.6-machine"),
            ({MONITOR: "0123"}, "saved with monitor 0123"),
            ({EPOCH: "many"}, "epoch is 'many', which is no number"),
        ):
            with pytest.raises(AcceleratorError, match=says):
                async with restored(kept, changed):
                    pass
        kept.file.write_bytes(kept.file.read_bytes()[:100_000])
        with pytest.raises(AcceleratorError, match="QEMU does not take the saved machine"):
            async with restored(kept):
                pass

    asyncio.run(asyncio.wait_for(run(), SECONDS))


def test_a_disk_that_is_full_fails_the_save_and_the_machine_goes_on(tmp_path: Path) -> None:
    async def run() -> None:
        async with session(2, 3) as rig:
            await created(rig)
            await goes_on_after_a_full_disk(rig, tmp_path, 2, sizes=(0, 50_000))
            assert rig.stimuli == []

    asyncio.run(asyncio.wait_for(run(), SECONDS))


def test_a_machine_that_is_paused_is_saved_and_stays_so(tmp_path: Path) -> None:
    async def run() -> None:
        async with session(2, 3) as rig:
            await created(rig)
            await rig.machine_step(MachineStep.PAUSE)
            kept = Kept(tmp_path / "stream")
            await rig.session.save(kept.keep)
            await rig.machine_step(MachineStep.RESUME)
            await rig.steps(2, *COLD_BUILD)

    asyncio.run(asyncio.wait_for(run(), SECONDS))


def test_a_linux_that_was_saved_goes_on_with_what_was_plugged(tmp_path: Path) -> None:
    guest = guest_or_skip()
    images = GuestImages(guest.kernel, guest.initramfs())

    async def run() -> None:
        found = find("tcg")
        saved = await goes_on_with_what_was_plugged(found, CONFIG, images, tmp_path, clones=1)
        (tmp_path / "other").write_bytes(b"another kernel")
        had = saved.file.belongings
        facts = {**had.facts, KERNEL: str(tmp_path / "other")}
        wrong = attrs.evolve(saved.file, belongings=attrs.evolve(had, facts=facts))
        with pytest.raises(AcceleratorError, match="other is not the one that the machine was"):
            async with restore_machine(
                found, attrs.evolve(saved, file=wrong), log=tmp_path / "d.jsonl"
            ):
                pass
        assert not (tmp_path / "d.jsonl").exists()

    asyncio.run(asyncio.wait_for(run(), 4 * SECONDS))
