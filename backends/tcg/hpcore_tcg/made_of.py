"""What a machine that outlives hpcore was made of, so that another hpcore can carry it elsewhere.

It is written down in the machine's directory before its QEMU is started, and stays. The firmware
and the device tree, which are new in each machine, are in the directory of the QEMU that has it.
"""

from __future__ import annotations

import json
from pathlib import Path

from attrs import frozen

from hpcore.guest.boot import BootFiles
from hpcore.qemu.errors import QemuError
from hpcore.qemu.find import Qemu
from hpcore.run.saved_parts import BLOB, TREE
from hpcore.session.elsewhere import LoadedFiles
from hpcore_tcg.build import Monitor

FILE = "made-of.json"


@frozen
class MadeOf:
    """QEMU, the monitor, what boots, and what files these were then."""

    qemu: Qemu
    monitor: Monitor
    boot: BootFiles | None
    loaded: LoadedFiles

    @classmethod
    def of(cls, boot: BootFiles | None, qemu: Qemu, monitor: Monitor) -> MadeOf:
        """As they are now. Raises QemuError where a file cannot be read."""
        files = [] if boot is None else [boot.kernel, boot.initrd]
        return cls(qemu, monitor, boot, LoadedFiles.of([qemu.path, monitor.path, *files]))

    def write(self, machine: Path) -> None:
        """Write it down in the directory `machine`. Raises OSError."""
        said = {
            "qemu": str(self.qemu.path),
            "version": self.qemu.version,
            "monitor": str(self.monitor.path),
            "digest": self.monitor.digest,
            "images": [] if self.boot is None else [str(self.boot.kernel), str(self.boot.initrd)],
            "loaded": {str(path): was for path, was in self.loaded.as_they_were.items()},
        }
        (machine / FILE).write_text(json.dumps(said) + "\n", encoding="utf-8")

    @classmethod
    def read(cls, machine: Path, qemu: Path) -> MadeOf:
        """What is written down in `machine`, whose QEMU lives in the directory `qemu`.

        Raises QemuError.
        """
        try:
            said = json.loads((machine / FILE).read_text(encoding="utf-8"))
            boot = None
            if said["images"]:
                kernel, initrd = map(Path, said["images"])
                blob, tree = (qemu / BLOB).read_bytes(), (qemu / TREE).read_bytes()
                boot = BootFiles(blob, tree, kernel, initrd)
            loaded = {
                Path(path): (int(device), int(inode), int(size), int(changed))
                for path, (device, inode, size, changed) in said["loaded"].items()
            }
            return cls(
                Qemu(Path(said["qemu"]), said["version"]),
                Monitor(Path(said["monitor"]), said["digest"]),
                boot,
                LoadedFiles(loaded),
            )
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise QemuError(
                f"what the machine was made of is not to be read in {machine}: "
                f"{type(error).__name__}: {error}"
            ) from error
