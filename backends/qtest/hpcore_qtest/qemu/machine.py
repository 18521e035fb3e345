"""One QEMU without guest code: the process, its sockets, its state moved to another.

Knows nothing of slots, nor of which machine it is.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import structlog
from attrs import frozen

from hpcore.qemu.console import SocketConsole
from hpcore.qemu.errors import QemuError
from hpcore.qemu.find import Qemu
from hpcore.qemu.migration import Stream, Writes, end_listening, listening, receive, send
from hpcore.qemu.process import QemuProcess
from hpcore.qemu.qmp import OnEvent, Qmp
from hpcore.qemu.runtime_directory import remove_runtime_directory, runtime_directory
from hpcore_qtest.qemu import launch
from hpcore_qtest.qemu.client import OnIrq, Qtest
from hpcore_qtest.qemu.lines import Pin

log = structlog.get_logger(__name__)

RESET_SECONDS = 30.0
MIGRATE_SECONDS = 120.0
POLL = 0.002
UNATTACHED = "/machine/unattached"
"""Where QEMU keeps the devices that a board makes by itself, in its object tree."""


@frozen
class Ears:
    """What is told of a machine while it lives, each from the event loop's thread."""

    irq: OnIrq = lambda _number, _raised: None
    event: OnEvent = lambda _name, _data: None
    lost: Callable[[str], None] = lambda _why: None


