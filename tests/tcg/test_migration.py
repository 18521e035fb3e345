"""A machine that is carried from one QEMU to another: the EL3 monitor moves with all it has."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

import attrs
import pytest
from hpcore_tcg.build import ensure_monitor
from hpcore_tcg.elsewhere import live_on
from hpcore_tcg.machine import DEAF, TcgMachine

from hpcore.model.effects import MachineStep, RaiseGed, Step
from hpcore.model.rules import TEARDOWN
from hpcore.model.stimuli import Lost, ResetSeen
from hpcore.promises.rig import COLD_BUILD
from hpcore.qemu import find_qemu
from hpcore.qemu.errors import QemuError
from hpcore.qemu.migration import STANDING_STILL
from hpcore.qemu.qmp import OnEvent
from hpcore.run.accelerator import AcceleratorError, EffectError
from hpcore.session.elsewhere import LoadedFiles
from tests.qemu.support import needs_qemu
from tests.tcg.rig import TcgRig, config, session

pytestmark = needs_qemu

SECONDS = 60
SLOW = 256 << 10
"""Bytes a second: to carry the machine takes some ten seconds."""


def machine_of(rig: TcgRig) -> TcgMachine:
    """The QEMU that has the machine now."""
    found = rig.session._machine
    assert found is not None
    return found


async def created(rig: TcgRig) -> None:
    """The monitor alone, with vCPU 0 and 1 wired and enabled, as a boot has them."""
    await rig.machine_step(MachineStep.CREATE_VCPUS)
    await rig.machine_step(MachineStep.INIT_GIC)
    for slot in (0, 1):
        await rig.steps(slot, *COLD_BUILD)


async def plugs_and_unplugs(rig: TcgRig, slot: int) -> None:
    """The monitor does all that it does for a vCPU, and the second lock knows where it is."""
    await rig.steps(slot, *TEARDOWN)
    await rig.steps(slot, *COLD_BUILD)


def goes_wrong(rig: TcgRig, at: str, do: Callable[[TcgMachine, TcgMachine], None]) -> None:
    """Have `do` done when the source says `at` of its next migration, that one time."""
    elsewhere = rig.session._elsewhere
    assert elsewhere is not None
    here = machine_of(rig)
    begin, hear = elsewhere.begin, here.migration.hear

    async def begun() -> TcgMachine:
        there = await begin()

        def heard(status: str) -> None:
            if status == at:
                here.migration.hear = hear  # type: ignore[method-assign]
                do(here, there)
            hear(status)

        here.migration.hear = heard  # type: ignore[method-assign]
        return there

    rig.session._elsewhere = attrs.evolve(elsewhere, begin=begun)


def at_event(rig: TcgRig, name: str, do: Callable[[TcgMachine, TcgMachine], None]) -> None:
    """Have `do` done at the first event `name` of either side of the next migration."""
    elsewhere = rig.session._elsewhere
    assert elsewhere is not None
    here, done = machine_of(rig), list[str]()

    async def begin() -> TcgMachine:
        there = await elsewhere.begin()
        for machine in (here, there):
            machine.qmp._on_event = watched(machine, there)
        return there

    def watched(machine: TcgMachine, there: TcgMachine) -> OnEvent:
        hear = machine._qmp_event

        def heard(said: str, data: Mapping[str, object]) -> None:
            hear(said, data)
            if said == name and not done:
                done.append(said)
                do(here, there)

        return heard

    rig.session._elsewhere = attrs.evolve(elsewhere, begin=begin)


def begun_by(rig: TcgRig, begin: Callable[[], Awaitable[TcgMachine]]) -> None:
    elsewhere = rig.session._elsewhere
    assert elsewhere is not None
    rig.session._elsewhere = attrs.evolve(elsewhere, begin=begin)


def killed(_here: TcgMachine, there: TcgMachine) -> None:
    os.kill(there.process.pid, signal.SIGKILL)


def cancelled(task: asyncio.Task[None]) -> None:
    """At this very moment: a little later the move may be beyond being given up."""
    task.cancel()


def with_other_vcpus(rig: TcgRig) -> None:
    """The next QEMU to migrate to is made with two vCPUs more."""
    elsewhere = rig.session._elsewhere
    assert elsewhere is not None
    qemu, monitor = find_qemu(), ensure_monitor()

    async def begin() -> TcgMachine:
        return await TcgMachine.start(config(2, 5), None, qemu, monitor, DEAF, incoming=True)

    begun_by(rig, begin)


either = pytest.mark.parametrize("live", [False, True], ids=["stopped", "live"])
"""The monitor alone writes little, so that even a QEMU before 9.0 carries it live."""


def to_be_carried(rig: TcgRig, *, live: bool) -> None:
    """The next moves are of a guest that stands still, or of one that runs."""
    elsewhere = rig.session._elsewhere
    assert elsewhere is not None
    rig.session._elsewhere = attrs.evolve(elsewhere, live=live)


@either
def test_it_is_carried_again_and_again_and_every_slot_stays_what_it_was(live: bool) -> None:
    async def run() -> None:
        async with session(2, 3) as rig:
            to_be_carried(rig, live=live)
            await created(rig)
            await rig.steps(2, *COLD_BUILD)
            for _ in range(2):
                before = rig.session.process_id
                assert before is not None
                await rig.machine_step(MachineStep.MIGRATE)
                with pytest.raises(ProcessLookupError):
                    os.kill(before, 0)
                await plugs_and_unplugs(rig, 2)
                await rig.do(RaiseGed())
            assert rig.stimuli == []

    asyncio.run(asyncio.wait_for(run(), SECONDS))


def test_one_that_is_paused_is_carried_and_stands_still_until_it_is_resumed() -> None:
    async def run() -> None:
        async with session(2, 3) as rig:
            await created(rig)
            await rig.machine_step(MachineStep.PAUSE)
            await rig.machine_step(MachineStep.MIGRATE)
            state = await machine_of(rig).qmp.execute("query-status")
            assert isinstance(state, dict)
            assert state["status"] in STANDING_STILL
            await rig.machine_step(MachineStep.RESUME)
            await rig.steps(2, *COLD_BUILD)

    asyncio.run(asyncio.wait_for(run(), SECONDS))


def test_a_reset_after_a_move_keeps_what_is_plugged() -> None:
    async def run() -> None:
        async with session(2, 3) as rig:
            await created(rig)
            await rig.steps(2, *COLD_BUILD)
            await rig.machine_step(MachineStep.MIGRATE)
            await rig.machine_step(MachineStep.RESET)
            await rig.heard(ResetSeen())
            await rig.machine_step(MachineStep.RESTART, (0, 1, 2))
            await rig.steps(2, Step.DISABLE, Step.UNWIRE)

    asyncio.run(asyncio.wait_for(run(), SECONDS))


@either
@pytest.mark.parametrize("status", ["setup", "active", "pre-switchover", "completed"])
def test_where_the_other_qemu_dies_the_machine_goes_on_and_the_next_try_works(
    status: str, live: bool
) -> None:
    async def run() -> None:
        async with session(2, 3) as rig:
            to_be_carried(rig, live=live)
            await created(rig)
            before, elsewhere = rig.session.process_id, rig.session._elsewhere
            if live and status == "pre-switchover":
                at_event(rig, "STOP", killed)
            else:
                goes_wrong(rig, status, killed)
            with pytest.raises(EffectError, match="it ended with signal SIGKILL"):
                await rig.machine_step(MachineStep.MIGRATE)
            assert rig.session.process_id == before
            await rig.steps(2, *COLD_BUILD)
            rig.session._elsewhere = elsewhere
            await rig.machine_step(MachineStep.MIGRATE)
            await plugs_and_unplugs(rig, 2)
            assert not any(isinstance(s, Lost) for s in rig.stimuli)

    asyncio.run(asyncio.wait_for(run(), SECONDS))


@pytest.mark.parametrize(("live", "status"), [(False, "pre-switchover"), (True, "active")])
def test_a_move_that_is_given_up_leaves_the_machine_as_it_was(
    live: bool, status: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def run() -> None:
        async with session(2, 3) as rig:
            to_be_carried(rig, live=live)
            await created(rig)
            before, elsewhere = rig.session.process_id, rig.session._elsewhere
            moving = asyncio.create_task(rig.machine_step(MachineStep.MIGRATE))
            goes_wrong(rig, status, lambda _here, _there: cancelled(moving))
            with monkeypatch.context() as patched:
                if live:  # so that it is not over before anybody has heard of it
                    patched.setattr("hpcore.qemu.migration.BANDWIDTH", SLOW)
                with pytest.raises(asyncio.CancelledError):
                    await moving
            assert rig.session.process_id == before
            rig.session._elsewhere = elsewhere
            await rig.steps(2, *COLD_BUILD)
            await rig.machine_step(MachineStep.MIGRATE)

    asyncio.run(asyncio.wait_for(run(), SECONDS))


def test_a_move_that_is_given_up_once_the_other_qemu_has_gone_on_is_done() -> None:
    async def run() -> None:
        async with session(2, 3) as rig:
            to_be_carried(rig, live=True)
            await created(rig)
            before = rig.session.process_id
            moving = asyncio.create_task(rig.machine_step(MachineStep.MIGRATE))
            at_event(rig, "RESUME", lambda _here, _there: cancelled(moving))
            await moving
            assert rig.session.process_id != before
            state = await machine_of(rig).qmp.execute("query-status")
            assert isinstance(state, dict)
            assert state["status"] == "running"
            await rig.steps(2, *COLD_BUILD)

    asyncio.run(asyncio.wait_for(run(), SECONDS))


def test_a_move_that_is_given_up_at_the_switch_leaves_one_machine_that_runs() -> None:
    async def run() -> None:
        async with session(2, 3) as rig:
            to_be_carried(rig, live=True)
            await created(rig)
            moving = asyncio.create_task(rig.machine_step(MachineStep.MIGRATE))
            at_event(rig, "STOP", lambda _here, _there: cancelled(moving))
            with contextlib.suppress(asyncio.CancelledError):
                await moving
            await rig.steps(2, *COLD_BUILD)
            await plugs_and_unplugs(rig, 2)

    asyncio.run(asyncio.wait_for(run(), SECONDS))


@either
def test_a_reset_meanwhile_ends_the_move_and_not_the_machine(live: bool) -> None:
    async def run() -> None:
        async with session(2, 3) as rig:
            to_be_carried(rig, live=live)
            await created(rig)
            goes_wrong(rig, "setup", lambda here, _there: here.migration.interrupt("a reset"))
            with pytest.raises(EffectError, match="given up: a reset"):
                await rig.machine_step(MachineStep.MIGRATE)
            await rig.steps(2, *COLD_BUILD)

    asyncio.run(asyncio.wait_for(run(), SECONDS))


def test_a_reset_just_before_the_switch_is_told_after_the_move() -> None:
    async def run() -> None:
        async with session(2, 3) as rig:
            to_be_carried(rig, live=True)
            await created(rig)
            before, heard = rig.session.process_id, list[asyncio.Task[None]]()

            def reset(_here: TcgMachine, _there: TcgMachine) -> None:
                heard.append(asyncio.create_task(rig.session._was_reset()))

            at_event(rig, "RESUME", reset)
            await rig.machine_step(MachineStep.MIGRATE)
            assert rig.session.process_id != before
            assert rig.stimuli == []
            await rig.heard(ResetSeen())
            await asyncio.gather(*heard)

    asyncio.run(asyncio.wait_for(run(), SECONDS))


def test_a_qemu_with_another_machine_is_refused_and_the_machine_goes_on() -> None:
    async def run() -> None:
        async with session(2, 3) as rig:
            await created(rig)
            with_other_vcpus(rig)
            with pytest.raises(EffectError, match="the other QEMU: it ended"):
                await rig.machine_step(MachineStep.MIGRATE)
            await rig.steps(2, *COLD_BUILD)

    asyncio.run(asyncio.wait_for(run(), SECONDS))


def test_a_qemu_that_does_not_start_is_said_to_be_the_cause() -> None:
    async def run() -> None:
        async with session(2, 3) as rig:
            await created(rig)

            async def none() -> TcgMachine:
                raise QemuError("no room for it")

            begun_by(rig, none)
            with pytest.raises(EffectError, match="did not start: no room for it"):
                await rig.machine_step(MachineStep.MIGRATE)
            await rig.steps(2, *COLD_BUILD)

    asyncio.run(asyncio.wait_for(run(), SECONDS))


def test_a_qemu_that_dies_under_a_move_loses_the_machine() -> None:
    async def run() -> None:
        async with session(2, 3) as rig:
            await created(rig)
            goes_wrong(
                rig, "active", lambda here, _there: os.kill(here.process.pid, signal.SIGKILL)
            )
            with pytest.raises(AcceleratorError, match="QEMU"):
                await rig.machine_step(MachineStep.MIGRATE)

    asyncio.run(asyncio.wait_for(run(), SECONDS))


def test_a_file_that_has_changed_since_is_said_before_anything_is_done(tmp_path: Path) -> None:
    kernel = tmp_path / "Image"
    kernel.write_bytes(b"as it was")
    files = LoadedFiles.of([kernel])
    files.require_unchanged()
    kernel.write_bytes(b"as it is now")
    with pytest.raises(QemuError, match=r"Image has changed since the machine was made"):
        files.require_unchanged()
    kernel.unlink()
    with pytest.raises(QemuError, match=r"Image cannot be read: No such file"):
        files.require_unchanged()


def test_a_guest_stands_still_on_a_qemu_that_does_not_tell_migration_what_it_writes() -> None:
    assert [live_on(version) for version in ("7.2.22", "8.2.0", "9.0.0", "10.0.2")] == [
        False, False, True, True,
    ]  # fmt: skip
