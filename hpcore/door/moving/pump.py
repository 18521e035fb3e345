"""QEMU's end of a machine's way: a socket of the real QEMU's, taken to and from frames.

In threads, so that the machine's time and its clients wait for no other side; each takes a
mebibyte at most, whatever the machine's size.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import TypeVar

from hpcore.door.moving.channel import words_of
from hpcore.door.moving.frames import LARGEST, Frames, Kind
from hpcore.qemu.machine import QemuMachine

T = TypeVar("T")


class QemuEnd:
    """The socket, once QEMU has connected or was connected to."""

    def __init__(self, frames: Frames) -> None:
        self._frames = frames
        self._socket: socket.socket | None = None
        self._stopped = False

    def accept(self, listener: socket.socket) -> None:
        """Take QEMU's connection. Raises OSError where none comes."""
        sock, _ = listener.accept()
        self.have(sock)

    def have(self, sock: socket.socket) -> None:
        """Take this connection to QEMU."""
        sock.setblocking(True)
        self._socket = sock
        if self._stopped:
            self.stop()

    def take_to_frames(self, kind: Kind) -> None:
        """Write all that QEMU sends, to its end. Raises OSError; QEMU is cut off then."""
        assert self._socket is not None, "accept or have comes first"
        room = memoryview(bytearray(LARGEST))
        try:
            while size := self._socket.recv_into(room):
                self._frames.write(kind, room[:size])
        except BaseException:
            self.stop()
            raise

    def give(self, data: memoryview) -> None:
        """Give QEMU what the other side sent. Raises OSError where it takes no more."""
        if self._socket is not None:
            self._socket.sendall(data)

    def stop(self) -> None:
        """Cut QEMU off: whoever reads or writes here leaves off. Any thread."""
        self._stopped = True
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Let go of it; no thread uses it any more."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None


def give_up_with(qemu: QemuMachine, stream: asyncio.Future[T]) -> None:
    """Have QEMU's migration end with its `stream`, where that could not be written or read."""
    if not stream.cancelled() and isinstance(error := stream.exception(), Exception):
        qemu.migration.interrupt(words_of(error))
