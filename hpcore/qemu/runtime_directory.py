"""A directory for QEMU's sockets and files, and what becomes of those of killed processes.

It is needed until all are connected, and removed then. Who is killed with -9 before that
leaves it. Each is therefore locked by the process that made it, for as long as that lives,
and the next one that makes one takes away those that nobody has locked.
"""

from __future__ import annotations

import contextlib
import errno
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
    for parent in _parents():
        with contextlib.suppress(OSError):
            _sweep(Path(parent))
            return _made(parent)
    raise QemuError(
        "no directory for QEMU's sockets: $XDG_RUNTIME_DIR, $TMPDIR and /tmp are missing, not "
        "writable, or too long for a unix socket's path; set TMPDIR to a short, writable one"
    )


def lock_of(directory: Path) -> int:
    """The descriptor that holds the lock of a directory of ours.

    A child that inherits it holds the lock, too: for as long as the child lives, nobody takes
    the directory away. Of one that another process has made, a lock beside the other's. Raises
    QemuError where that can't be had.
    """
    if directory not in _locks:
        try:
            _locks[directory] = locked(directory)
        except OSError as error:
            said = f"{directory} cannot be held: {error.strerror}"
            raise QemuError(said) from error
    return _locks[directory]


def locked(directory: Path) -> int:
    """A descriptor that holds a lock of `directory` beside whoever has one; close it in the end.

    Raises OSError for one that is not this user's alone, or that is just being removed.
    """
    lock = _opened(directory)
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        os.close(lock)
        raise
    return lock


def let_go(directory: Path) -> None:
    """Leave the directory and its lock to the child that has inherited it. Idempotent."""
    lock = _locks.pop(directory, None)
    if lock is not None:
        os.close(lock)


def is_held(directory: Path) -> bool:
    """Whether a process holds the lock of a directory that this user's hpcore has made.

    False for what is no such directory, or of somebody else's.
    """
    return bool(_OURS.fullmatch(directory.name)) and is_locked(directory)


def is_locked(directory: Path) -> bool:
    """Whether a process holds the lock of `directory`. False for what is not this user's alone."""
    try:
        lock = _opened(directory)
    except OSError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(lock)
    return False


def held_directories() -> list[Path]:
    """Those that a process holds, wherever `runtime_directory` would make one now."""
    places = {Path(parent).resolve() for parent in _parents()}
    found = []
    for place in sorted(places):
        with contextlib.suppress(OSError):
            found += [p for p in sorted(place.iterdir()) if is_held(p)]
    return found


def remove_runtime_directory(directory: Path) -> None:
    """Remove the directory and all that is in it. Idempotent."""
    shutil.rmtree(directory, ignore_errors=True)
    lock = _locks.pop(directory, None)
    if lock is not None:
        os.close(lock)


def leave_runtime_directory(directory: Path) -> None:
    """Let go of the directory, and remove it unless a child that has inherited its lock lives."""
    let_go(directory)
    if not is_held(directory):
        shutil.rmtree(directory, ignore_errors=True)


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


def _parents() -> list[str]:
    named = (os.environ.get("XDG_RUNTIME_DIR"), tempfile.gettempdir(), "/tmp")
    return [parent for parent in named if parent and len(parent) < SOCKET_PATH_MOST // 2]


def _made(parent: str) -> Path:
    while True:
        directory = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=parent))
        with contextlib.suppress(FileNotFoundError):
            lock = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
            fcntl.flock(lock, fcntl.LOCK_SH)  # others may hold it, too: none of them removes it
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
    lock = _opened(directory)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(directory)
    finally:
        os.close(lock)


def _opened(directory: Path) -> int:
    """A descriptor of `directory`. Raises OSError where it is none of this user's alone."""
    lock = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    found = os.fstat(lock)
    if found.st_uid == os.geteuid() and stat.S_IMODE(found.st_mode) == 0o700:
        return lock
    os.close(lock)
    raise PermissionError(errno.EPERM, "it is another user's, or open to others", str(directory))
