"""Which QEMU has a machine that outlives hpcore, where hpcore was killed while it moved.

Two may have it then, and nobody but they know which (hpcore.qemu.kept_directory). Why the answer is
one, and the same to whoever asks again:
- The other QEMU is told `stop` first. It has the whole machine, and stands still; or it waits for
  the machine, and won't go on by itself any more once that has come. Only an hpcore lets it.
- Where it waits, it is given up, then ended, and then the first one is taken up: whoever finds one
  QEMU alone has it give up its migration first, which may be that one.
- Where it has the machine, the first one has sent all of it, and stands still: QEMU sends the last
  of a machine that stands still alone. Once the first one has said `completed` it is given up, then
  ended.
- Where the other one has ended by itself, the first one has the machine unless it had been told
  that the other has it: then the guest may have run there, and the machine is gone.

specs/kept_moving.pml has every order of moves and deaths, also of whoever asks.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from hpcore.qemu.errors import QemuError
from hpcore.qemu.kept import KeptQemu, QemuGone, require_ours
from hpcore.qemu.kept_directory import QemuDirectory
from hpcore.qemu.migration import give_up, over, run_state
from hpcore.qemu.qmp import Qmp

WAITS = "inmigrate"
"""QEMU's word for one that waits for its machine, or has a part of it."""
MOST = 2
"""QEMUs that may have a machine: it moves from one to one."""
HAS_SENT = "postmigrate"
"""For one that has sent its machine, and was not told to go on with it."""

QmpOf = Callable[[Path], Path]
"""The QMP socket of the QEMU that lives in a directory."""


async def who_has(place: Path, qmp_of: QmpOf) -> KeptQemu:
    """The QEMU that has the machine whose directory is `place`. Every other one there is ended.

    After a move it stands still. Raises QemuGone where the machine is gone, and QemuError where
    a QEMU does not answer, or `place` is another user's, or has a machine of an older hpcore.
    """
    require_ours(place)
    if qmp_of(place).exists():
        raise QemuError(f"the machine in {place} was made by an older hpcore: attach with that one")
    every = QemuDirectory.all_of(place)
    for one in every:
        if not one.may_have:
            await _end(one, place, qmp_of)
    having = [one for one in every if one.may_have]
    if not having:
        raise QemuGone("QEMU has ended: what it said is gone with its directory")
    if len(having) > MOST:
        names = ", ".join(one.path.name for one in having)
        raise QemuError(f"{place} is damaged: of {names} any may have the machine")
    if len(having) > 1:
        here, there = having
        found = there if await _is_there(here, there, place, qmp_of) else here
    else:
        found = having[0]
    return await KeptQemu.attach(found.path, qmp_of(found.path), place=place)


async def _is_there(here: QemuDirectory, there: QemuDirectory, place: Path, qmp_of: QmpOf) -> bool:
    """Whether `there` has the machine, and not `here`; the other one is ended."""
    if not there.lives:
        if here.lives and await _has_given_away(here, place, qmp_of):
            await _end(here, place, qmp_of)
            raise QemuGone("the machine had moved to another QEMU, which has ended")
        there.give_up()
        there.remove()
        return False
    async with _asked(there, place, qmp_of) as qmp:
        await qmp.execute("stop")  # takes back a `cont`, or stops what runs
        waits = await run_state(qmp) == WAITS
    if waits:
        there.give_up()
        await _end(there, place, qmp_of)
        return False
    if here.lives:
        async with _asked(here, place, qmp_of) as qmp:
            how = await over(qmp)
        if how != "completed":
            raise QemuError(
                f"the machine may be in two QEMUs, of which the one to move to has it, and the one "
                f"that it was in says that the move has '{how}'; the former stands still"
            )
    here.give_up()
    await _end(here, place, qmp_of)
    return True


async def _has_given_away(here: QemuDirectory, place: Path, qmp_of: QmpOf) -> bool:
    """Whether `here` has been told that another QEMU, which has ended, has its machine."""
    async with _asked(here, place, qmp_of) as qmp:
        return await give_up(qmp) == "completed" and await run_state(qmp) == HAS_SENT


async def _end(one: QemuDirectory, place: Path, qmp_of: QmpOf) -> None:
    """End the QEMU of a directory, and remove that."""
    with contextlib.suppress(QemuGone):
        qemu = await KeptQemu.attach(one.path, qmp_of(one.path), place=place)
        await qemu.close()
    one.remove()


@contextlib.asynccontextmanager
async def _asked(one: QemuDirectory, place: Path, qmp_of: QmpOf) -> AsyncIterator[Qmp]:
    """QMP of a QEMU that lives, for some commands. Raises QemuError where it ends meanwhile."""
    qemu = await KeptQemu.attach(one.path, qmp_of(one.path), place=place)
    try:
        qmp = await Qmp.connect(qemu, qmp_of(one.path), lambda _name, _data: None)
        try:
            yield qmp
        finally:
            await qmp.close()
    finally:
        qemu.unwatch()
