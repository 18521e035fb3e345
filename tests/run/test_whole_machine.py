"""Commands on the whole of a live machine: reset, pause, resumption, migration, power off."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from hpcore.guest.errors import GuestError
from hpcore.model import events as ev
from hpcore.model.effects import MachineStep, Step
from hpcore.model.machines import Phase
from hpcore.run import CommandFailed, CommandRefused, Controller, LiveMachine
from hpcore.triage.replay import replay
from tests.run.live import on_paper, on_played
from tests.run.test_controller import SOON
from tests.support.paper import Behaviour


def test_a_device_may_be_named_migration(tmp_path: Path) -> None:
    async def script(m: LiveMachine) -> None:
        await m.plug("migration", core_id=2)
        with pytest.raises(CommandFailed, match="there is nowhere to go") as failed:
            await m.migrate()
        assert isinstance(failed.value.event, ev.MachineStepFailed)
        assert failed.value.event.step is MachineStep.MIGRATE
        await m.unplug("migration")

    on_played(script, tmp_path / "log")


def test_a_plug_that_failed_under_the_name_migration_fails_no_migration() -> None:
    async def script(m: LiveMachine, _c: Controller) -> None:
        with pytest.raises(CommandFailed):
            await m.plug("migration", core_id=2)
        await m.until(lambda s: not s.slots[2].busy, "the way back")
        await m.migrate()

    on_paper(Behaviour(fails={(Step.WIRE, 2)}), script)


def test_a_pause_of_what_is_paused_and_a_resumption_of_what_runs_change_nothing() -> None:
    async def script(m: LiveMachine, _c: Controller) -> None:
        await m.resume()
        running = m.last_seq
        await m.pause()
        assert m.state.shared.paused
        paused = m.last_seq
        await m.pause()
        assert (running, paused, m.last_seq) == (running, running + 2, running + 2)
        await m.resume()
        assert not m.state.shared.paused

    on_paper(Behaviour(), script)


def test_a_pause_that_is_given_twice_at_once_is_waited_for_twice() -> None:
    async def script(m: LiveMachine, _c: Controller) -> None:
        await asyncio.gather(m.pause(), m.pause())
        assert m.state.shared.paused
        await asyncio.gather(m.resume(), m.resume())
        assert not m.state.shared.paused

    on_paper(Behaviour(), script)


def test_a_reset_in_a_pause_starts_the_guest_when_it_is_resumed() -> None:
    async def script(m: LiveMachine, _c: Controller) -> None:
        await m.pause()
        await m.reset()
        await m.reset()
        assert m.state.shared.phase is Phase.RESETTING and m.state.shared.paused
        await m.resume()
        await m.until(lambda s: s.shared.phase is Phase.RUNNING, "the restart", SOON)

    on_paper(Behaviour(), script)


def test_a_reset_returns_when_the_guest_has_booted_again(tmp_path: Path) -> None:
    async def script(m: LiveMachine) -> None:
        await m.plug("core2", core_id=2)
        await m.guest.online(2)
        await m.reset()
        masks = await m.guest.masks()
        assert masks.enabled == frozenset({0, 1, 2})
        assert m.at_rest

    on_played(script, tmp_path / "log")


def test_the_guest_powers_the_machine_off(tmp_path: Path) -> None:
    async def script(m: LiveMachine) -> None:
        await m.power_off()
        assert await m.ended() == "the machine was powered off by the guest"
        with pytest.raises(CommandRefused, match="the machine is off"):
            await m.plug("core2", core_id=2)
        with pytest.raises(GuestError):
            await m.guest.online(1)

    on_played(script, tmp_path / "log")


def test_a_machine_that_is_off_is_reset_and_boots_when_it_is_resumed(tmp_path: Path) -> None:
    async def script(m: LiveMachine) -> None:
        await m.plug("core2", core_id=2)
        await m.power_off()
        with pytest.raises(CommandRefused, match="Resetting the Virtual Machine is required"):
            await m.resume()
        await m.pause()  # it stands still already
        await m.reset()
        assert m.state.shared.phase is Phase.RESETTING
        await m.resume()
        await m.guest_ready()
        assert (await m.guest.masks()).enabled == frozenset({0, 1, 2})
        assert m.why_ended() == "the machine has ended"
        await m.unplug("core2")

    on_played(script, tmp_path / "log")
    assert replay(tmp_path / "log").ok
