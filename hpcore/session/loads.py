"""What a reset has QEMU load again: of two QEMUs between which a machine moves, the same."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path

from attrs import frozen

from hpcore.guest.boot import BootFiles
from hpcore.qemu.errors import QemuError
from hpcore.run.saved_parts import BLOB, INITRD, KERNEL, TREE, digest
from hpcore.session.carrying import MACHINE_TYPE, QEMU
from hpcore.session.elsewhere import LoadedFiles

SAME_START = "start both with the same command line, and the same hpcore"
REMEDIES = {
    QEMU: "have both sides use the same QEMU",
    MACHINE_TYPE: "start both with the same -machine",
    BLOB: SAME_START,
    TREE: "start both with the same -append, -initrd and hpcore",
    KERNEL: "start both with the same -kernel",
    INITRD: "start both with the same -initrd",
}
"""What to do where the other side has another one."""


@frozen
class Loads:
    """Of one VM that somebody else starts."""

    known: Mapping[str, str]
    """Digests, by what they are of."""
    paths: Mapping[str, Path]
    """Files of which the digest is taken each time, as nobody keeps others from changing them."""
    files: LoadedFiles

    @classmethod
    def of(cls, built: Mapping[str, bytes]) -> Loads:
        """What hpcore has `built`, by name."""
        return cls(_digests(built), {}, LoadedFiles({}))

    @classmethod
    def of_boot(
        cls,
        boot: BootFiles,
        known: Mapping[str, str],
        files: Iterable[Path],
        *,
        from_disk: bool,
    ) -> Loads:
        """What starts the guest by its kernel, and other `files`, whose digests are `known`.

        `from_disk`: the kernel, the initrd and the command line are read from the guest's disk
        anew at each reset, so that those of the start count for nothing. Raises QemuError where
        a file cannot be read.
        """
        built, paths = {BLOB: boot.blob}, {}
        if not from_disk:
            built[TREE] = boot.seedless_tree
            paths = {KERNEL: boot.kernel, INITRD: boot.initrd}
        loaded = LoadedFiles.of([*files, *paths.values()])
        return cls({**known, **_digests(built)}, paths, loaded)

    def digests(self) -> dict[str, str]:
        """By what they are of. Raises QemuError where a file has changed since it was loaded."""
        self.files.require_unchanged()
        found = dict(self.known)
        for name, path in self.paths.items():
            try:
                found[name] = digest(path)
            except OSError as error:
                raise QemuError(f"{path} cannot be read: {error.strerror}") from error
        return found


def _digests(built: Mapping[str, bytes]) -> dict[str, str]:
    return {name: hashlib.sha256(data).hexdigest() for name, data in built.items()}
