"""Finding QEMU, and what it says its version is."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

from attrs import frozen

from hpcore.qemu.errors import QemuError

PROGRAM = "qemu-system-aarch64"
VARIABLE = "HPCORE_QEMU"
OLDEST = (7, 2)
PACKAGE = "qemu-system-arm"
VERSION_SECONDS = 10.0

_INSTALL = f"install {PROGRAM} (on Debian: apt install {PACKAGE}), or set {VARIABLE} to its path"


@frozen
class Qemu:
    """A QEMU that can be started: where it is, and its version as it prints it."""

    path: Path
    version: str


def find_qemu() -> Qemu:
    """The program that $HPCORE_QEMU names, or else the one on PATH.

    Raises QemuError where there is none, it does not run, or it is older than `OLDEST`.
    """
    named = os.environ.get(VARIABLE)
    found = shutil.which(named or PROGRAM)
    if found is None:
        if named:
            raise QemuError(
                f"{VARIABLE} is {named}, which is no program that can be run; {_INSTALL}"
            )
        raise QemuError(f"{PROGRAM} is not on PATH; {_INSTALL}")
    version = _version(found)
    numbers = tuple(int(part) for part in version.split(".")[:2])
    if numbers < OLDEST:
        oldest = ".".join(map(str, OLDEST))
        raise QemuError(f"{found} is QEMU {version}; {oldest} or newer is needed: {_INSTALL}")
    return Qemu(Path(found), version)


def _version(program: str) -> str:
    try:
        done = subprocess.run(
            [program, "--version"],
            capture_output=True, text=True, errors="replace", timeout=VERSION_SECONDS, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        raise QemuError(f"{program} --version does not run: {error}; {_INSTALL}") from error
    match = re.search(r"version (\d+\.\d+(?:\.\d+)?)", done.stdout)
    if done.returncode or match is None:
        said = (done.stderr or done.stdout).strip() or "nothing"
        raise QemuError(f"{program} --version says no version but: {said}; {_INSTALL}")
    return match[1]
