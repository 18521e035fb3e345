"""Where a machine is carried: another QEMU, made as the first one was, to wait for it.

A reset rewrites the loader's files, the device tree and the flash from what *that* QEMU was
started with. So the two must be started with the same; those of them that are files of the
user's may have changed since.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import Generic, TypeVar

from attrs import field, frozen

from hpcore.guest.boot import BootFiles
from hpcore.qemu.errors import QemuError
from hpcore.qemu.machine import QemuMachine

NOT_OURS_TO_START = (
    "this machine's QEMU was started by somebody else, who alone can start the one to migrate to"
)

M = TypeVar("M", bound=QemuMachine)

_Identity = tuple[int, int, int, int]


@frozen
class LoadedFiles:
    """Files that QEMU loads, as they were when its machine was made, by what they are."""

    as_they_were: dict[Path, _Identity]

    @classmethod
    def of(cls, paths: Iterable[Path]) -> LoadedFiles:
        """`paths` as they are now. Raises QemuError where one cannot be read."""
        return cls({path: _identity(path) for path in paths})

    def require_unchanged(self) -> None:
        """Raise QemuError where a file is another one by now."""
        for path, was in self.as_they_were.items():
            if _identity(path) != was:
                raise QemuError(
                    f"{path} has changed since the machine was made, and a reset of the machine "
                    "would load it: put back the one that was there, or boot anew"
                )


@frozen
class Elsewhere(Generic[M]):
    """What starts the QEMU to carry a machine to, by `begin`; `live` says whether it may run
    until the last moment. `boot` is what both of them load at a reset."""

    begin: Callable[[], Awaitable[M]]
    files: LoadedFiles
    boot: BootFiles | None
    live: bool = field(kw_only=True)

    async def start(self) -> M:
        """A QEMU that waits for the machine. Raises QemuError, and leaves nothing behind."""
        self.files.require_unchanged()
        return await self.begin()


def _identity(path: Path) -> _Identity:
    try:
        found = path.stat()
    except OSError as error:
        raise QemuError(f"{path} cannot be read: {error.strerror}") from error
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns
