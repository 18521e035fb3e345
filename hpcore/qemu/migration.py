"""A machine that is carried from one QEMU to another, or into a file, by QEMU's own migration.

The order is the point of this file. Until the other QEMU is told `cont`, this one can always
be taken up again, and whatever goes wrong ends so. Only one of the two is ever told `cont`.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable, Coroutine, Iterator, Mapping
from pathlib import Path
from typing import Protocol

from hpcore.qemu.errors import QemuError
from hpcore.qemu.machine import QemuMachine
from hpcore.qemu.qmp import Qmp
from hpcore.qemu.runtime_directory import remove_runtime_directory, runtime_directory

SWITCH_SECONDS = 60.0
"""For what both sides do once the guest stands still, which takes some milliseconds."""
TAKE_UP_SECONDS = 30.0
"""For a QEMU to have given up a migration that was cancelled."""
BANDWIDTH = 4 << 30
"""Bytes a second: QEMU's own bound, 128 MiB, is one for networks."""
LAST_WORDS_SECONDS = 2.0
ENDLESS = 7 * 24 * 3600.0
"""For a guest that writes faster than it is carried: whoever waits for it says how long."""

STANDING_STILL = ("paused", "postmigrate", "prelaunch")
"""QEMU's words for a machine that `cont` lets go on."""
FINISHING = "finish-migrate"
"""QEMU's word for a machine whose migration is at its end. It refuses `cont` then ("Migration is
not finalized yet"), and is so for a while after it has said that the migration is over."""

CHUNK = 1 << 20


class Writes(Protocol):
    """What takes a machine's stream. See hpcore.run.accelerator.Writes."""

    def write(self, data: bytes | memoryview, /) -> object: ...


class Stream(Protocol):
    """A part of a file that has a machine. See hpcore.run.accelerator.Stream."""

    @property
    def file(self) -> Path: ...
    @property
    def offset(self) -> int: ...
    @property
    def size(self) -> int: ...


class NotTakenUp(QemuError):
    """A migration came to nothing, and the machine does not go on where it was: it is lost."""


Still = Callable[[], Coroutine[object, object, None]]
"""Awaited while the guest stands still: all that it has said is taken in by then."""


async def hand_over(
    here: QemuMachine, there: QemuMachine, path: Path, *, live: bool, still: Still
) -> bool:
    """Carry the machine of `here` to `there`, which was started to wait for one at `path`.

    Without `live` the guest stands still from the start. Returns whether it ran before. On
    return `there` has the machine, which stands still, and `here` is of no more use. Raises
    QemuError where that fails, or is interrupted; the machine is then `here`, as it was.
    """
    ran = await runs(here.qmp)
    await refuse_unlike(here, there)
    here.migration.begin()
    there.migration.begin()
    await prepare(there.qmp, {"return-path": True})
    await there.qmp.execute("migrate-incoming", {"uri": f"unix:{path}"})
    await prepare(here.qmp, {"return-path": True, "pause-before-switchover": True})
    there.may_have_machine()
    try:
        if ran and not live:
            await here.qmp.execute("stop")
        await here.qmp.execute("migrate", {"uri": f"unix:{path}"})
        await here.migration.until("pre-switchover", ENDLESS)
        await here.migration.unless_interrupted(still())
        await here.qmp.execute("migrate-continue", {"state": "pre-switchover"})
        await here.migration.until("completed", SWITCH_SECONDS)
        await there.migration.until("completed", SWITCH_SECONDS)
        if not there.process.running:
            raise QemuError(f"the other QEMU is gone: {there.process.last_words}")
    except BaseException as error:
        there.has_no_machine()
        await take_up(here, ran=ran)
        if isinstance(error, QemuError):
            raise QemuError(f"{error}; the other QEMU: {await last_words(there)}") from error
        raise
    return ran


async def save_to(
    here: QemuMachine, still: Callable[[], Coroutine[object, object, Writes]]
) -> None:
    """Write the machine of `here` to the file that `still` returns, and have it go on.

    `still` is awaited while the guest stands still, as of `hand_over`. We write the file, not a
    program of QEMU's: what becomes of a full disk is known here. Raises QemuError where it
    fails, OSError where the file takes no more; the machine goes on, also where this is
    cancelled.
    """
    ran = await runs(here.qmp)
    here.migration.begin()
    try:
        if ran:
            await here.qmp.execute("stop")
        file = await here.migration.unless_interrupted(still())
        await prepare(here.qmp, {})
        with listening() as (path, listener):
            writes = asyncio.ensure_future(asyncio.to_thread(receive, listener, file))
            try:
                await here.qmp.execute("migrate", {"uri": f"unix:{path}"})
                await here.migration.until("completed", ENDLESS)
            except BaseException as error:
                end_listening(listener)
                with contextlib.suppress(ValueError):  # nobody came, since it failed before
                    await writes  # or the file's own error, which is the cause
                raise error
            await writes
    finally:
        await take_up(here, ran=ran)


async def load_from(there: QemuMachine, path: Path, stream: Stream) -> None:
    """Carry the machine in `stream` to `there`, which was started to wait for one at `path`.

    It stands still then. Raises QemuError.
    """
    there.migration.begin()
    await prepare(there.qmp, {})
    await there.qmp.execute("migrate-incoming", {"uri": f"unix:{path}"})
    sock = await there.process.connect_socket(path)
    sock.setblocking(True)
    sends = asyncio.ensure_future(asyncio.to_thread(send, sock, stream))
    try:
        await there.migration.until("completed", ENDLESS)
    except QemuError as error:
        raise QemuError(f"{error}; {await last_words(there)}") from error
    finally:
        with contextlib.suppress(OSError):
            sock.shutdown(socket.SHUT_RDWR)
        with contextlib.suppress(OSError):
            await sends
        sock.close()


