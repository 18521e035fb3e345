"""What a machine on tcg is beyond its log and QEMU's stream, and whether it fits here."""

from __future__ import annotations

import hashlib
from pathlib import Path

from hpcore.guest.boot import BootFiles
from hpcore.qemu.errors import QemuError
from hpcore.run.accelerator import AcceleratorError, Belongings
from hpcore_tcg.build import Monitor

BLOB, TREE = "firmware.bin", "tree.dtb"
"""The firmware and the device tree travel: their seeds are of this machine alone, and a reset
loads them again."""
QEMU, MACHINE_TYPE, MONITOR, EPOCH = "qemu", "machine-type", "monitor", "epoch"
KERNEL, INITRD = "kernel", "initrd"


def belongings(
    boot: BootFiles | None, monitor: Monitor, *, qemu: str, machine_type: str, epoch: int
) -> Belongings:
    """What is saved of a machine. Reads the kernel and the initrd. Raises QemuError."""
    facts = {
        QEMU: qemu, MACHINE_TYPE: machine_type, MONITOR: monitor.digest, EPOCH: str(epoch),
    }  # fmt: skip
    if boot is None:
        return Belongings(facts)
    for name, path in ((KERNEL, boot.kernel), (INITRD, boot.initrd)):
        facts |= {name: str(path.absolute()), f"{name}-sha256": digest(path)}
    return Belongings(facts, {BLOB: boot.blob, TREE: boot.tree})


def boot_files(saved: Belongings) -> BootFiles | None:
    """What QEMU is started with for `saved`. Raises AcceleratorError where that is not here."""
    if BLOB not in saved.files:
        return None
    paths = []
    for name in (KERNEL, INITRD):
        path = Path(fact(saved, name))
        try:
            found = digest(path)
        except QemuError as error:
            raise AcceleratorError(f"the {name} of the saved machine: {error}") from error
        if found != fact(saved, f"{name}-sha256"):
            raise AcceleratorError(
                f"the {name} {path} is not the one that the machine was saved with, and a reset "
                "would load it: put back that one"
            )
        paths.append(path)
    try:
        return BootFiles(saved.files[BLOB], saved.files[TREE], *paths)
    except KeyError as error:
        raise AcceleratorError(f"the saved machine has no file {error}") from None


def refuse_unlike(saved: Belongings, name: str, here: str, remedy: str) -> None:
    """Raise AcceleratorError where fact `name` was another one when the machine was saved."""
    then = fact(saved, name)
    if then != here:
        raise AcceleratorError(
            f"the machine was saved with {name} {then}, and here it is {here}: {remedy}"
        )


def fact(saved: Belongings, name: str) -> str:
    """A fact of `saved`. Raises AcceleratorError where it has none of that name."""
    found = saved.facts.get(name)
    if found is None:
        raise AcceleratorError(f"the saved machine does not say what its {name} was")
    return found


def epoch_of(saved: Belongings) -> int:
    """The monitor's count of resets when it was saved. Raises AcceleratorError for none."""
    said = fact(saved, EPOCH)
    if not said.isdecimal():
        raise AcceleratorError(f"the saved machine's epoch is {said!r}, which is no number")
    return int(said)


def digest(path: Path) -> str:
    """The SHA-256 of a file. Raises QemuError where it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise QemuError(f"{path} cannot be read: {error.strerror}") from error