class StoppedQemu:
    """Started by `start`; its serial ports are drained until `close`."""

    def __init__(self, process: QemuProcess, ears: Ears) -> None:
        self.process = process
        self._qmp: Qmp | None = None
        self._qtest: Qtest | None = None
        self.serials: list[SocketConsole] = []
        self.lost: str | None = None
        self._ears = ears
        self._ending = False
        self._resets = 0
        self._sent = False  # its state; QEMU sends it once, until a reset
        self._changed = asyncio.Event()
        self._watcher: asyncio.Task[None] | None = None
        self._incoming: Path | None = None

    @classmethod
    async def start(
        cls,
        qemu: Qemu,
        arguments: Sequence[str],
        ears: Ears | None = None,
        *,
        serials: int = 0,
        incoming: bool = False,
    ) -> StoppedQemu:
        """Start QEMU with `arguments` for its machine, and connect to it.

        `serials` ports are there from the first one on. With `incoming` it waits for
        `move_to` of another machine. Raises QemuError and leaves nothing behind.
        """
        directory = runtime_directory()
        sockets = launch.Sockets.below(directory, serials)
        try:
            argv = await asyncio.to_thread(
                launch.command_line, qemu, arguments, sockets, incoming=incoming
            )
            process = await QemuProcess.start(argv, directory, sockets.all())
        except BaseException:
            remove_runtime_directory(directory)
            raise
        machine = cls(process, ears or Ears())
        try:
            await machine._connect(sockets)
            if not incoming:
                process.remove_directory()
        except BaseException:
            await machine.close()
            raise
        if incoming:
            machine._incoming = sockets.incoming
        machine._watcher = asyncio.create_task(machine._watch_process())
        return machine

    @property
    def qmp(self) -> Qmp:
        """QEMU's QMP, once `start` has connected to it."""
        assert self._qmp is not None, "start comes first"
        return self._qmp

    @property
    def qtest(self) -> Qtest:
        """QEMU's qtest socket, once `start` has connected to it."""
        assert self._qtest is not None, "start comes first"
        return self._qtest

    def listen(self, ears: Ears) -> None:
        """Tell `ears` from now on; at once, if the machine is lost already."""
        self._ears = ears
        if self.lost is not None:
            ears.lost(self.lost)

    async def device(self, kind: str) -> str:
        """The QOM path of the first device of QEMU's type `kind` that the board made.

        Raises QemuError where there is none.
        """
        found = await self._properties(UNATTACHED)
        names = [name for name, type_ in found.items() if type_ == f"child<{kind}>"]
        if not names:
            raise QemuError(f"this QEMU's machine has no {kind}; {self.process.last_words}")
        first = min(names, key=lambda name: int(name.partition("[")[2].rstrip("]") or 0))
        return f"{UNATTACHED}/{first}"

    async def inputs(self, path: str) -> list[Pin]:
        """The unnamed GPIO inputs of the device at the QOM path `path`, in order."""
        found = await self._properties(path)
        count = sum(name.startswith("unnamed-gpio-in[") for name in found)
        return [Pin(path, number, count) for number in range(count)]

    async def reset(self) -> None:
        """`system_reset`; returns once it has happened. Raises QemuError."""
        before = self._resets
        await self.qmp.execute("system_reset")
        await self._until(lambda: self._resets > before, RESET_SECONDS, "its reset")

    async def move_to(self, other: StoppedQemu, seconds: float = MIGRATE_SECONDS) -> None:
        """Carry all device state and memory over to `other`, which was started `incoming`.

        This machine stays as it was, and should be closed. Raises QemuError where either
        of them says that it failed, or it takes longer than `seconds`; `other` is of no
        use then, and this one, if it had sent all, must be reset before it can do so again.
        """
        assert other._incoming is not None, "the other machine was not started incoming"
        await self._migrate(other._incoming)
        await self._completed("sent", seconds)
        self._sent = True
        await other._completed("taken", seconds)
        other.process.remove_directory()

    async def send_into(self, file: Writes, seconds: float = MIGRATE_SECONDS) -> None:
        """Append all device state and memory to `file`.

        This machine can be sent no more, until a reset. Raises QemuError, and OSError where
        the file takes no more.
        """
        with listening() as (path, listener):
            receives = asyncio.ensure_future(asyncio.to_thread(receive, listener, file))
            try:
                await self._migrate(path)
                await self._completed("sent", seconds)
                self._sent = True
            except BaseException:
                end_listening(listener)
                with contextlib.suppress(ValueError):  # nobody came, since it failed before
                    await receives  # or the file's own error, which is the cause
                raise
            await receives

    async def take_from(self, stream: Stream, seconds: float = MIGRATE_SECONDS) -> None:
        """Have the device state and memory in `stream`; this QEMU was started `incoming`.

        Raises QemuError; it is of no use then.
        """
        assert self._incoming is not None, "it was not started incoming"
        sock = await self.process.connect_socket(self._incoming)
        sock.setblocking(True)
        sends = asyncio.ensure_future(asyncio.to_thread(send, sock, stream))
        try:
            await self._completed("taken", seconds)
        finally:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            with contextlib.suppress(OSError):
                await sends
            sock.close()
        self.process.remove_directory()

    async def quit(self) -> None:
        """Ask QEMU to end, and wait until it has; then `close`."""
        self._ending = True
        with contextlib.suppress(QemuError):  # it may be gone before it has answered
            await self.qmp.execute("quit")
        await self.close()

    async def close(self) -> None:
        """End everything that `start` started. Idempotent; no loss is reported for it."""
        self._ending = True
        self._changed.set()
        if self._watcher is not None:
            self._watcher.cancel()
        for part in (self._qtest, self._qmp, self.process):
            if part is not None:
                await part.close()
        for serial in self.serials:
            await serial.close()

    def lose(self, why: str) -> None:
        """The machine is of no use any more; say so once."""
        if not self._ending:
            self._ending = True
            self.lost = why
            log.error("the machine is lost", why=why)
            self._changed.set()
            self._ears.lost(why)

    async def _connect(self, sockets: launch.Sockets) -> None:
        process = self.process
        for path in sockets.serials:
            self.serials.append(SocketConsole(*await process.connect(path)))
        self._qmp = await Qmp.connect(process, sockets.qmp, self._event)
        self._qtest = await Qtest.connect(process, sockets.qtest, self._irq, self.lose)

    async def _properties(self, path: str) -> dict[str, str]:
        found = await self.qmp.execute("qom-list", {"path": path})
        assert isinstance(found, list), "QMP's schema says so"
        return {entry["name"]: entry["type"] for entry in found}

    async def _migrate(self, path: Path) -> None:
        if self._sent:
            raise QemuError(
                "QEMU has sent the machine's state already, to a machine that came to nothing, "
                "and does so once; reset the machine, then migrate it"
            )
        await self.qmp.execute("migrate", {"uri": f"unix:{path}"})

    async def _completed(self, what: str, seconds: float) -> None:
        """Wait until QEMU says that its migration is. Raises QemuError."""
        deadline = asyncio.get_running_loop().time() + seconds
        while (status := await self._migration()) != "completed":
            if status in ("failed", "cancelled"):
                raise QemuError(f"the machine's state was not {what}: {self.process.last_words}")
            if asyncio.get_running_loop().time() > deadline:
                raise QemuError(f"the machine's state was not {what} within {seconds:g} s")
            await asyncio.sleep(POLL)

    async def _migration(self) -> object:
        found = await self.qmp.execute("query-migrate")
        return found.get("status") if isinstance(found, dict) else None

    async def _until(self, holds: Callable[[], bool], seconds: float, what: str) -> None:
        try:
            async with asyncio.timeout(seconds):
                while not holds():
                    if self._ending:
                        raise QemuError(self.lost or "the machine was ended")
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            raise QemuError(
                f"QEMU did not tell of {what} within {seconds:g} s; {self.process.last_words}"
            ) from None

    def _irq(self, number: int, raised: bool) -> None:
        self._ears.irq(number, raised)

    def _event(self, name: str, data: Mapping[str, object]) -> None:
        if name == "RESET":
            self._resets += 1
            self._sent = False
            self._changed.set()
        self._ears.event(name, data)

    async def _watch_process(self) -> None:
        await self.process.wait()
        self.lose(f"QEMU is gone: {self.process.last_words}")
