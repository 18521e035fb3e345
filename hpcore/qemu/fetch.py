"""Fetching a QEMU that hotplugs vCPUs: loongarch64 `virt` has learned to in QEMU 10.

Debian's backport for bookworm, kept in the cache beside the machine's own QEMU, which stays
as it is. Of 50 MB of packages 45 MB of programs and one firmware image are kept, and those
shared libraries that the machine has not.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import attrs
from attrs import frozen

from hpcore.fetch.apt import PrivateApt
from hpcore.fetch.cache import cache_directory
from hpcore.fetch.errors import FetchError
from hpcore.fetch.sources import Mirror, find_mirror
from hpcore.fetch.whole_directory import TellFetch, keep, kept, silent, write_manifest
from hpcore.qemu.errors import QemuError
from hpcore.qemu.find import Program, Qemu, find_qemu, program_version

BACKPORTS, LIBRARIES = "bookworm-backports", "bookworm"
PACKAGES = {
    "qemu-system-misc": ("usr/bin/qemu-system-loongarch64", "programs"),
    "qemu-system-x86": ("usr/bin/qemu-system-x86_64", "programs"),
    "seabios": ("usr/share/seabios/bios-256k.bin", "."),  # q35 does not start without
}
"""The file that is kept of each package, and in which directory."""

NOT_A_LIBRARY = re.compile(r"libc6|libc-bin|libgcc-s1|(?!lib).*|.*-(common|data|bin|plugins)")
"""Dependencies that are not looked into: the C library is the machine's own, always."""


FIRST_WITH_HOTPLUG = (10, 0)
"""Before it loongarch64 `virt` has no vCPU hotplug; q35 has had it since 2.7."""

WRAPPER = """\
#!/bin/sh
here=$(dirname "$0")
{libraries}exec "$here/programs/{name}" -L "$here" "$@"
"""
"""Starts a program with its firmware, which it would look for in /usr/share. Same process."""

OWN_LIBRARIES = 'export LD_LIBRARY_PATH="$here/lib"\n'


@frozen
class FetchedQemu:
    """A QEMU in the cache: its version, and where its programs lie."""

    directory: Path
    version: str

    def program(self, program: Program) -> Qemu:
        """The one of `PACKAGES` that `program` describes."""
        return Qemu(self.directory / program.name, self.version)


def find_hotplugging(program: Program) -> Qemu:
    """The QEMU that the environment names, the fetched one, or one of PATH, in this order.

    Raises QemuError where there is none that hotplugs vCPUs.
    """
    if not os.environ.get(program.variable) and (fetched := fetched_qemu()) is not None:
        return fetched.program(program)
    try:
        return find_qemu(attrs.evolve(program, oldest=FIRST_WITH_HOTPLUG))
    except QemuError as error:
        raise QemuError(f"{error}; or run `hpcore qemu fetch`") from error


def fetched_qemu(cache: Path | None = None) -> FetchedQemu | None:
    """What an earlier `fetch_qemu` left in the cache, or None."""
    directory = _directory(cache)
    manifest = kept(directory)
    return None if manifest is None else FetchedQemu(directory, manifest["version"])


def fetch_qemu(cache: Path | None = None, progress: TellFetch = silent) -> FetchedQemu:
    """The QEMU from the cache, or else from the Debian mirror that this machine uses.

    Safe to call from several processes: one fetches, the others wait and find it done.
    Raises FetchError where there is no apt, mirror, network or disk space, or what was
    fetched does not run here.
    """
    keep(_directory(cache), "QEMU", lambda work: _fetch_into(work, progress))
    qemu = fetched_qemu(cache)
    assert qemu is not None, "kept"
    return qemu


def _directory(cache: Path | None) -> Path:
    return (cache or cache_directory()) / "qemu" / "debian-12-backports"


def _fetch_into(work: Path, progress: TellFetch) -> Path:
    mirror, architecture = find_mirror(), _architecture()
    apt = PrivateApt.create(work / "apt", mirror, [BACKPORTS], architecture)
    progress("reading the package index")
    apt.update()
    complete = work / "complete"
    (complete / "programs").mkdir(parents=True)
    for package, (file, place) in PACKAGES.items():
        progress(f"downloading {package}")
        found = apt.unpack(apt.download(package)) / file
        if not found.is_file():
            raise FetchError(f"package {package} of {BACKPORTS} has no {file}")
        found.rename(complete / place / found.name)
    programs = sorted((complete / "programs").iterdir())
    lacking = any(missing_libraries(program) for program in programs)
    if lacking:
        _fetch_libraries(work, mirror, architecture, programs, complete / "lib", progress)
    for program in programs:
        wrapper = complete / program.name
        libraries = OWN_LIBRARIES if lacking else ""
        wrapper.write_text(WRAPPER.format(name=program.name, libraries=libraries))
        wrapper.chmod(0o755)
    try:
        remedy = "it is of no use on this machine"
        (version,) = {program_version(str(complete / p.name), remedy) for p in programs}
    except QemuError as error:
        raise FetchError(f"the QEMU of {BACKPORTS} was fetched: {error}") from error
    write_manifest(complete, version=version, package=apt.version("qemu-system-misc"))
    return complete


def _architecture() -> str:
    """What Debian calls this machine's architecture: `amd64`, `arm64`."""
    if shutil.which("dpkg") is None:
        raise FetchError("dpkg not found in PATH; run on Debian or Ubuntu, or in a container of it")
    done = subprocess.run(
        ["dpkg", "--print-architecture"], text=True, capture_output=True, check=True
    )
    return done.stdout.strip()


def missing_libraries(program: Path, beside: Path | None = None) -> set[str]:
    """The shared libraries that `program` needs and this machine has not, by soname.

    `beside` is a directory of more libraries, which count as there.
    """
    environment = dict(os.environ, LC_ALL="C", LD_LIBRARY_PATH=str(beside or ""))
    done = subprocess.run(
        ["ldd", str(program)], text=True, capture_output=True, env=environment, check=False
    )
    return set(re.findall(r"^\s*(\S+) => not found$", done.stdout, re.MULTILINE))


def _fetch_libraries(
    work: Path,
    mirror: Mirror,
    architecture: str,
    programs: list[Path],
    target: Path,
    progress: TellFetch,
) -> None:
    """Put the libraries that `programs` miss, and those that these miss, into `target`."""
    progress("downloading the libraries that this machine has not")
    apt = PrivateApt.create(work / "apt-libraries", mirror, [LIBRARIES, BACKPORTS], architecture)
    apt.update()
    found: dict[str, Path] = {}
    for package in apt.needed_by(PACKAGES, BACKPORTS):
        if not NOT_A_LIBRARY.fullmatch(package):
            for path in apt.unpack(apt.download(package)).rglob("*.so.*"):
                found.setdefault(path.name, path)
    target.mkdir()
    while missing := set().union(*(missing_libraries(p, target) for p in programs)):
        for name in sorted(missing):
            if name not in found:
                raise FetchError(
                    f"QEMU needs the library {name}, which neither this machine nor {LIBRARIES} "
                    "has; install it, then try again"
                )
            shutil.copyfile(found[name], target / name)

