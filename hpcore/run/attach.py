"""Taking up a machine again that has outlived its hpcore."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from os import PathLike

from attrs import frozen

from hpcore.model import stimuli
from hpcore.model.machines import Phase
from hpcore.run.accelerator import KeptSession, MachineGone, Report, TakenUp
from hpcore.run.console import Printed
from hpcore.run.deadlines import Patience
from hpcore.run.discovery import Found, keeper, look_up
from hpcore.run.errors import ProtocolBroken, RunError
from hpcore.run.kept import KeptLog, NotKept, open_kept, say_gone
from hpcore.run.kept_controller import KeptController
from hpcore.run.machine import LiveMachine
from hpcore.run.saving import saver_of

OF_A_DOOR = (
    "is the log of a VM with a door: its commands come by its monitors, which `hpcore attach` has "
    "it serve again"
)


class MachineEnded(RunError):
    """A kept machine has ended while no hpcore had it; its log says so now."""


@frozen
class Attached:
    """A machine that was taken up again, its accelerator, and what was found."""

    machine: LiveMachine
    found: Found
    taken_up: TakenUp


@asynccontextmanager
async def attach_machine(
    log: str | PathLike[str],
    *,
    patience: Patience | None = None,
    printed: Printed = lambda _data: None,
) -> AsyncIterator[Attached]:
    """The machine of `log`, which was kept, taken up again and ready for commands.

    What was under way goes on. Whether its guest is ready, `guest_ready` waits for. `printed`
    is told the end of what the guest has printed, and then what it prints. On leaving, the
    machine goes on, unless it has ended, or is to (`LiveMachine.end_when_left`); the log is
    closed in any case.

    Raises NotKept where the log's machine can't be taken up, with the reason; MachineEnded where
    it is gone; AcceleratorError where it can't be reached; LogError for what is no whole log.
    """
    kept_log = await asyncio.to_thread(open_kept, log)
    with kept_log.writer as writer:
        if kept_log.door:
            raise NotKept(f"{log} {OF_A_DOOR}")
        found = look_up(writer.header.accelerator)
        accelerator, kept = keeper(found), kept_log.kept
        async with attached_by(
            lambda report: accelerator.attach(kept, report), kept_log, str(log), found,
            patience=patience, printed=printed,
        ) as attached:  # fmt: skip
            yield attached


@asynccontextmanager
async def attached_by(
    attach: Callable[[Report], Awaitable[KeptSession]],
    kept_log: KeptLog,
    log: str,
    found: Found,
    *,
    patience: Patience | None = None,
    printed: Printed = lambda _data: None,
) -> AsyncIterator[Attached]:
    """The machine of `kept_log`, to which `attach` has a session; see `attach_machine`."""
    writer = kept_log.writer
    controller = KeptController(
        kept_log.kept.state,
        lambda: writer,
        attach,
        patience,
        saver=saver_of(found.name, lambda: writer),
        since=writer.last_t,
    )
    machine = LiveMachine(controller, printed, shell=kept_log.shell, last_seq=writer.next_seq - 1)
    try:
        async with controller:
            machine.attached(controller.session.printed_before)
            yield Attached(machine, found, await _taken_up(controller))
    except MachineGone as error:
        raise _ended(kept_log, log, error) from error
    finally:
        await machine.console_read()
    if isinstance(controller.failure, ProtocolBroken):
        raise controller.failure


async def _taken_up(controller: KeptController) -> TakenUp:
    """What was found, once all that was missed is decided; a note in the log has it, too."""
    taken_up = await controller.session.taken_up()
    with suppress(RunError):  # it has ended over that
        await controller.submit(stimuli.Note(f"taken up: {taken_up}"))
    return taken_up


def _ended(kept_log: KeptLog, log: str, error: MachineGone) -> MachineEnded:
    state = say_gone(kept_log, str(error))
    if state.shared.phase is Phase.ENDED:
        return MachineEnded(f"{log}: the machine has ended, as it was told to")
    return MachineEnded(f"{log}: the machine is gone: {error}. The log says so now")
