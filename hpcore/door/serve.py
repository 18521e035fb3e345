"""The door: it makes QEMU's command line, waits for that QEMU, and serves its monitors."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import attrs
import structlog
from attrs import frozen

from hpcore.door.asked import Asked, Probe
from hpcore.door.console import CONSOLE, ConsoleCopy, with_copy
from hpcore.door.front import Fronted, MovingPrepared, Prepared
from hpcore.door.fronts import OWN, RENEWALS, SESSIONS, Opened, opened, sockets_below
from hpcore.door.guest_files import boot_images, guest_files
from hpcore.door.journal import Journal, silence
from hpcore.door.keeping import KeptPrepared, Opening, keeping
from hpcore.door.line import Line
from hpcore.door.log import VmLog
from hpcore.door.machine import attached, device_adds, lived, until_gone
from hpcore.door.monitors import MonitorAsked
from hpcore.door.options import ArgumentRefused, Options
from hpcore.door.qmp import Answers, QemuGone, connect
from hpcore.door.qmp.vcpus import CANNOT_MIGRATE, machine_list
from hpcore.door.remade import MonitorSocket, monitor_options, remade
from hpcore.door.renewal import Renewal
from hpcore.door.settings import Settings
from hpcore.errors import HpcoreError
from hpcore.fetch.cache import CACHE_VARIABLE
from hpcore.model.events import Event
from hpcore.model.states import State
from hpcore.qemu.attached import AttachedQemu, peer
from hpcore.qemu.find import AARCH64
from hpcore.qemu.kept import KeptQemu
from hpcore.qemu.qmp import Qmp
from hpcore.qemu.runtime_directory import (
    leave_runtime_directory,
    remove_runtime_directory,
    runtime_directory,
)
from hpcore.run.accelerator import GuestImages
from hpcore.run.discovery import Found, find
from hpcore.run.kept import home, record
from hpcore.run.machine import LiveMachine
from hpcore.run.open import header_of

_log = structlog.get_logger(__name__)

DAEMON_SECONDS = 20.0
"""For a QEMU that daemonizes to listen, once the process that was started has ended."""

def serve(
    settings: Settings, wanted: Asked | Probe, line: Line, directory: Path | None = None
) -> None:
    """Be the door until QEMU has ended.

    `directory` is QEMU's own, of a VM that is to be kept: its caller has made it, and holds its
    lock as QEMU will.
    """
    os.environ |= {CACHE_VARIABLE: str(settings.cache), AARCH64.variable: str(settings.qemu)}
    silence()
    asyncio.run(_serve(settings, wanted, line, directory))


async def _serve(
    settings: Settings, wanted: Asked | Probe, line: Line, keeps: Path | None
) -> None:
    try:
        directory = keeps or runtime_directory()
    except HpcoreError as error:
        line.refuse(str(error))
        return
    try:
        if isinstance(wanted, Probe):
            await _probed(wanted, line, directory)
        else:
            await _driven(settings, wanted, line, directory)
    except HpcoreError as error:
        _log.error("the door closes", why=str(error))
        line.refuse(str(error))
    except QemuGone:
        _log.info("the real QEMU has ended before it listened; what it said is with its caller")
    except Exception:
        _log.exception("a fault of hpcore")
        raise
    finally:
        if keeps is None:
            remove_runtime_directory(directory)
        else:
            leave_runtime_directory(directory)


async def _probed(probe: Probe, line: Line, directory: Path) -> None:
    """Pass on what tools ask a QEMU without a machine, and say what can be hotplugged."""
    sockets, own = sockets_below(directory, probe.monitors), MonitorSocket(directory / OWN)
    monitors = await _opened(line, probe.monitors, sockets)
    line.go(Options([*probe.rest, *monitor_options([*sockets, own])]).words())
    qemu = await _qemu(AttachedQemu, line, own.path, daemonizes=probe.rest.has("daemonize"))
    real = await Qmp.connect(qemu, own.path, lambda _name, _data: None)
    answers = Answers(machine_list(real))
    serving = monitors.serve(answers, None, lambda: not qemu.running)
    await until_gone(qemu, serving, monitors)
    await real.close()


async def _driven(settings: Settings, asked: Asked, line: Line, directory: Path) -> None:
    """Put hpcore's machine under the VM that is asked for, and serve its monitors."""
    found = find(asked.accelerator)
    fronted = found.accelerator
    if not isinstance(fronted, Fronted):
        raise HpcoreError(
            f"the accelerator '{found.name}' has no part for a VM that somebody else starts; "
            f"install a newer {found.distribution}"
        )
    prepares = fronted.prepare
    if settings.keep:
        prepares = keeping(found, asked).prepare_kept
    device_adds(asked)  # what of them is refused is said before anything is started
    images = await asyncio.to_thread(boot_images, asked, directory)
    files = await asyncio.to_thread(guest_files, asked, fronted.board, images)
    prepared = await prepares(asked.config, files, directory, line.caller)
    if asked.incoming is not None and not isinstance(prepared, MovingPrepared):
        prepared.close()
        raise ArgumentRefused(f"-incoming {asked.incoming}", CANNOT_MIGRATE)
    try:
        await _in_front(settings, asked, line, directory, Under(found, fronted, prepared, images))
    finally:
        prepared.close()


