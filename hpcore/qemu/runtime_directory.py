"""A directory for QEMU's sockets and files, and what becomes of those of killed processes.

It is needed until all are connected, and removed then. Who is killed with -9 before that
leaves it. Each is therefore locked by the process that made it, for as long as that lives,
and the next one that makes one takes away those that nobody has locked.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

from hpcore.qemu.errors import QemuError

SOCKET_PATH_MOST = 107  # sun_path of unix(7), less its ending zero
_PREFIX = "hpcore-qemu-"
_OURS = re.compile(_PREFIX + "[a-z0-9_]{8}")  # as mkdtemp names it

_locks: dict[Path, int] = {}
"""The descriptors that hold the locks of this process's directories."""


def runtime_directory() -> Path:
    """A new directory of our own for sockets and files, with a short path.

    Unix sockets take at most 107 bytes of path, which a long TMPDIR exceeds; then /tmp
    serves. Give it back by `remove_runtime_directory`.
    """
    for parent in (os.environ.get("XDG_RUNTIME_DIR"), tempfile.gettempdir(), "/tmp"):
        if parent and len(parent) < SOCKET_PATH_MOST // 2:
            with contextlib.suppress(OSError):
                _sweep(Path(parent))
                return _made(parent)
    raise QemuError(
        "no directory for QEMU's sockets: $XDG_RUNTIME_DIR, $TMPDIR and /tmp are missing, not "
        "writable, or too long for a unix socket's path; set TMPDIR to a short, writable one"
    )


def remove_runtime_directory(directory: Path) -> None:
    """Remove the directory and all that is in it. Idempotent."""
    shutil.rmtree(directory, ignore_errors=True)
    lock = _locks.pop(directory, None)
    if lock is not None:
        os.close(lock)


@contextlib.contextmanager
def directory_of_a_start() -> Iterator[Path]:
    """A `runtime_directory` for a QEMU that is started within; it is removed where that fails.

    Raises QemuError, also for what cannot be written there.
    """
    directory = runtime_directory()
    try:
        yield directory
    except BaseException as error:
        remove_runtime_directory(directory)
        if isinstance(error, OSError):
            said = f"{directory} cannot be written: {error.strerror}"
            raise QemuError(said) from error
        raise


def _made(parent: str) -> Path:
    while True:
        directory = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=parent))
        with contextlib.suppress(FileNotFoundError):
            lock = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
            fcntl.flock(lock, fcntl.LOCK_EX)
            if directory.exists():
                _locks[directory] = lock
                return directory
            os.close(lock)
        # another's sweep came between the two, and took it for a dead one's


def _sweep(parent: Path) -> None:
    """Remove those below `parent` that a process of the same user left when it was killed."""
    for entry in os.scandir(parent):
        if _OURS.fullmatch(entry.name) and entry.is_dir(follow_symlinks=False):
            with contextlib.suppress(OSError):  # it is in use, or gone in this moment
                _remove_unlocked(Path(entry.path))


def _remove_unlocked(directory: Path) -> None:
    lock = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        found = os.fstat(lock)
        if found.st_uid == os.geteuid() and stat.S_IMODE(found.st_mode) == 0o700:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(directory)
    finally:
        os.close(lock)
