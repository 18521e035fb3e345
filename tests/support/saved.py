"""Where tests save machines: a file for a session, and a whole course for a machine."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from hpcore.model.config import MachineConfig
from hpcore.model.rules import TEARDOWN
from hpcore.promises.rig import COLD_BUILD, SessionRig
from hpcore.run.accelerator import (
    Belongings,
    EffectError,
    GuestImages,
    GuestScript,
    Stream,
    Writes,
)
from hpcore.run.discovery import Found
from hpcore.run.open import open_machine
from hpcore.run.saving import Saved, load_saved, restore_machine
from hpcore.triage.replay import replay


class Kept:
    """Where a session's machine is saved: a file, and what the session gave beside."""

    def __init__(self, file: Path) -> None:
        self.file, self.belongings = file, Belongings({})
        self.full_after: int | None = None
        self._size = 0

    async def keep(self, belongings: Belongings) -> Writes:
        self.belongings, self._size = belongings, 0
        self.file.write_bytes(b"")
        return self

    def write(self, data: bytes | memoryview, /) -> object:
        self._size += len(data)
        if self.full_after is not None and self._size > self.full_after:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        with self.file.open("ab") as file:
            return file.write(data)

    @property
    def stream(self) -> Stream:
        return Stream(self.file, 0, self.file.stat().st_size)


async def goes_on_after_a_full_disk(
    rig: SessionRig[Any], directory: Path, slot: int, *, sizes: tuple[int, ...]
) -> None:
    """A disk that has room for `sizes` bytes fails a save in words; the next try works.

    After each the machine goes on: the vCPU of `slot` is plugged there, and unplugged.
    """
    kept = Kept(directory / "stream")
    for kept.full_after in sizes:
        with pytest.raises(EffectError, match="takes no more: No space left on device"):
            await rig.session.save(kept.keep)
        await rig.steps(slot, *COLD_BUILD)
        await rig.steps(slot, *TEARDOWN)
    await rig.session.save(Kept(directory / "more").keep)


async def goes_on_with_what_was_plugged(
    found: Found,
    config: MachineConfig,
    guest: GuestImages | GuestScript,
    directory: Path,
    *,
    clones: int,
) -> Saved:
    """A machine is saved, and goes on; `clones` are made of the file, the second one is reset."""
    file = directory / "vm.saved"
    async with open_machine(found, config, guest, log=directory / "a.jsonl") as machine:
        await machine.boot()
        await machine.plug("core2", core_id=2)
        await machine.guest.online(2)
        if found.capabilities.no_migration is None:
            await machine.migrate()
        await machine.save(file)
        assert (await machine.guest.masks()).online == {0, 1, 2}
        await machine.unplug("core2")
    saved = load_saved(file)
    for clone in range(clones):
        log = directory / f"{clone}.jsonl"
        async with restore_machine(found, saved, log=log) as machine:
            await machine.resume()
            assert (await machine.guest.masks()).online == {0, 1, 2}
            await machine.unplug("core2")
            await machine.plug("again", core_id=2)
            if clone == 1:
                await machine.reset()
                assert 2 in (await machine.guest.masks()).online
        assert replay(log).ok
    return saved
