"""A QEMU that somebody else has started: watched by its pidfd, and ended by a signal."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import struct
from pathlib import Path

from hpcore.qemu.running import RunningQemu

END_SECONDS = 5.0
WITH_ITS_STARTER = "what it said is with whoever started it"
_UCRED = struct.Struct("3i")  # pid, uid, gid: unix(7), SO_PEERCRED


class AttachedQemu(RunningQemu):
    """The process `pid`, which is not our child. Its words went to whoever started it."""

    def __init__(self, pid: int, directory: Path) -> None:
        """Raises ProcessLookupError where there is no such process."""
        super().__init__(directory)
        self._pid = pid
        self._ended = asyncio.Event()
        self._pidfd = os.pidfd_open(pid)
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._pidfd, self._gone)

    @property
    def pid(self) -> int:
        """See RunningQemu."""
        return self._pid

    @property
    def running(self) -> bool:
        """See RunningQemu."""
        return not self._ended.is_set()

    @property
    def last_words(self) -> str:
        """See RunningQemu."""
        return WITH_ITS_STARTER

    async def wait(self) -> None:
        """See RunningQemu."""
        await self._ended.wait()

    async def close(self) -> None:
        """See RunningQemu."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            if self.running:
                with contextlib.suppress(ProcessLookupError):
                    signal.pidfd_send_signal(self._pidfd, number)
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._ended.wait(), END_SECONDS)
        self.remove_directory()

    def unwatch(self) -> None:
        """Watch it no longer; nobody is told of its end. Idempotent."""
        if self._pidfd >= 0:
            self._loop.remove_reader(self._pidfd)
            os.close(self._pidfd)
            self._pidfd = -1

    def _gone(self) -> None:
        self.unwatch()
        self._ended.set()


def peer(sock: socket.socket) -> int:
    """The process at the other end of a unix socket: it listened there, or has connected."""
    data = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
    pid: int = _UCRED.unpack(data)[0]
    return pid
