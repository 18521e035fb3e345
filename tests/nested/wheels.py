"""The Python packages of L1: the versions that are installed here, built for arm64.

So what is tested in L1 is tested with the libraries that the rest of the tests use.
"""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.nested.errors import NestedError

OURS = ("hpcore", "hpcore-kvm")
"""Their code is packed anew for each run; only what they need is installed."""

TOOLS = ("pytest", "pytest-timeout", "hypothesis")
PYTHON = "3.11"
PLATFORMS = ("manylinux2014_aarch64", "manylinux_2_28_aarch64", "manylinux_2_34_aarch64")
"""What Debian bookworm's glibc, 2.36, satisfies."""

TARGET = {
    "python_version": PYTHON,
    "python_full_version": f"{PYTHON}.2",
    "implementation_name": "cpython",
    "platform_python_implementation": "CPython",
    "os_name": "posix",
    "sys_platform": "linux",
    "platform_system": "Linux",
    "platform_machine": "aarch64",
    "extra": "",
}
"""The environment for which the markers of requirements are evaluated (PEP 508)."""

PIP_SECONDS = 600.0


def pins() -> list[str]:
    """`name==version` of everything that hpcore, hpcore-kvm and the test tools import."""
    versions: dict[str, str] = {}
    ahead = [*OURS, *TOOLS]
    while ahead:
        name = canonicalize_name(ahead.pop())
        if name in versions:
            continue
        try:
            found = distribution(name)
        except PackageNotFoundError as error:
            raise NestedError(f"{name} is not installed; run scripts/setup.sh --tests") from error
        versions[name] = found.version
        for requirement in map(Requirement, found.requires or []):
            if requirement.marker is None or requirement.marker.evaluate(TARGET):
                ahead.append(requirement.name)
    return sorted(f"{name}=={versions[name]}" for name in versions if name not in OURS)


def install(requirements: list[str], target: Path) -> None:
    """Install exactly `requirements` into `target`, from wheels that run on arm64.

    Raises NestedError with pip's own words where it cannot.
    """
    command = [
        *_pip(), "install", "--quiet", "--disable-pip-version-check", "--no-deps",
        "--root-user-action=ignore", "--only-binary=:all:", "--implementation=cp",
        f"--python-version={PYTHON}", *(f"--platform={name}" for name in PLATFORMS),
        f"--target={target}", *requirements,
    ]  # fmt: skip
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=PIP_SECONDS, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise NestedError(f"pip took over {PIP_SECONDS:.0f} s; check the network") from error
    if done.returncode:
        raise NestedError(
            f"pip cannot install L1's packages for arm64: {done.stderr.strip()[-2000:]}"
        )


def _pip() -> list[str]:
    """A pip that can be run: of this environment, or of the Python it was made from."""
    base = getattr(sys, "_base_executable", sys.executable)
    for python in (sys.executable, base, "python3"):
        done = subprocess.run([python, "-m", "pip", "--version"], capture_output=True, check=False)
        if done.returncode == 0:
            return [python, "-m", "pip"]
    raise NestedError("no pip for L1's packages; install python3-pip")