@frozen
class Under:
    """What hpcore puts under the VM."""

    found: Found
    fronted: Fronted
    prepared: Prepared
    images: GuestImages | None


async def _in_front(
    settings: Settings, asked: Asked, line: Line, directory: Path, under: Under
) -> None:
    """Open the VM's monitors, have its caller become QEMU, and serve them until QEMU has ended."""
    sockets = sockets_below(directory, asked.monitors)
    own, sessions, renewals = (
        MonitorSocket(directory / name) for name in (OWN, SESSIONS, RENEWALS)
    )
    monitors = await _opened(line, asked.monitors, sockets)
    journal = Journal.of(settings.logs, asked.name)
    header, keeps = header_of(under.found, asked.config), isinstance(under.prepared, KeptPrepared)
    if keeps:
        header = attrs.evolve(header, kept=home(directory))
    with VmLog(journal.log, header, settings.rotation) as log:
        journal.diagnose()
        if keeps:
            record(
                directory, journal.log, under.found.name,
                shell=False, rotation=settings.rotation, door=True,
            )  # fmt: skip
            loaded = None if asked.boots.disk is None else under.images
            Opening(asked.words, Path.cwd(), journal.diagnostics, loaded).write(directory)
        copied = with_copy(asked, directory / CONSOLE)
        console = None if copied is None else ConsoleCopy(directory / CONSOLE)
        part = under.prepared.part
        words = remade(copied or asked, part, [*sockets, own, sessions, renewals]).words()
        _log.info("the caller becomes the real QEMU", words=words)
        line.go(words, part.environment)
        kind = KeptQemu if keeps else AttachedQemu
        qemu = await _qemu(kind, line, own.path, daemonizes=asked.rest.has("daemonize"))
        renewal = None
        if asked.boots.disk is not None and under.images is not None:
            renewal = Renewal(asked, under.fronted.board, under.images, qemu, renewals.path)
        async with attached(asked, under.prepared, qemu, sessions.path, log, renewal) as moves:
            if keeps:
                moves.machine.subscribe(partial(_let_be, line, moves.machine))
            await lived(asked, moves, qemu, own.path, monitors, console, line.inherited)


async def _opened(
    line: Line, monitors: Sequence[MonitorAsked], sockets: Sequence[MonitorSocket]
) -> Opened:
    """As `opened`, while the caller lives: it may be killed while a client is waited for.

    Raises QemuGone then.
    """
    try:
        caller = AttachedQemu(line.caller, Path())
    except ProcessLookupError:
        raise QemuGone from None
    opening = asyncio.create_task(opened(monitors, sockets))
    gone = asyncio.create_task(caller.wait())
    try:
        await asyncio.wait({opening, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not opening.done():
            raise QemuGone
        return opening.result()
    finally:
        opening.cancel()
        gone.cancel()
        caller.unwatch()


def _let_be(line: Line, machine: LiveMachine, _event: Event, _state: State) -> None:
    """Have QEMU not end with its door, as soon as another door can take its machine up."""
    if machine.is_kept:
        line.let_be()


async def _gone_for_good(
    caller: AttachedQemu, gone: asyncio.Event, *, daemonizes: bool
) -> None:
    """Set `gone` once no QEMU will come of the caller: it has ended, and no daemon listens."""
    await caller.wait()
    await asyncio.sleep(DAEMON_SECONDS if daemonizes else 0)
    gone.set()


async def _qemu(
    kind: type[AttachedQemu], line: Line, socket_path: Path, *, daemonizes: bool
) -> AttachedQemu:
    """The QEMU that has come of the caller, once it listens at `socket_path` in its directory.

    One that daemonizes is another process than the caller; its socket tells which.
    """
    try:
        before = AttachedQemu(line.caller, socket_path.parent)
    except ProcessLookupError:
        raise QemuGone from None
    gone = asyncio.Event()
    waiting = asyncio.create_task(_gone_for_good(before, gone, daemonizes=daemonizes))
    try:
        first = await connect(socket_path, gone.is_set)
    finally:
        waiting.cancel()
    with first:
        pid = peer(first)
    line.tell_watchdog(pid)
    return kind(pid, socket_path.parent)