def receive(listener: socket.socket, file: Writes) -> None:
    """Append to `file` what comes by one connection, to its end. Raises OSError of the file."""
    try:
        sock, _ = listener.accept()
    except OSError:
        raise ValueError("nobody came") from None
    room = memoryview(bytearray(CHUNK))
    with sock:
        while size := sock.recv_into(room):
            file.write(room[:size])


def send(sock: socket.socket, stream: Stream) -> None:
    """Send `stream`, and no more, through a connection. Raises OSError."""
    with stream.file.open("rb") as file:
        sock.sendfile(file, stream.offset, stream.size)
        sock.shutdown(socket.SHUT_WR)


@contextlib.contextmanager
def listening() -> Iterator[tuple[Path, socket.socket]]:
    """A socket that QEMU can connect to, and its path."""
    directory = runtime_directory()
    listener = socket.socket(socket.AF_UNIX)
    try:
        listener.bind(str(directory / "saved"))
        listener.listen(1)
        yield directory / "saved", listener
    finally:
        listener.close()
        remove_runtime_directory(directory)


def end_listening(listener: socket.socket) -> None:
    """Whoever waits for a connection waits no longer."""
    with contextlib.suppress(OSError):
        listener.shutdown(socket.SHUT_RDWR)


async def last_words(there: QemuMachine) -> str:
    """What it has said: of why it refuses a machine it says nothing elsewhere, and ends."""
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(there.process.wait(), LAST_WORDS_SECONDS)
    return there.process.last_words


async def refuse_unlike(here: QemuMachine, there: QemuMachine) -> None:
    """Raise QemuError where the two are of different versions, or have different machines.

    QEMU would find that out at the end alone, or not at all.
    """
    for what, ask in (("versions", version_of), ("machine types", machine_type_of)):
        mine, other = await ask(here.qmp), await ask(there.qmp)
        if mine != other:
            raise QemuError(
                f"a machine is carried between two QEMUs that are alike, and these have different "
                f"{what}: {mine} here and {other} there"
            )


async def version_of(qmp: Qmp) -> str:
    """The version of a running QEMU, with its distribution's word on it."""
    found = await qmp.execute("query-version")
    assert isinstance(found, dict), "QMP's schema says so"
    number = found["qemu"]
    text = f"{number['major']}.{number['minor']}.{number['micro']}"
    return f"{text} {found['package']}".strip()


async def machine_type_of(qmp: Qmp) -> str:
    """The machine type of a running QEMU, with its version: `virt` is another one in each."""
    return str(await qmp.execute("qom-get", {"path": "/machine", "property": "type"}))


async def take_up(here: QemuMachine, *, ran: bool) -> None:
    """Have the machine of `here` go on after a migration that came to nothing.

    Raises NotTakenUp where it does not.
    """
    try:
        await _take_up(here, ran=ran)
    except QemuError as error:
        raise NotTakenUp(f"after a migration that came to nothing: {error}") from error


async def _take_up(here: QemuMachine, *, ran: bool) -> None:
    await give_up(here.qmp)
    if ran and await run_state(here.qmp) in STANDING_STILL:
        await here.qmp.execute("cont")


async def give_up(qmp: Qmp) -> str:
    """Have a QEMU give up its migration, unless that is over; QEMU's word for how it has ended.

    Raises QemuError where it does not come to an end.
    """
    with contextlib.suppress(QemuError):  # nothing may be left to cancel
        await qmp.execute("migrate_cancel")
    return await over(qmp)


async def over(qmp: Qmp) -> str:
    """Wait for the end of a QEMU's migration, and return QEMU's word for it.

    The machine has the run state then that it keeps. Raises QemuError where it does not come to
    an end.
    """
    deadline = asyncio.get_running_loop().time() + TAKE_UP_SECONDS
    while True:
        said = await _migration_status(qmp)
        ended = said in ("none", "completed", "failed", "cancelled")
        if ended and await run_state(qmp) != FINISHING:
            return said
        if asyncio.get_running_loop().time() > deadline:
            machine = f", and of the machine '{FINISHING}'" if ended else ""
            raise QemuError(f"QEMU does not give the migration up: it says '{said}'{machine}")
        await asyncio.sleep(0.01)


async def prepare(qmp: Qmp, capabilities: Mapping[str, bool]) -> None:
    """Have QEMU tell of its migration, and have `capabilities`. Raises QemuError."""
    wanted = {
        "events": True, "return-path": False, "pause-before-switchover": False, **capabilities,
    }  # fmt: skip
    states = [{"capability": name, "state": on} for name, on in wanted.items()]
    await qmp.execute("migrate-set-capabilities", {"capabilities": states})
    await qmp.execute("migrate-set-parameters", {"max-bandwidth": BANDWIDTH})


async def runs(qmp: Qmp) -> bool:
    """Whether the machine runs. Raises QemuError where it neither does nor is paused."""
    state = await run_state(qmp)
    if state not in ("running", "paused", "postmigrate", "prelaunch"):
        raise QemuError(f"QEMU's machine is '{state}'; one that runs or is paused can be carried")
    return state == "running"


async def run_state(qmp: Qmp) -> str:
    """QEMU's own word for whether its machine runs, and why not. Raises QemuError."""
    found = await qmp.execute("query-status")
    assert isinstance(found, dict), "QMP's schema says so"
    return str(found["status"])


async def _migration_status(qmp: Qmp) -> str:
    found = await qmp.execute("query-migrate")
    return str(found.get("status", "none")) if isinstance(found, dict) else "none"
