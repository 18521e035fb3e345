"""A QEMU that outlives the hpcore that started it, and is found again by its directory.

It inherits the lock of that directory. So the lock says whether it lives, from its first
instruction on, and nobody takes the directory away before its end.
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
from hpcore.qemu.runtime_directory import is_held, let_go, lock_of

STDERR = "stderr"
"""QEMU's words, in its directory."""

POLL = 0.01


class QemuGone(QemuError):
    """A kept QEMU has ended while no hpcore had it."""


class KeptQemu(AttachedQemu):
    """A QEMU in a session of its own, with its words in a file. Made by `start` or `attach`."""

    _child: subprocess.Popen[bytes] | None = None

    @classmethod
    def start(
        cls,
        argv: Sequence[str | Path],
        directory: Path,
        sockets: Sequence[Path],
        environment: Mapping[str, str] | None = None,
    ) -> KeptQemu:
        """Start QEMU with `argv`, and `environment` beside our own; `directory` is one of ours,
        see `runtime_directory`.

        Raises QemuError where a socket path is occupied or too long, or the program cannot be
        run.
        """
        for path in sockets:
            check_socket_path(path)
        try:
            with (directory / STDERR).open("ab") as words:
                child = subprocess.Popen(
                    argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=words,
                    start_new_session=True, pass_fds=(lock_of(directory),),
                    env={**os.environ, **(environment or {})},
                )  # fmt: skip
        except OSError as error:
            raise QemuError(f"{argv[0]} cannot be started: {error.strerror}") from error
        qemu = cls(child.pid, directory)
        qemu._child = child
        return qemu

    @classmethod
    async def attach(
        cls, directory: Path, listens: Path, seconds: float = LISTEN_SECONDS
    ) -> KeptQemu:
        """The QEMU that lives in `directory`, and listens at the socket `listens` there.

        Raises QemuGone where none lives there, and QemuError where it does not listen, or the
        directory is another user's.
        """
        _require_ours(directory)
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds
        while is_held(directory):
            with socket.socket(socket.AF_UNIX) as sock:
                sock.setblocking(False)
                with contextlib.suppress(FileNotFoundError, ConnectionRefusedError):
                    await loop.sock_connect(sock, str(listens))
                    with contextlib.suppress(ProcessLookupError):
                        return cls(peer(sock), directory)
            if loop.time() > deadline:
                raise QemuError(
                    f"QEMU does not listen at {listens} after {seconds:g} s; {_words(directory)}"
                )
            await asyncio.sleep(POLL)
        raise QemuGone(f"QEMU has ended: {_words(directory)}")

    @property
    def last_words(self) -> str:
        """See RunningQemu."""
        return _words(self.directory)

    def leave(self) -> None:
        """Watch it no longer: it goes on, and so does its directory."""
        self.unwatch()
        let_go(self.directory)

    def _gone(self) -> None:
        if self._child is not None:
            self._child.wait()
        super()._gone()


def _require_ours(directory: Path) -> None:
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
