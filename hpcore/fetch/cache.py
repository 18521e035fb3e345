"""Where hpcore keeps what it fetched, and how two that run together share it."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from hpcore.fetch.errors import FetchError

CACHE_VARIABLE = "HPCORE_CACHE"


def cache_directory(environment: Mapping[str, str] = os.environ) -> Path:
    """$HPCORE_CACHE, else $XDG_CACHE_HOME/hpcore, else ~/.cache/hpcore. Not created."""
    if own := environment.get(CACHE_VARIABLE):
        return Path(own).absolute()
    if xdg := environment.get("XDG_CACHE_HOME"):
        return Path(xdg).absolute() / "hpcore"
    return Path("~/.cache/hpcore").expanduser()


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock file `path` against every other process that does the same.

    The kernel lets go of the lock when its holder dies, so none is ever stale.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextmanager
def scratch(parent: Path) -> Iterator[Path]:
    """An empty directory below `parent`, gone at the end unless it was renamed away.

    It is on the file system of `parent`, so that a rename into `parent` is atomic.
    """
    parent.mkdir(parents=True, exist_ok=True)
    path = Path(tempfile.mkdtemp(prefix=".partial-", dir=parent))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def write_atomically(path: Path, data: bytes) -> None:
    """Make `path` hold `data`, or leave it as it was."""
    with scratch(path.parent) as directory:
        partial = directory / path.name
        partial.write_bytes(data)
        partial.replace(path)


@contextmanager
def file_errors(what: str, where: Path) -> Iterator[None]:
    """Turn an OSError (disk full, no permission) into a FetchError that names the place."""
    try:
        yield
    except OSError as error:
        raise FetchError(
            f"cannot {what} in {where}: {error.strerror or error}; free some space or make it "
            f"writable, or set {CACHE_VARIABLE} to a directory that is"
        ) from error
