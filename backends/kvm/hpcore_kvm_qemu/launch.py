"""How QEMU is started: its arguments, the files that it loads, and its environment."""

from __future__ import annotations

import os
from pathlib import Path

from attrs import frozen

from hpcore.guest.boot import BootFiles
from hpcore.model.config import MachineConfig
from hpcore.platform import virt
from hpcore.qemu.arguments import in_memory, qmp_monitor, socket_chardev
from hpcore.qemu.find import Qemu
from hpcore.qemu.kept_machine import CONSOLE_KEPT

LINK = "interposer"
"""The socket in QEMU's directory at which hpcore listens for the interposer."""

MACHINE = {"gic-version": "3", "acpi": "off"}
"""What the machine must have: redistributors, and no tables but hpcore's."""


@frozen
class Sockets:
    """Where QEMU listens. `console` is None where the guest's console is not hpcore's, and
    `incoming` where no machine is to come by a migration."""

    qmp: Path
    console: Path | None
    incoming: Path | None = None

    @classmethod
    def below(cls, directory: Path, *, incoming: bool = False) -> Sockets:
        """All of them in QEMU's own directory."""
        comes = directory / "incoming" if incoming else None
        return cls(directory / "qmp", directory / "console", comes)

    def all(self) -> tuple[Path, ...]:
        """Every one, for the check that none is occupied."""
        every = (self.qmp, self.console, self.incoming)
        return tuple(path for path in every if path is not None)


def environment(interposer: Path, directory: Path) -> dict[str, str]:
    """What has QEMU load the interposer, beside what is preloaded already, and the interposer
    find hpcore, which listens in QEMU's `directory`."""
    others = os.environ.get("LD_PRELOAD", "").split()
    return {
        "LD_PRELOAD": ":".join([str(interposer), *others]),
        "HPCORE_INTERPOSER": str(directory / LINK),
    }


def command_line(
    machine: MachineConfig,
    images: BootFiles | None,
    qemu: Qemu,
    directory: Path,
    sockets: Sockets,
    *,
    kept: bool = False,
) -> list[str]:
    """QEMU's arguments, its program first; writes the files they name into `directory`.

    All possible vCPUs exist from the start: QEMU can add none later, and what a plug changes
    is which of them the interposer lets on. What is `kept` has its console's bytes in a file, too.
    """
    assert sockets.console is not None, "of a QEMU that we start, the console is ours"
    console = directory / CONSOLE_KEPT if kept else None
    settings = ",".join(f"{name}={value}" for name, value in MACHINE.items())
    argv = [
        str(qemu.path), "-no-user-config", "-nodefaults", "-display", "none",
        "-machine", f"virt,{settings}", "-accel", "kvm", "-cpu", "host",
        "-smp", str(machine.possible), "-m", f"{machine.memory}M",
        "-S", "-action", "shutdown=pause",
        *socket_chardev("console", sockets.console, console, append=True),
        "-serial", "chardev:console",
        *qmp_monitor(sockets.qmp),
    ]  # fmt: skip
    if sockets.incoming is not None:
        argv += ["-incoming", "defer"]
    return argv if images is None else [*argv, *image_arguments(images, directory)]


def image_arguments(images: BootFiles, directory: Path) -> list[str]:
    """What lies in the guest's memory before it starts; written to `directory` where it is new.

    QEMU enters the kernel itself, as it does for `-kernel`; the tree and the tables are ours.
    """
    blob, tree = directory / "firmware.bin", directory / "tree.dtb"
    blob.write_bytes(images.blob)
    tree.write_bytes(images.tree)
    return [
        "-kernel", str(images.kernel), "-initrd", str(images.initrd), "-dtb", str(tree),
        *in_memory(blob, virt.BLOB_BASE),
    ]  # fmt: skip
