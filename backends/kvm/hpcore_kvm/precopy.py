"""Memory on its way to another VM while its guest runs: all of it, then what was written since.

KVM notes which pages a vCPU writes to. The rest goes once the guest stands still. What is sent
goes through a socket, as to another process.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from hpcore_kvm import memory_stream
from hpcore_kvm.memory_stream import StreamError
from hpcore_kvm.vm import PAGE, Memory, Vm

FEW = 64
"""Pages: so few are sent within a millisecond or two, and the guest may stand still for that."""
ROUNDS = 12
"""For a guest that writes faster than it is carried: it stands still for the rest then."""


class Precopy:
    """From the one memory of `vm` to `there`, which is all zero. Its methods block.

    They raise StreamError and OSError where what is sent does not arrive, and KvmError. The
    guest of `vm` goes on, whatever happens here.
    """

    def __init__(self, vm: Vm, memory: Memory, there: Memory) -> None:
        self._vm, self._memory = vm, memory
        self._here, self._other = socket.socketpair()
        self._error: Exception | None = None
        self._receiver = threading.Thread(
            target=self._receive, args=(there,), name="memory arrives", daemon=True
        )
        self.rounds = self.sent = 0

    def start(self) -> None:
        """Send all of it once, and what the guest has written meanwhile, until that is little."""
        self._vm.log_writes(self._memory, True)
        self._receiver.start()
        with self._explained():
            self._writer = memory_stream.Writer(self._memory, _Sends(self._here))
        self._send(memory_stream.pieces(self._memory.data))
        while self.rounds < ROUNDS:
            if self._send_written() <= FEW * PAGE:
                return

    def finish(self) -> None:
        """Send the rest, of a guest that stands still; return once all has arrived."""
        self._send_written()
        with self._explained():
            self._writer.end()
        self._receiver.join()
        if self._error is not None:
            raise self._error

    def close(self) -> None:
        """Nothing is sent any more, or logged. May be called at any moment, and twice."""
        for end in (self._here, self._other):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        if self._receiver.ident is not None:
            self._receiver.join()
        self._here.close()
        self._other.close()
        self._vm.log_writes(self._memory, False)

    def _send_written(self) -> int:
        return self._send(memory_stream.marked(self._vm.written(self._memory), PAGE))

    def _send(self, spans: memory_stream.Spans) -> int:
        with self._explained():
            sent = self._writer.add(spans)
        self.rounds += 1
        self.sent += sent
        return sent

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Why what is sent within does not arrive is for the receiver to say, if it does."""
        try:
            yield
        except OSError as error:
            self._receiver.join(1.0)
            why = StreamError(f"the memory does not arrive: {error.strerror}")
            raise (self._error or why) from error

    def _receive(self, there: Memory) -> None:
        try:
            with self._other.makefile("rb", buffering=0) as file:
                memory_stream.take(there, file)
        except (StreamError, OSError, ValueError) as error:
            self._error = StreamError(f"the memory does not arrive: {error}")
            with suppress(OSError):
                self._other.shutdown(socket.SHUT_RDWR)


class _Sends:
    """Writes to a socket, all of it."""

    def __init__(self, end: socket.socket) -> None:
        self._end = end

    def write(self, data: bytes | memoryview, /) -> None:
        self._end.sendall(data)
