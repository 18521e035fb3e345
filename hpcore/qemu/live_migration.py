"""A machine that is carried from one QEMU to another while it runs.

The order is the point of this file, as of hpcore.qemu.migration. The other QEMU is told `cont`
before anything is sent, and goes on by itself as soon as it has the whole machine. So nobody's
word is waited for while the guest stands still: that would take longer than all the rest
(bench/README.md).

Why at most one of the two runs:
- This QEMU stops its guest before it sends the last of it, and the other one has no whole machine
  before that.
- This one goes on by itself where the other one has failed, or is gone; and where it is told
  `migrate_cancel`, which is said only once the other one can't go on any more.
- The other one can't, once it has taken back its `cont` by a `stop`, and had not said RESUME
  before; or once it has ended.

specs/moving.pml has every order of deaths and of giving up.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

from hpcore.qemu.errors import QemuError
from hpcore.qemu.machine import QemuMachine
from hpcore.qemu.migration import (
    ENDLESS,
    SWITCH_SECONDS,
    NotTakenUp,
    over,
    prepare,
    refuse_unlike,
    take_up,
)

DIED_RUNNING = "the other QEMU has gone on with the machine, and ended: {}"


async def hand_over_running(here: QemuMachine, there: QemuMachine, path: Path) -> None:
    """Carry the machine of `here`, which runs, to `there`, which waits for one at `path`.

    On return it runs `there`, and `here` is of no more use. Where this raises QemuError, or is
    cancelled, `settle` has to be asked which of the two it is.
    """
    await refuse_unlike(here, there)
    here.migration.begin()
    there.migration.begin()
    await prepare(there.qmp, {"return-path": True})
    await prepare(here.qmp, {"return-path": True})
    await there.qmp.execute("migrate-incoming", {"uri": f"unix:{path}"})
    there.may_have_machine()
    await there.qmp.execute("cont")  # once it has all: QEMU's qmp_cont, of one that waits
    await here.qmp.execute("migrate", {"uri": f"unix:{path}"})
    await here.migration.until("completed", ENDLESS)
    await there.migration.until("completed", SWITCH_SECONDS)
    await there.qmp.caught_up()
    if not there.has_run:
        raise QemuError("the other QEMU does not go on with the machine")
    await there.qmp.execute("query-status")  # it is there still: this one is given up next


async def settle(
    here: QemuMachine, there: QemuMachine, *, spoke: Callable[[], Awaitable[bool]]
) -> bool:
    """After a `hand_over_running` that has failed: have one of the two go on with the machine.

    Returns whether that is `there`; else that one has ended. `spoke` says of a QEMU that has
    ended whether anybody has heard of its guest: then its machine can't be taken up `here`.
    Raises NotTakenUp where the machine is lost. Must not be cancelled.
    """
    try:
        await there.qmp.execute("stop")  # takes back the `cont`, or stops what runs
        await there.qmp.caught_up()
        if there.has_run:
            await _require_given_away(here)
            await there.qmp.execute("cont")
            return True
    except QemuError as error:
        await there.process.close()
        if await spoke():
            raise NotTakenUp(DIED_RUNNING.format(error)) from error
    there.has_no_machine()
    await there.process.close()
    await take_up(here, ran=True)
    return False


async def _require_given_away(here: QemuMachine) -> None:
    """Raise QemuError unless `here` will not run any more: its migration has ended well, or it
    has ended itself. It fails where the other QEMU has died meanwhile."""
    try:
        how = await over(here.qmp)
    except QemuError:
        if here.process.running:
            raise
    else:
        if how != "completed":
            raise QemuError(f"the migration has ended as '{how}'")
