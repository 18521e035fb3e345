"""Finding QEMU, and what it says its version is."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

from attrs import frozen

from hpcore.errors import printable
from hpcore.qemu.errors import QemuError

VERSION_SECONDS = 10.0


@frozen
class Program:
    """A QEMU to look for: its name, Debian's package of it, the environment variable that
    names another, and the oldest version that serves."""

    name: str
    package: str
    variable: str
    oldest: tuple[int, int] = (7, 2)

    @property
    def remedy(self) -> str:
        """What to do where there is none."""
        return (
            f"install {self.name} (on Debian: apt install {self.package}), or set "
            f"{self.variable} to its path"
        )


AARCH64 = Program("qemu-system-aarch64", "qemu-system-arm", "HPCORE_QEMU")
LOONGARCH64 = Program("qemu-system-loongarch64", "qemu-system-misc", "HPCORE_QEMU_LOONGARCH64")
X86_64 = Program("qemu-system-x86_64", "qemu-system-x86", "HPCORE_QEMU_X86_64")


@frozen
class Qemu:
    """A QEMU that can be started: where it is, and its version as it prints it."""

    path: Path
    version: str


def find_qemu(program: Program = AARCH64) -> Qemu:
    """The program that its variable names, or else the one on PATH.

    Raises QemuError where there is none, it does not run, or it is too old.
    """
    named = os.environ.get(program.variable)
    found = shutil.which(named or program.name)
    if found is None:
        if named:
            raise QemuError(
                f"{program.variable} is {named}, which is no program that can be run; "
                f"{program.remedy}"
            )
        raise QemuError(f"{program.name} is not on PATH; {program.remedy}")
    version = program_version(found, program.remedy)
    numbers = tuple(int(part) for part in version.split(".")[:2])
    if numbers < program.oldest:
        oldest = ".".join(map(str, program.oldest))
        raise QemuError(
            f"{found} is QEMU {version}; {oldest} or newer is needed: {program.remedy}"
        )
    return Qemu(Path(found), version)


def program_version(program: str, remedy: str) -> str:
    """The version that `program` gives; QemuError, ending with `remedy`, if it gives none.

    A program that was asked before, and whose file has not changed, is not asked again.
    """
    file = Path(program).resolve()
    try:
        found = file.stat()
    except OSError as error:
        raise QemuError(f"{program} cannot be read: {error.strerror}; {remedy}") from error
    key = (file, found.st_ino, found.st_size, found.st_mtime_ns)
    if key not in _versions:
        _versions[key] = _asked(program, remedy)
    return _versions[key]


_versions: dict[tuple[Path, int, int, int], str] = {}


def _asked(program: str, remedy: str) -> str:
    try:
        done = subprocess.run(
            [program, "--version"],
            capture_output=True, text=True, errors="replace", timeout=VERSION_SECONDS, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        raise QemuError(f"{program} --version does not run: {error}; {remedy}") from error
    match = re.search(r"version (\d+\.\d+(?:\.\d+)?)", done.stdout)
    if done.returncode or match is None:
        said = next(iter((done.stderr or done.stdout).strip().splitlines()), "nothing")
        raise QemuError(f"{program} --version says no version but: {printable(said)}; {remedy}")
    return match[1]
