"""A QEMU that outlives the hpcore that started it, and is found again by its directory.

It inherits the lock of that directory. So the lock says whether it lives, from its first
instruction on, and nobody takes the directory away before its end. Where the machine may move to
another QEMU, each has a directory of its own in the machine's (hpcore.qemu.kept_directory), and
inherits the locks of both.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from hpcore.errors import printable
from hpcore.qemu.attached import WITH_ITS_STARTER, AttachedQemu, peer
from hpcore.qemu.errors import QemuError
from hpcore.qemu.process import STDERR_KEPT, check_socket_path
from hpcore.qemu.running import LISTEN_SECONDS
from hpcore.qemu.runtime_directory import (
    is_locked,
    let_go,
    lock_of,
    locked,
    remove_runtime_directory,
)

STDERR = "stderr"
"""QEMU's words, in its directory."""

POLL = 0.01


class QemuGone(QemuError):
    """A kept QEMU has ended while no hpcore had it."""


class KeptQemu(AttachedQemu):
    """A QEMU in a session of its own, with its words in a file. Made by `start` or `attach`."""

    _child: subprocess.Popen[bytes] | None = None
    _said: str | None = None
    """Its words, of one whose directory is gone."""

    def __init__(self, pid: int, directory: Path, place: Path | None = None) -> None:
        """`place` is the machine's directory, where that is another one than `directory`."""
        super().__init__(pid, directory)
        self.place = place or directory

    @classmethod
    def start(
        cls,
        argv: Sequence[str | Path],
        directory: Path,
        sockets: Sequence[Path],
        environment: Mapping[str, str] | None = None,
        place: Path | None = None,
    ) -> KeptQemu:
        """Start QEMU with `argv`, and `environment` beside our own, in `directory`. The machine's,
        which is `place` or the same one, is one of ours: see `runtime_directory`.

        Raises QemuError where a socket path is occupied or too long, or the program cannot be
        run.
        """
        for path in sockets:
            check_socket_path(path)
        locks = [lock_of(place or directory)]
        try:
            if place is not None:
                locks.append(locked(directory))
            with (directory / STDERR).open("ab") as words:
                child = subprocess.Popen(
                    argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=words,
                    start_new_session=True, pass_fds=locks,
                    env={**os.environ, **(environment or {})},
                )  # fmt: skip
        except OSError as error:
            raise QemuError(f"{argv[0]} cannot be started: {error.strerror}") from error
        finally:
            for lock in locks[1:]:
                os.close(lock)
        qemu = cls(child.pid, directory, place)
        qemu._child = child
        return qemu

    @classmethod
    async def attach(
        cls,
        directory: Path,
        listens: Path,
        seconds: float = LISTEN_SECONDS,
        place: Path | None = None,
    ) -> KeptQemu:
        """The QEMU that lives in `directory`, and listens at the socket `listens` there. `place`
        is the machine's directory, where that is another one.

        Raises QemuGone where none lives there, and QemuError where it does not listen, or the
        directory is another user's.
        """
        require_ours(place or directory)
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds
        while is_locked(directory):
            with socket.socket(socket.AF_UNIX) as sock:
                sock.setblocking(False)
                with contextlib.suppress(FileNotFoundError, ConnectionRefusedError):
                    await loop.sock_connect(sock, str(listens))
                    with contextlib.suppress(ProcessLookupError):
                        return cls(peer(sock), directory, place)
            if loop.time() > deadline:
                raise QemuError(
                    f"QEMU does not listen at {listens} after {seconds:g} s; {_words(directory)}"
                )
            await asyncio.sleep(POLL)
        raise QemuGone(f"QEMU has ended: {_words(directory)}")

    @property
    def last_words(self) -> str:
        """See RunningQemu."""
        return _words(self.directory) if self._said is None else self._said

    def all_connected(self) -> None:
        """See RunningQemu: it stays, since others are to connect."""

    def remove_directory(self) -> None:
        """See RunningQemu. What it said is remembered."""
        if self._said is None:
            self._said = _words(self.directory)
        remove_runtime_directory(self.directory)

    def leave(self) -> None:
        """Watch it no longer: it goes on, and so does its directory."""
        self.unwatch()
        let_go(self.place)

    def _gone(self) -> None:
        if self._child is not None:
            self._child.wait()
        super()._gone()


def require_ours(directory: Path) -> None:
    """Raises QemuError for another user's directory: whether a QEMU lives there is not known."""
    try:
        owner = directory.stat().st_uid
    except FileNotFoundError:
        return
    except OSError as error:
        raise QemuError(f"{directory} cannot be looked into: {error.strerror}") from error
    if owner != os.geteuid():
        raise QemuError(f"{directory} is another user's: only that user can have its machine")


def _words(directory: Path) -> str:
    """The end of what QEMU wrote to stderr; of one that somebody else started, who has it."""
    if directory.exists() and not (directory / STDERR).exists():
        return WITH_ITS_STARTER
    try:
        with (directory / STDERR).open("rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - STDERR_KEPT))
            words = printable(file.read().decode(errors="replace").strip())
    except OSError:
        return "what it said is gone with its directory"
    return words or "it wrote nothing to stderr"
