"""A machine on qtest is saved in a file, and taken up again, the guest that is played with it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path

import attrs
import pytest
from hpcore_qtest.virt.saved import GUEST, HOTPLUG, MACHINE_TYPE, QEMU, SCRIPT, SLOTS

from hpcore.model.acpi import Notification, OstStatus
from hpcore.model.config import MachineConfig
from hpcore.model.effects import MachineStep
from hpcore.model.stimuli import CpuOnCalled
from hpcore.run.accelerator import AcceleratorError, Belongings, EffectError, GuestScript
from hpcore.run.commands import CommandFailed
from hpcore.run.discovery import find
from hpcore.run.open import open_machine
from hpcore.run.saving import Saved, load_saved, restore_machine
from hpcore.triage.replay import replay
from tests.qemu.support import needs_qemu
from tests.qtest.sessions import ALONE, rig
from tests.support.command import hpcore
from tests.support.saved import (
    Kept,
    goes_on_after_a_full_disk,
    goes_on_with_what_was_plugged,
)

pytestmark = needs_qemu

SECONDS = 60
CONFIG = MachineConfig.of(cpus=2, maxcpus=4, memory=256)


async def saved_of(script: GuestScript, directory: Path, *, paused: bool = False) -> Saved:
    """A machine with core2 plugged, saved."""
    file = directory / "vm.saved"
    async with open_machine(find("qtest"), CONFIG, script, log=directory / "a.jsonl") as machine:
        await machine.boot()
        await machine.plug("core2", core_id=2)
        if paused:
            await machine.pause()
        await machine.save(file)
        assert machine.state.shared.paused is paused
    return load_saved(file)


def test_two_machines_of_one_file_go_on_where_it_was_saved(tmp_path: Path) -> None:
    async def run() -> None:
        guest = GuestScript()
        await goes_on_with_what_was_plugged(find("qtest"), CONFIG, guest, tmp_path, clones=2)

    asyncio.run(asyncio.wait_for(run(), SECONDS))


def test_a_machine_that_is_paused_is_saved_and_its_guest_acts_once_it_goes_on(
    tmp_path: Path,
) -> None:
    async def run() -> None:
        saved = await saved_of(GuestScript(), tmp_path, paused=True)
        log = tmp_path / "b.jsonl"
        async with restore_machine(find("qtest"), saved, log=log) as machine:
            await machine.resume()
            await machine.unplug("core2")
        assert replay(log).ok

    asyncio.run(asyncio.wait_for(run(), SECONDS))


def test_a_guest_goes_on_with_the_answers_that_it_has_left(tmp_path: Path) -> None:
    failure = int(OstStatus.FAILURE)
    script = GuestScript(answers={Notification.EJECT_REQUEST: (failure, failure)})
    file = tmp_path / "vm.saved"

    async def run() -> None:
        found = find("qtest")
        async with open_machine(found, CONFIG, script, log=tmp_path / "a.jsonl") as machine:
            await machine.boot()
            await machine.plug("core2", core_id=2)
            with pytest.raises(CommandFailed):
                await machine.unplug("core2")
            await machine.save(file)
        async with restore_machine(found, load_saved(file), log=tmp_path / "b.jsonl") as machine:
            await machine.resume()
            with pytest.raises(CommandFailed):
                await machine.unplug("core2")
            await machine.unplug("core2")

    asyncio.run(asyncio.wait_for(run(), SECONDS))


def changed(saved: Saved, facts: Mapping[str, str], files: Mapping[str, bytes]) -> Saved:
    """`saved` with other facts, and other files; one that is empty is gone."""
    had = saved.file.belongings
    kept = {name: data for name, data in {**had.files, **files}.items() if data}
    belongings = Belongings({**had.facts, **facts}, kept)
    return attrs.evolve(saved, file=attrs.evolve(saved.file, belongings=belongings))


def test_what_does_not_fit_is_refused_with_words(tmp_path: Path) -> None:
    def holding(name: str, **content: object) -> dict[str, bytes]:
        return {f"{name}.json": json.dumps({"version": 1, "state": {}, **content}).encode()}

    async def run() -> None:
        saved = await saved_of(GuestScript(), tmp_path)
        cases: list[tuple[dict[str, str], dict[str, bytes], str]] = [
            ({QEMU: "9.9.9"}, {}, r"saved with qemu 9\.9\.9, and here it is"),
            ({MACHINE_TYPE: "virt-2.6-machine"}, {}, "saved with machine-type virt-2.6-machine"),
            ({}, {"slots.json": b""}, "has no section slots"),
            ({}, holding(HOTPLUG, version=7), r"hotplug has version 7, and .* reads version 1"),
            ({}, holding(SLOTS), "section slots does not have what belongs there"),
            ({}, holding(HOTPLUG, state={"block": 1}), "section hotplug does not have what"),
            ({}, holding(GUEST, state={"online": 7}), "section guest does not have what"),
            ({}, holding(SCRIPT, state={"kind": "bsd", "append": "", "answers": {}}),
             "there is no guest 'bsd' to play"),
        ]  # fmt: skip
        for facts, files, says in cases:
            log = tmp_path / "b.jsonl"
            with pytest.raises(AcceleratorError, match=says):
                async with restore_machine(
                    find("qtest"), changed(saved, facts, files), log=log
                ):
                    pass
            assert not log.exists()
        short = attrs.evolve(saved.file.stream, size=5_000)
        cut = attrs.evolve(saved, file=attrs.evolve(saved.file, stream=short))
        with pytest.raises(AcceleratorError, match="QEMU does not take the saved machine"):
            async with restore_machine(find("qtest"), cut, log=tmp_path / "b.jsonl"):
                pass

    asyncio.run(asyncio.wait_for(run(), SECONDS))


def test_a_disk_that_is_full_fails_the_save_and_the_machine_goes_on(tmp_path: Path) -> None:
    async def run() -> None:
        async with rig(script=ALONE) as r:
            await r.started(0)
            await goes_on_after_a_full_disk(r, tmp_path, 2, sizes=(0, 50_000))
            await r.machine_step(MachineStep.MIGRATE)
            assert r.stimuli == []

    asyncio.run(asyncio.wait_for(run(), SECONDS))


def test_a_guest_that_was_paused_in_the_middle_of_something_is_not_saved(tmp_path: Path) -> None:
    async def run() -> None:
        async with rig(script=GuestScript()) as r:
            await r.started(0)
            await r.heard(CpuOnCalled)  # which nobody answers
            await r.machine_step(MachineStep.PAUSE)
            with pytest.raises(EffectError, match="paused in the middle of something"):
                await r.session.save(Kept(tmp_path / "stream").keep)

    asyncio.run(asyncio.wait_for(run(), SECONDS))


def test_a_machine_is_saved_and_restored_from_the_command_line(tmp_path: Path) -> None:
    file = tmp_path / "vm.saved"
    (tmp_path / "mine.yaml").write_text(
        "machine: {cpus: 2, maxcpus: 4, memory: 256}\n"
        f"steps: [boot, plug: {{id: core2, core-id: 2}}, save-machine: {file}]\n"
    )
    (tmp_path / "after.yaml").write_text(
        "machine: {cpus: 2, maxcpus: 4, memory: 256}\n"
        "steps: [expect: {enabled: 0-2}, unplug: core2, migrate, reset]\n"
    )
    ran = hpcore("run", tmp_path / "mine.yaml", "--accel", "qtest", "--log", tmp_path / "a.jsonl")
    assert ran.code == 0, ran
    log = tmp_path / "b.jsonl"
    restored = hpcore("restore", file, tmp_path / "after.yaml", "--log", log)
    assert restored.code == 0, restored
    assert replay(log).ok
