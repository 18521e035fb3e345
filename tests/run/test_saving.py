"""A machine that is saved and taken up again, and a carrying of its state that is given up."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import subprocess
import tarfile
from collections.abc import Callable
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Any

import attrs
import pytest

from hpcore.log import LogExists, Rotation
from hpcore.log.segments import LEAST_SIZE
from hpcore.model.config import MachineConfig
from hpcore.model.effects import Effect, MachineStep, RunMachineStep
from hpcore.model.machines import Phase, SlotState
from hpcore.model.revision import Change, Revision
from hpcore.model.rules import Rules, Trait
from hpcore.model.states import State, initial
from hpcore.run import saved_file
from hpcore.run.accelerator import (
    AcceleratorError,
    Belongings,
    Capabilities,
    EffectError,
    GuestImages,
    GuestScript,
    Keep,
    Report,
    Session,
    Stream,
)
from hpcore.run.commands import CommandFailed
from hpcore.run.controller import Controller
from hpcore.run.deadlines import Patience
from hpcore.run.discovery import Found
from hpcore.run.errors import RunError
from hpcore.run.machine import LiveMachine
from hpcore.run.open import open_machine
from hpcore.run.saved_file import SavedFileError, SavedFileWriter, read_saved
from hpcore.run.saving import load_saved, restore_machine
from hpcore.triage.replay import replay
from tests.support.logs import ListLog
from tests.support.paper import Behaviour, PaperAccelerator, PaperSession

CONFIG = MachineConfig.of(cpus=2, maxcpus=4)
BELONGINGS = Belongings({"qemu": "7.2"}, {"blob": b"\1\2\3"})
STREAM = bytes(range(256)) * 700
QUICK = Patience(guest=0.4, step=0.4, machine=0.4)
SOON = 15.0


class SavablePaperSession(PaperSession):
    """Writes a stream that is known; `fails` says what goes wrong before that."""

    fails: Exception | None = None

    async def save(self, keep: Keep) -> None:
        file = await keep(BELONGINGS)
        if self.fails is not None:
            raise self.fails
        file.write(STREAM[:1000])
        file.write(memoryview(STREAM)[1000:])

    def stands(self) -> None:
        """As a machine is that was restored."""
        self._gate.created()
        self._gate.open()
        self._gate.pause()


class SavablePaper(PaperAccelerator):
    """An accelerator on paper whose machines can be saved."""

    restored: tuple[State, Belongings, bytes] | None = None
    session: SavablePaperSession
    traits: tuple[AbstractSet[Trait], ...] = ()
    """Of the protocols that it was asked for, one after the other."""

    def by(self, rules: Rules) -> SavablePaper:
        self.traits += (rules.traits,)
        return self

    async def open(
        self, machine: MachineConfig, _guest: GuestImages | GuestScript | None, report: Report
    ) -> SavablePaperSession:
        self.session = SavablePaperSession(Behaviour(), machine.possible, report)
        return self.session

    async def restore(
        self, state: State, belongings: Belongings, stream: Stream, report: Report
    ) -> Session:
        data = stream.file.read_bytes()[stream.offset :][: stream.size]
        self.restored = state, belongings, data
        session = SavablePaperSession(Behaviour(), state.config.possible, report)
        session.stands()
        return session


def found(accelerator: Any) -> Found:
    return Found("paper", "tests", accelerator, Capabilities(no_save=None))


def names_in(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


async def saved_at(tmp_path: Path, accelerator: SavablePaper) -> Path:
    """A file with a machine in which core2 is plugged."""
    file = tmp_path / "vm.saved"
    async with open_machine(found(accelerator), CONFIG, log=tmp_path / "a.jsonl") as machine:
        await machine.start()
        await machine.plug("core2", core_id=2)
        await machine.save(file)
        await machine.unplug("core2")
    return file


def test_what_was_saved_is_taken_up_again_and_its_log_goes_on(tmp_path: Path) -> None:
    async def main() -> None:
        accelerator = SavablePaper(Behaviour())
        file = await saved_at(tmp_path, accelerator)
        for name in ("b", "c"):  # two machines of one file
            log = tmp_path / f"{name}.jsonl"
            saved = load_saved(file)
            async with restore_machine(found(accelerator), saved, log=log, shell=False) as machine:
                assert accelerator.restored is not None
                state, belongings, stream = accelerator.restored
                assert (belongings, stream) == (BELONGINGS, STREAM)
                assert state.slots == machine.state.slots
                assert machine.state.shared.paused
                assert machine.slot("core2").state is SlotState.ENABLED
                await machine.resume()
                await machine.unplug("core2")
            verdict = replay(log)
            assert verdict.ok
            assert verdict.events == machine.last_seq

    asyncio.run(asyncio.wait_for(main(), 4 * SOON))


def test_a_saved_machine_is_an_archive_that_its_own_tools_read(tmp_path: Path) -> None:
    file = asyncio.run(saved_at(tmp_path, SavablePaper(Behaviour())))
    with tarfile.open(file) as archive:
        names = archive.getnames()
        archive.extractall(tmp_path / "out", filter="data")
    assert names == ["machine.json", "log.jsonl", "files/blob", "stream", "SHA256SUMS"]
    checked = subprocess.run(
        ["sha256sum", "-c", "SHA256SUMS"], cwd=tmp_path / "out", capture_output=True, check=False
    )
    assert checked.returncode == 0, checked
    assert (tmp_path / "out" / "stream").read_bytes() == STREAM


def test_a_machine_goes_on_by_the_rules_that_it_was_saved_under(tmp_path: Path) -> None:
    async def main() -> None:
        accelerator = SavablePaper()
        mine = Revision("mine", protocol=Change(has=(Trait.NO_FORCE,)))
        async with open_machine(
            found(accelerator), CONFIG, log=tmp_path / "a.jsonl", protocol=mine
        ) as machine:
            await machine.start()
            await machine.save(tmp_path / "vm.saved")
        saved = load_saved(tmp_path / "vm.saved")
        log = tmp_path / "b.jsonl"
        async with restore_machine(found(accelerator), saved, log=log, shell=False) as machine:
            assert machine._c.protocol.name == "mine"
        assert accelerator.traits == ({Trait.NO_FORCE}, {Trait.NO_FORCE}), "it is told both times"

    asyncio.run(asyncio.wait_for(main(), SOON))


def test_a_log_in_segments_goes_on_with_the_last_of_them(tmp_path: Path) -> None:
    async def main() -> None:
        accelerator = SavablePaper(Behaviour())
        rotation = Rotation(LEAST_SIZE, keep=1)
        async with open_machine(
            found(accelerator), CONFIG, log=tmp_path / "a.jsonl", rotation=rotation
        ) as machine:
            await machine.start()
            for _ in range(4):
                await machine.plug("core2", core_id=2)
                await machine.unplug("core2")
            await machine.plug("core3", core_id=3)
            await machine.save(tmp_path / "vm.saved")
        saved = load_saved(tmp_path / "vm.saved")
        assert saved.header.number > 1
        log = tmp_path / "b.jsonl"
        async with restore_machine(found(accelerator), saved, log=log, shell=False) as machine:
            await machine.resume()
            await machine.unplug("core3")
        verdict = replay(log)
        assert verdict.ok
        assert verdict.state.slots[3].lifecycle is SlotState.PARKED

    asyncio.run(asyncio.wait_for(main(), 2 * SOON))


def test_a_log_that_is_there_is_not_overwritten_by_a_restored_machine(tmp_path: Path) -> None:
    async def main() -> None:
        accelerator = SavablePaper(Behaviour())
        saved = load_saved(await saved_at(tmp_path, accelerator))
        before = (tmp_path / "a.jsonl").read_bytes()
        with pytest.raises(LogExists):
            async with restore_machine(found(accelerator), saved, log=tmp_path / "a.jsonl"):
                pass
        assert (tmp_path / "a.jsonl").read_bytes() == before

    asyncio.run(asyncio.wait_for(main(), SOON))


def test_a_machine_is_restored_by_the_accelerator_that_saved_it_alone(tmp_path: Path) -> None:
    async def main() -> None:
        accelerator = SavablePaper(Behaviour())
        saved = load_saved(await saved_at(tmp_path, accelerator))
        other = attrs.evolve(found(accelerator), name="other")
        with pytest.raises(AcceleratorError, match="was saved on 'paper', and is restored there"):
            async with restore_machine(other, saved, log=tmp_path / "b.jsonl"):
                pass

    asyncio.run(asyncio.wait_for(main(), SOON))


def test_where_the_disk_is_full_nothing_is_left_and_the_machine_goes_on(tmp_path: Path) -> None:
    async def main() -> None:
        accelerator = SavablePaper(Behaviour())
        async with open_machine(found(accelerator), CONFIG, log=tmp_path / "a.jsonl") as machine:
            await machine.start()
            (tmp_path / "vm.saved").write_text("what was there before")
            accelerator.session.fails = EffectError("the file takes no more: No space left")
            with pytest.raises(CommandFailed, match="No space left"):
                await machine.save(tmp_path / "vm.saved")
            assert names_in(tmp_path) == ["a.jsonl", "vm.saved"]
            assert (tmp_path / "vm.saved").read_text() == "what was there before"
            await machine.plug("core2", core_id=2)
            accelerator.session.fails = None
            await machine.save(tmp_path / "vm.saved")  # the next try works
        assert load_saved(tmp_path / "vm.saved").state.slots[2].enabled

    asyncio.run(asyncio.wait_for(main(), 2 * SOON))


def test_a_place_where_nothing_can_be_written_is_said(tmp_path: Path) -> None:
    async def main() -> None:
        accelerator = SavablePaper(Behaviour())
        async with open_machine(found(accelerator), CONFIG, log=tmp_path / "a.jsonl") as machine:
            await machine.start()
            with pytest.raises(CommandFailed, match=r"nowhere/vm: No such file or directory"):
                await machine.save(tmp_path / "nowhere" / "vm")

    asyncio.run(asyncio.wait_for(main(), SOON))


def test_an_accelerator_that_saves_nothing_fails_the_save_and_not_the_machine(
    tmp_path: Path,
) -> None:
    async def main() -> None:
        paper = PaperAccelerator(Behaviour())
        async with open_machine(found(paper), CONFIG, log=tmp_path / "a.jsonl") as machine:
            await machine.start()
            with pytest.raises(CommandFailed, match="cannot be saved on paper"):
                await machine.save(tmp_path / "vm.saved")
            await machine.plug("core2", core_id=2)

    asyncio.run(asyncio.wait_for(main(), SOON))


# ---------------------------------------------------------------------- the file


def written(path: Path) -> Path:
    writer = SavedFileWriter(path)
    writer.begin("paper", BELONGINGS, b"a log").write(STREAM)
    writer.finish()
    return path


def test_a_file_says_again_what_was_written(tmp_path: Path) -> None:
    saved = read_saved(written(tmp_path / "vm"))
    assert (saved.accelerator, saved.belongings, saved.log) == ("paper", BELONGINGS, b"a log")
    assert saved.stream.size == len(STREAM)


def test_a_file_that_was_cut_short_anywhere_is_refused(tmp_path: Path) -> None:
    whole = written(tmp_path / "vm").read_bytes()
    used = len(whole) - 1024  # two blocks of zeros end an archive
    for size in (0, 1, 511, 512, 700, used // 2, used - 600, used - 1):
        (tmp_path / "cut").write_bytes(whole[:size])
        with pytest.raises(SavedFileError, match=r"no saved machine, or was cut short|is damaged"):
            read_saved(tmp_path / "cut")


def test_a_byte_that_has_changed_anywhere_is_found(tmp_path: Path) -> None:
    whole = written(tmp_path / "vm").read_bytes()
    for at in range(0, len(whole) - 1024, 1111):
        changed = bytearray(whole)
        changed[at] ^= 0x55
        (tmp_path / "changed").write_bytes(changed)
        try:
            again = read_saved(tmp_path / "changed")
        except SavedFileError:
            continue
        # what fills a block up, or an archive's own words on a file's date, is nobody's
        assert again == attrs.evolve(
            read_saved(tmp_path / "vm"), path=again.path, stream=again.stream
        )


def test_a_file_of_another_format_is_refused_with_who_wrote_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(saved_file, "VERSION", 2)
    file = written(tmp_path / "vm")
    monkeypatch.undo()
    with pytest.raises(SavedFileError, match=r"format 2, written by hpcore .*; this hpcore"):
        read_saved(file)


def test_a_write_that_fails_says_why_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_fd: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    writer = SavedFileWriter(tmp_path / "vm")
    writer.begin("paper", BELONGINGS, b"a log").write(STREAM)
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(SavedFileError, match=r"not saved in .*vm: No space left on device"):
        writer.finish()
    writer.discard()
    assert names_in(tmp_path) == []


def test_a_file_whose_log_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SavedFileError, match="its log"):
        load_saved(written(tmp_path / "vm"))


# ---------------------------------------------------------- what takes too long


def given_up(session: Callable[[Report], PaperSession]) -> tuple[str, Phase]:
    """What a migration that never ends ends with, and where the machine is then."""

    async def main() -> tuple[str, Phase]:
        async def open_(report: Report) -> PaperSession:
            return session(report)

        controller = Controller(initial(CONFIG), ListLog, open_, QUICK)
        machine = LiveMachine(controller)
        async with controller:
            await machine.start()
            with pytest.raises(RunError) as failed:
                await machine.migrate()
            phase = machine.state.shared.phase
            if phase is Phase.RUNNING:
                await machine.plug("core2", core_id=2)
            return str(failed.value), phase

    return asyncio.run(asyncio.wait_for(main(), SOON))


def test_a_migration_that_takes_too_long_is_given_up_and_the_machine_goes_on() -> None:
    behaviour = Behaviour(deaf_to={MachineStep.MIGRATE})
    said, phase = given_up(lambda r: PaperSession(behaviour, CONFIG.possible, r))
    assert (said, phase) == ("it did not end in 0.4 s", Phase.RUNNING)


class Stubborn(PaperSession):
    """Does not give a migration up when it shall, and goes on with it."""

    async def execute(self, effect: Effect) -> int | None:
        if isinstance(effect, RunMachineStep) and effect.step is MachineStep.MIGRATE:
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(SOON)
            await asyncio.sleep(SOON)
        return await super().execute(effect)


def test_a_session_that_does_not_give_it_up_either_has_lost_the_machine() -> None:
    said, phase = given_up(lambda r: Stubborn(Behaviour(), CONFIG.possible, r))
    assert (said, phase) == ("the accelerator did not end migrate in 0.4 s", Phase.FAILED)
