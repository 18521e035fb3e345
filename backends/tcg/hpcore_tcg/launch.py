"""How QEMU is started: its arguments, and the files that it loads."""

from __future__ import annotations

import os
from pathlib import Path

from attrs import frozen

from hpcore.guest.boot import BootFiles
from hpcore.model.config import MachineConfig
from hpcore.platform import virt
from hpcore.qemu.find import Qemu
from hpcore_tcg.build import Monitor

LINK_LOG = "HPCORE_TCG_LINK_LOG"
"""Environment: a file to which QEMU copies what the monitor sends, for tests."""


@frozen
class Sockets:
    """Where QEMU listens, below its own directory."""

    qmp: Path
    console: Path
    link: Path

    @classmethod
    def below(cls, directory: Path) -> Sockets:
        return cls(directory / "qmp", directory / "console", directory / "link")

    def all(self) -> tuple[Path, ...]:
        """Every one, for the check that none is occupied."""
        return (self.qmp, self.console, self.link)


def command_line(
    machine: MachineConfig,
    images: BootFiles | None,
    qemu: Qemu,
    monitor: Monitor,
    directory: Path,
    sockets: Sockets,
) -> list[str]:
    """QEMU's arguments, its program first; writes the files they name into `directory`.

    All possible vCPUs exist from the start: QEMU can add none later, and what a plug
    changes is what the monitor permits. Without `images` the machine has nothing to run
    but the monitor.
    """
    link_log = os.environ.get(LINK_LOG)
    argv = [
        str(qemu.path), "-no-user-config", "-nodefaults", "-display", "none",
        "-machine", "virt,gic-version=3,secure=on", "-accel", "tcg,thread=multi",
        "-cpu", machine.cpu_model, "-smp", str(machine.possible), "-m", f"{machine.memory}M",
        "-S", "-action", "shutdown=pause",
        *_socket("console", sockets.console), *_socket("link", sockets.link, link_log),
        "-serial", "chardev:console", "-serial", "chardev:link",
        "-qmp", f"unix:{_escape(sockets.qmp)},server=on,wait=off",
        "-bios", str(monitor.path),
    ]  # fmt: skip
    if images is not None:
        blob, tree = directory / "firmware.bin", directory / "tree.dtb"
        blob.write_bytes(images.blob)
        tree.write_bytes(images.tree)
        argv += ["-dtb", str(tree)]
        argv += _load(images.kernel, virt.KERNEL_BASE) + _load(images.initrd, virt.INITRD_BASE)
        argv += _load(blob, virt.BLOB_BASE)
    return argv


def _socket(name: str, path: Path, logfile: str | None = None) -> list[str]:
    chardev = f"socket,id={name},path={_escape(path)},server=on,wait=off"
    return ["-chardev", chardev + (f",logfile={_escape(logfile)}" if logfile else "")]


def _load(path: Path, address: int) -> list[str]:
    return ["-device", f"loader,file={_escape(path)},addr={address:#x},force-raw=on"]


def _escape(value: str | Path) -> str:
    """A comma ends a value in QEMU's options, unless doubled."""
    return str(value).replace(",", ",,")
