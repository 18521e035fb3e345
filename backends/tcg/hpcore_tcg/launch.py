"""How QEMU is started: its arguments, and the files that it loads."""

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
from hpcore.run.saved_parts import BLOB, TREE
from hpcore_tcg.build import Monitor

LINK, CHARDEV = "link", "hpcore-link"
"""The link's socket in QEMU's directory, and its name among QEMU's character devices."""

LINK_KEPT = "link.log"
"""Where QEMU keeps what the monitor sends, of a machine that is kept."""

LINK_LOG = "HPCORE_TCG_LINK_LOG"
"""Environment: a file to which QEMU copies what the monitor sends, for tests."""


@frozen
class Sockets:
    """Where QEMU listens. `console` is None where the guest's console is not hpcore's, and
    `incoming` where no machine is to come by a migration."""

    qmp: Path
    console: Path | None
    link: Path
    incoming: Path | None = None

    @classmethod
    def below(cls, directory: Path, *, incoming: bool = False) -> Sockets:
        """All of them in QEMU's own directory."""
        comes = directory / "incoming" if incoming else None
        return cls(directory / "qmp", directory / "console", directory / LINK, comes)

    def all(self) -> tuple[Path, ...]:
        """Every one, for the check that none is occupied."""
        every = (self.qmp, self.console, self.link, self.incoming)
        return tuple(path for path in every if path is not None)


def command_line(
    machine: MachineConfig,
    images: BootFiles | None,
    qemu: Qemu,
    monitor: Monitor,
    directory: Path,
    sockets: Sockets,
    *,
    kept: Path | None = None,
) -> list[str]:
    """QEMU's arguments, its program first; writes the files they name into `directory`.

    All possible vCPUs exist from the start: QEMU can add none later, and what a plug
    changes is what the monitor permits. Without `images` the machine has nothing to run
    but the monitor. With `kept`, a directory, its link's and its console's bytes go to files
    there, too.
    """
    assert sockets.console is not None, "of a QEMU that we start, the console is ours"
    console = None if kept is None else kept / CONSOLE_KEPT
    link = None if kept is None else kept / LINK_KEPT
    argv = [
        str(qemu.path), "-no-user-config", "-nodefaults", "-display", "none",
        "-machine", "virt,gic-version=3,secure=on", "-accel", "tcg,thread=multi",
        "-cpu", machine.cpu_model, "-smp", str(machine.possible), "-m", f"{machine.memory}M",
        "-S", "-action", "shutdown=pause",
        *socket_chardev("console", sockets.console, console, append=True),
        "-serial", "chardev:console",
        *qmp_monitor(sockets.qmp),
        *link_arguments(sockets.link, link), "-bios", str(monitor.path),
    ]  # fmt: skip
    if sockets.incoming is not None:
        argv += ["-incoming", "defer"]
    return argv if images is None else [*argv, *image_arguments(images, directory)]


def link_arguments(path: Path, kept: Path | None = None) -> list[str]:
    """The link to the monitor, at the machine's second serial port; `kept` keeps what it sends."""
    logfile = os.environ.get(LINK_LOG) if kept is None else kept
    chardev = socket_chardev(CHARDEV, path, logfile, append=kept is not None)
    return [*chardev, "-serial", f"chardev:{CHARDEV}"]


def image_arguments(images: BootFiles, directory: Path) -> list[str]:
    """What lies in the guest's memory before it starts; written to `directory` where it is new."""
    blob, tree = directory / BLOB, directory / TREE
    blob.write_bytes(images.blob)
    tree.write_bytes(images.tree)
    return [
        "-dtb", str(tree),
        *in_memory(images.kernel, virt.KERNEL_BASE),
        *in_memory(images.initrd, virt.INITRD_BASE),
        *in_memory(blob, virt.BLOB_BASE),
    ]  # fmt: skip
