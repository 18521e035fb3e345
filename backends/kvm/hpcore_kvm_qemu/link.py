"""The socket to the interposer: what it says, in order, and what it is answered.

Everything is taken and answered in the event loop, at once: a vCPU stands still for an
answer, and QEMU's stop with it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import struct
from collections.abc import Callable
from pathlib import Path

import structlog
from attrs import frozen

from hpcore.qemu.attached import peer
from hpcore.qemu.errors import QemuError
from hpcore.qemu.process import check_socket_path
from hpcore_kvm_qemu import wire
from hpcore_kvm_qemu.wire import Message

log = structlog.get_logger(__name__)

QUEUED_MOST = 1024
"""More messages than a socket's buffer of the usual size holds, which is some 280."""


@frozen
class Said:
    """One message; wire.h says what its numbers are."""

    kind: Message
    vcpu: int
    a: int
    b: int
    c: int
    d: int

    @classmethod
    def of(cls, kind: int, *numbers: int) -> Said:
        """From the numbers of `wire.MESSAGE`. Raises ValueError for a kind that is none."""
        return cls(Message(kind), *numbers)


class Listener:
    """Where the interposer of one QEMU connects to; it does so before QEMU's main() runs."""

    def __init__(self, path: Path, *, again: bool = False) -> None:
        """Raises QemuError where hpcore cannot listen at `path`.

        `again` is for one whose machine this is alone: what an hpcore that was killed has left
        there goes.
        """
        if again:
            path.unlink(missing_ok=True)
        check_socket_path(path)
        self.path = path
        self._sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK)
        try:
            self._sock.bind(str(path))
            self._sock.listen(1)
        except OSError as error:
            self._sock.close()
            raise QemuError(f"cannot listen at {path}: {error.strerror}") from error

    def accept(self) -> tuple[socket.socket, int] | None:
        """The connection that waits, and the process that made it; None where none does."""
        try:
            sock, _ = self._sock.accept()
        except BlockingIOError:
            return None
        sock.setblocking(False)
        return sock, peer(sock)

    def fileno(self) -> int:
        """For the event loop."""
        return self._sock.fileno()

    def close(self) -> None:
        """Listen no more. Idempotent."""
        self._sock.close()
        with contextlib.suppress(FileNotFoundError):
            self.path.unlink()


class PolicyLink:
    """The link of one QEMU, from its interposer's greeting on.

    `said` is called with every message, and returns the value for those that are answered.
    `ended` is called once, with the reason, when the link is of no use any more.
    """

    def __init__(
        self,
        listener: Listener | None,
        page: int,
        said: Callable[[Said], int],
        ended: Callable[[str], None],
    ) -> None:
        self._listener, self._page = listener, page
        self._said, self._on_end = said, ended
        self._sock: socket.socket | None = None
        self._waits = False
        self._pid: int | None = None
        self._event = -1
        self._over = False
        self._loop = asyncio.get_running_loop()

    def expect(self, pid: int) -> None:
        """Take the process `pid` from now on, which may be connecting already, and no other."""
        assert self._listener is not None, "of a QEMU that has yet to come"
        self._pid = pid
        self._loop.add_reader(self._listener.fileno(), self._accept)

    @property
    def greeted(self) -> bool:
        """Whether the interposer is there, and has the page."""
        return self._event >= 0

    def resume(self, sock: socket.socket, event: int) -> None:
        """In place of a greeting: the link of an interposer that has come back, and the
        eventfd. What comes waits for `go`."""
        self._sock, self._event, self._waits = sock, event, True

    def go(self) -> None:
        """Take what the interposer says, from now on."""
        self._waits = False
        if self._sock is not None:
            self._loop.add_reader(self._sock, self._take)

    def answer(self, kind: Message, value: int) -> None:
        """Answer a message that came before this link did."""
        if self._sock is not None:
            self._answer(kind, value)

    def raise_interrupt(self) -> None:
        """Pulse the event device's interrupt."""
        if self._event >= 0:
            with contextlib.suppress(OSError):  # QEMU's process has made it, of whatever kind
                os.write(self._event, (1).to_bytes(8, "little"))

    def drain(self) -> None:
        """Take all that the interposer has said so far. More of it may come all the time."""
        for _ in range(QUEUED_MOST):
            if self._sock is None or self._waits or not self._take():
                return

    def close(self) -> None:
        """Leave the link: nothing is granted from then on. Idempotent."""
        self._over = True
        self._stop_listening()
        self._hang_up()

    def _accept(self) -> None:
        found = None if self._listener is None else self._listener.accept()
        if found is None:
            return
        sock, pid = found
        if self._sock is not None or pid != self._pid:
            log.warning("a process that is not this machine's QEMU; hung up", pid=pid)
            sock.close()
            return
        self._sock = sock
        self._loop.add_reader(sock, self._take)

    def _take(self) -> bool:
        """Take one message; False where there is none."""
        assert self._sock is not None
        try:
            data, descriptors, _, _ = socket.recv_fds(self._sock, wire.MESSAGE.size + 1, 1)
        except BlockingIOError:
            return False
        except OSError as error:
            self._end(error.strerror or str(error))
            return False
        try:
            if not data:
                self._end("QEMU closed it")
                return False
            return self._understand(data, descriptors)
        finally:
            for descriptor in descriptors:
                os.close(descriptor)

    def _understand(self, data: bytes, descriptors: list[int]) -> bool:
        try:
            said = Said.of(*wire.MESSAGE.unpack(data))
        except (struct.error, ValueError):
            self._end(f"a message of {len(data)} bytes is none")
            return False
        if said.kind is Message.HELLO:
            return self._greet(said, descriptors)
        if not self.greeted or said.kind in wire.UNCOUNTED:
            self._end(f"{said.kind.name} came at the wrong time")
            return False
        try:
            value = self._said(said)
        except Exception as error:  # an answer is owed; without one QEMU would stand still
            log.exception("a message of the interposer's", kind=said.kind.name)
            self._end(f"hpcore failed at {said.kind.name}: {type(error).__name__}: {error}")
            return False
        if said.kind in wire.ANSWERED:
            self._answer(said.kind, value)
        return self._sock is not None

    def _greet(self, said: Said, descriptors: list[int]) -> bool:
        if self.greeted or len(descriptors) != 1 or said.a != wire.VERSION:
            self._end(f"its interposer speaks version {said.a} of the link, not {wire.VERSION}")
            return False
        self._event = os.dup(descriptors[0])
        os.set_blocking(self._event, False)
        self._stop_listening()
        self._answer(Message.HELLO, wire.VERSION, [self._page])
        return True

    def _answer(self, kind: Message, value: int, descriptors: list[int] | None = None) -> None:
        """One answer is owed at a time, so that there is always room for it."""
        assert self._sock is not None
        try:
            socket.send_fds(
                self._sock, [wire.ANSWER.pack(kind, 0, value)], descriptors or [],
                socket.MSG_NOSIGNAL,
            )  # fmt: skip
        except OSError as error:
            self._end(error.strerror or str(error))

    def _stop_listening(self) -> None:
        if self._listener is None:
            return
        if self._listener.fileno() >= 0:
            self._loop.remove_reader(self._listener.fileno())
        self._listener.close()

    def _hang_up(self) -> None:
        if self._sock is not None:
            self._loop.remove_reader(self._sock)
            self._sock.close()
            self._sock = None
        if self._event >= 0:
            os.close(self._event)
            self._event = -1

    def _end(self, why: str) -> None:
        self._hang_up()
        if not self._over:
            self._over = True
            self._on_end(why)
