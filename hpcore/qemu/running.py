"""A QEMU that runs, whoever has started it: what hpcore asks of it, and how it connects to it."""

from __future__ import annotations

import asyncio
import socket
from abc import ABC, abstractmethod
from pathlib import Path

from hpcore.qemu.errors import QemuError
from hpcore.qemu.runtime_directory import remove_runtime_directory

LISTEN_SECONDS = 30.0  # a QEMU with many vCPUs on a busy host takes its time

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class RunningQemu(ABC):
    """A QEMU process, and the directory of its own where its sockets are."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    @property
    @abstractmethod
    def pid(self) -> int:
        """The process id, valid until `wait` has returned."""

    @property
    @abstractmethod
    def running(self) -> bool:
        """Whether it has not ended yet."""

    @property
    @abstractmethod
    def last_words(self) -> str:
        """The end of what QEMU wrote to stderr, as far as that is known, and how it ended."""

    @abstractmethod
    async def wait(self) -> None:
        """Wait until QEMU has ended."""

    @abstractmethod
    async def close(self) -> None:
        """End QEMU, politely at first, and remove its directory. Idempotent."""

    async def connect(self, path: Path, seconds: float = LISTEN_SECONDS) -> Streams:
        """As `connect_socket`, for reading and writing."""
        sock = await self.connect_socket(path, seconds)
        return await asyncio.open_unix_connection(sock=sock)

    async def connect_socket(self, path: Path, seconds: float = LISTEN_SECONDS) -> socket.socket:
        """Connect to the unix socket `path` of this QEMU, as soon as it listens there.

        Raises QemuError with QEMU's words where it ends first, or does not listen within
        `seconds`, or where it is another user's.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds
        pause = 0.001
        while True:
            sock = socket.socket(socket.AF_UNIX)
            sock.setblocking(False)
            try:
                await loop.sock_connect(sock, str(path))
                return sock
            except (FileNotFoundError, ConnectionRefusedError):
                sock.close()
            except PermissionError as error:
                sock.close()
                raise QemuError(
                    f"QEMU runs as another user, whose socket {path} this one may not use; is its "
                    "program set-uid? Have HPCORE_QEMU name one that is not"
                ) from error
            if not self.running:
                raise QemuError(f"QEMU did not start: {self.last_words}")
            if loop.time() > deadline:
                raise QemuError(
                    f"QEMU does not listen at {path} after {seconds:g} s; {self.last_words}"
                )
            await asyncio.sleep(pause)
            pause = min(pause * 2, 0.02)

    def all_connected(self) -> None:
        """All are connected: nobody needs its directory from here on.

        So that nothing is left behind even by a `kill -9`. It keeps what it has loaded, also over
        a reset.
        """
        self.remove_directory()

    def remove_directory(self) -> None:
        """Remove its directory now: QEMU has opened what is in it. Idempotent."""
        remove_runtime_directory(self.directory)
