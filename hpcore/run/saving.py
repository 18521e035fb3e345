"""To save a machine, and to take it up again: its log, and what it is beyond that, in one file."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import ExitStack, asynccontextmanager
from os import PathLike
from pathlib import Path

from attrs import frozen

from hpcore.log import Header, LogError, LogWriter, segments
from hpcore.model import stimuli
from hpcore.model.states import State
from hpcore.run.accelerator import (
    AcceleratorError,
    Belongings,
    EffectError,
    RestoringAccelerator,
    SavableSession,
    Session,
    Writes,
)
from hpcore.run.admission import need_protocol
from hpcore.run.console import Printed
from hpcore.run.controller import Controller
from hpcore.run.deadlines import Patience
from hpcore.run.discovery import Found, keeper, usable_by
from hpcore.run.errors import ProtocolBroken
from hpcore.run.kept import home, record
from hpcore.run.kept_controller import KeptController
from hpcore.run.log_state import LogState, LogWrong
from hpcore.run.machine import LiveMachine
from hpcore.run.saved_file import SavedFile, SavedFileError, SavedFileWriter, read_saved


def saver_of(
    accelerator: str, log: Callable[[], LogWriter]
) -> Callable[[Session, str, Callable[[], Awaitable[None]]], Awaitable[None]]:
    """What a controller saves its machine by: one on `accelerator`, with that log."""

    async def save(session: Session, file: str, decided: Callable[[], Awaitable[None]]) -> None:
        if not isinstance(session, SavableSession):
            raise EffectError(f"a machine cannot be saved on {accelerator}")
        try:
            writer = SavedFileWriter(Path(file))
        except SavedFileError as error:
            raise EffectError(str(error)) from error

        async def keep(belongings: Belongings) -> Writes:
            await decided()
            return await asyncio.to_thread(writer.begin, accelerator, belongings, log().so_far)

        try:
            await session.save(keep)
            await asyncio.to_thread(writer.finish)
        except (SavedFileError, LogError) as error:
            raise EffectError(str(error)) from error
        finally:
            writer.discard()

    return save


@frozen
class Saved:
    """A saved machine: the file, and what its log had come to."""

    file: SavedFile
    header: Header
    state: State
    last_seq: int
    last_t: float

    @property
    def accelerator(self) -> str:
        """On which it was saved, and alone can be restored."""
        return self.file.accelerator


def load_saved(path: str | PathLike[str]) -> Saved:
    """The saved machine in `path`, whole and as its log has it. Raises SavedFileError."""
    file = read_saved(Path(path))
    try:
        log = LogState.of(file.log)
    except LogWrong as error:
        raise SavedFileError(f"{path}: {error}") from error
    return Saved(file, log.header, log.state, log.last_seq, log.last_t)


@asynccontextmanager
async def restore_machine(
    found: Found,
    saved: Saved,
    *,
    log: str | PathLike[str],
    overwrite: bool = False,
    patience: Patience | None = None,
    printed: Printed = lambda _data: None,
    shell: bool = True,
    keep: bool = False,
) -> AsyncIterator[LiveMachine]:
    """The machine of `saved` on `found`, as it was saved; it stands still until it is resumed.

    Its log begins as the saved one had come to be, and goes on from there. Several machines may
    be made of one file: each is another from then on, and all have the seeds of the first. On
    leaving, the machine is gone and the log closed; with `keep` it is as `open_machine` has it.
    Raises AcceleratorError where it does not fit, or can't outlive hpcore, LogError where the log
    cannot be started, and on leaving ProtocolBroken for a fault of hpcore.
    """
    accelerator = usable_by(found, saved.header.protocol.rules)
    if found.name != saved.accelerator or not isinstance(accelerator, RestoringAccelerator):
        raise AcceleratorError(
            f"{saved.file.path} was saved on '{saved.accelerator}', and is restored there alone"
        )
    need_protocol(found, saved.header.protocol)
    if keep and saved.header.rules is not None:
        raise AcceleratorError("a machine that outlives hpcore is run by hpcore's own protocol")
    logs: list[LogWriter] = []
    with ExitStack() as stack:

        def open_log() -> LogWriter:
            place = controller.session.place if isinstance(controller, KeptController) else None
            writer = LogWriter.go_on(
                log, saved.file.log, segment=saved.header.number, overwrite=overwrite
            )
            logs.append(stack.enter_context(writer))
            lives = None if place is None else home(place)
            if writer.header.kept != lives:  # the one that was saved may live still
                writer.moved(saved.state, lives)
            if place is not None:
                record(place, Path(log), found.name, shell=shell)
            return writer

        parts = (saved.state, saved.file.belongings, saved.file.stream)
        saver = saver_of(found.name, lambda: logs[0])
        controller: Controller
        if keep:
            controller = KeptController(
                saved.state,
                open_log,
                lambda report: keeper(found).keep_restored(*parts, report),
                patience,
                saver=saver,
                restored_at=saved.last_t,
            )
        else:
            controller = Controller(
                saved.state,
                open_log,
                lambda report: accelerator.restore(*parts, report),
                patience,
                saver=saver,
                resumed_at=saved.last_t,
                protocol=saved.header.protocol,
            )
        machine = LiveMachine(controller, printed, shell=shell, last_seq=saved.last_seq)
        try:
            async with controller:
                await controller.submit(stimuli.Restored(str(saved.file.path)))
                if isinstance(controller, KeptController):
                    await _arrives(controller, log)
                machine.meet_again()
                yield machine
        finally:
            await machine.console_read()
        if isinstance(controller.failure, ProtocolBroken):
            raise controller.failure


async def _arrives(controller: KeptController, log: str | PathLike[str]) -> None:
    """Have a machine come that is to outlive hpcore. Where it does not, no log of it is left."""
    try:
        await controller.session.arrive()
    except BaseException:
        controller.ends = True
        segments.remove(str(log), segments.numbers(str(log)))
        raise
