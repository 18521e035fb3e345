"""The directory of one QEMU of a machine that outlives hpcore, within the machine's own.

The machine's directory stays wherever the machine goes, and so does what the machine has said: one
QEMU after the other appends to the same files there. Each QEMU that has the machine, or is to have
it, has a directory `q0`, `q1` and so on, with its sockets, its words and the files that it loads.

A QEMU may have the machine only while its directory has the file MAY_HAVE. That is made before
anything of the machine is sent there, and removed before the machine goes on in another one. So an
hpcore that is killed amid a move leaves one such QEMU, or two, of which QEMU's own word tells which
has it (hpcore.qemu.kept_moves). To remove a file needs no room on the disk: once a move has begun,
a full one is no hindrance.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from attrs import frozen

from hpcore.qemu.errors import QemuError
from hpcore.qemu.runtime_directory import is_locked

MAY_HAVE = "may-have-the-machine"
_NAME = re.compile(r"q(\d+)")


@frozen
class QemuDirectory:
    """See above. The lock of it is its QEMU's alone."""

    path: Path

    @classmethod
    def made(cls, machine: Path, number: int) -> QemuDirectory:
        """A new one below the directory `machine`. Raises QemuError."""
        path = machine / f"q{number}"
        try:
            path.mkdir(mode=0o700)
        except OSError as error:
            raise QemuError(f"{path} cannot be made: {error.strerror}") from error
        return cls(path)

    @classmethod
    def all_of(cls, machine: Path) -> list[QemuDirectory]:
        """Those below the directory `machine`, the oldest first; none where that is gone."""
        try:
            found = [cls(path) for path in machine.iterdir() if _NAME.fullmatch(path.name)]
        except FileNotFoundError:
            return []
        return sorted(found, key=lambda one: one.number)

    @property
    def number(self) -> int:
        """How many QEMUs had the machine before."""
        found = _NAME.fullmatch(self.path.name)
        assert found is not None, "its name is one of ours"
        return int(found[1])

    @property
    def lives(self) -> bool:
        """Whether its QEMU has not ended."""
        return is_locked(self.path)

    @property
    def may_have(self) -> bool:
        """Whether its QEMU may have the machine."""
        return (self.path / MAY_HAVE).exists()

    def expect(self) -> None:
        """From here on its QEMU may have the machine. Raises QemuError."""
        try:
            (self.path / MAY_HAVE).touch()
        except OSError as error:
            raise QemuError(f"{self.path} cannot be written: {error.strerror}") from error

    def give_up(self) -> None:
        """From here on its QEMU has no machine, and never will. Idempotent."""
        (self.path / MAY_HAVE).unlink(missing_ok=True)

    def remove(self) -> None:
        """Its QEMU has ended. Idempotent."""
        shutil.rmtree(self.path, ignore_errors=True)
