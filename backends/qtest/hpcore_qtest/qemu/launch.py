"""How QEMU is started so that it runs no guest code: its arguments, and which accelerator."""

from __future__ import annotations

import functools
import subprocess
from collections.abc import Sequence
from pathlib import Path

from attrs import frozen

from hpcore.qemu.errors import QemuError
from hpcore.qemu.find import Qemu

TRY_SECONDS = 10.0
STOPPED_TCG = ("-accel", "tcg")
OWN_ACCELERATOR = ("-accel", "qtest")


@frozen
class Sockets:
    """Where QEMU listens, below its own directory."""

    qtest: Path
    qmp: Path
    serials: tuple[Path, ...]
    incoming: Path

    @classmethod
    def below(cls, directory: Path, serials: int) -> Sockets:
        ports = tuple(directory / f"serial{n}" for n in range(serials))
        return cls(directory / "qtest", directory / "qmp", ports, directory / "incoming")

    def all(self) -> tuple[Path, ...]:
        """Every one, for the check that none is occupied."""
        return (self.qtest, self.qmp, *self.serials, self.incoming)


@functools.cache
def accelerator(program: Path) -> tuple[str, ...]:
    """The `-accel` option with which `program` runs no guest code, found out by trying.

    QEMU has an accelerator for just this, which a distribution may leave out. TCG serves as
    well, as long as the machine is never let go (`-S`, and no `cont`). `-accel help` does
    not name qtest, so it is tried with `-machine none`.
    """
    argv = [str(program), "-no-user-config", "-nodefaults", "-display", "none"]
    argv += ["-machine", "none", *OWN_ACCELERATOR, "-S", "-monitor", "stdio"]
    try:
        done = subprocess.run(
            argv, input=b"quit\n", capture_output=True, timeout=TRY_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise QemuError(f"{program} cannot be asked for its accelerators: {error}") from error
    return STOPPED_TCG if done.returncode else OWN_ACCELERATOR


def command_line(
    qemu: Qemu, machine: Sequence[str], sockets: Sockets, *, incoming: bool = False
) -> list[str]:
    """QEMU's arguments, its program first. `machine` are those that describe the machine.

    The machine is stopped before its first instruction, and stays so. With `incoming` it
    waits for the state of another.
    """
    argv = [
        str(qemu.path), "-no-user-config", "-nodefaults", "-display", "none",
        *accelerator(qemu.path), "-S", "-action", "shutdown=pause",
        "-qtest", f"unix:{_escape(sockets.qtest)},server=on,wait=off", "-qtest-log", "none",
        "-qmp", f"unix:{_escape(sockets.qmp)},server=on,wait=off",
        *machine,
    ]  # fmt: skip
    for n, path in enumerate(sockets.serials):
        argv += ["-chardev", f"socket,id=serial{n},path={_escape(path)},server=on,wait=off"]
        argv += ["-serial", f"chardev:serial{n}"]
    if incoming:
        argv += ["-incoming", f"unix:{sockets.incoming}"]
    return argv


def _escape(path: Path) -> str:
    """A comma ends a value in QEMU's options, unless doubled."""
    return str(path).replace(",", ",,")
