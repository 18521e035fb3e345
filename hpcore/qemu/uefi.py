"""UEFI firmware for arm64 guests: Debian's AAVMF as it is, and the arguments that give it to QEMU.

Two flash images: the code, which every machine reads, and the variables, of which every machine
writes a copy. Debian 12's package is kept in the cache; of its 260 MB the 2 that are not empty
take place on the disk.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from attrs import frozen

from hpcore.fetch.apt import PrivateApt
from hpcore.fetch.cache import cache_directory
from hpcore.fetch.errors import FetchError
from hpcore.fetch.sources import find_mirror
from hpcore.fetch.whole_directory import TellFetch, keep, kept, silent, write_manifest
from hpcore.qemu.errors import QemuError

SUITE, PACKAGE = "bookworm", "qemu-efi-aarch64"
CODE, VARIABLES = "AAVMF_CODE.fd", "AAVMF_VARS.fd"
PLACE = "usr/share/AAVMF"
"""Where the package has them, and those of other distributions as well."""

INSTALLED = Path("/") / PLACE

DIRECTORY_VARIABLE = "HPCORE_AAVMF"
BANK = 64 << 20
"""Bytes of a flash of `virt`'s; QEMU refuses an image of another size."""

_BLOCK = 1 << 16


@frozen
class Uefi:
    """The firmware's two images, in `directory`."""

    directory: Path

    @property
    def code(self) -> Path:
        """What a machine runs; it is never written to."""
        return self.directory / CODE

    def new_variables(self, path: Path) -> Path:
        """Make the variables of a new machine at `path`: empty, no key, so no Secure Boot.

        Raises QemuError where that cannot be read or written.
        """
        try:
            _copy_sparse(self.directory / VARIABLES, path)
        except OSError as error:
            raise QemuError(
                f"cannot copy UEFI's variables from {self.directory / VARIABLES} to {path}: "
                f"{error.strerror}"
            ) from error
        return path

    def arguments(self, variables: Path) -> list[str]:
        """QEMU's: the code, and a machine's own `variables`."""
        code = f"if=pflash,unit=0,format=raw,readonly=on,file={_value(self.code)}"
        own = f"if=pflash,unit=1,format=raw,file={_value(variables)}"
        return ["-drive", code, "-drive", own]


def fw_cfg_arguments(files: Mapping[str, Path]) -> list[str]:
    """QEMU's, for files that firmware asks for by name. QEMU warns of each that is not in opt/."""
    argv = []
    for name, path in files.items():
        argv += ["-fw_cfg", f"name={name},file={_value(path)}"]
    return argv


def find_uefi(cache: Path | None = None) -> Uefi:
    """The firmware in $HPCORE_AAVMF, the fetched one, or the machine's own, in this order.

    Raises QemuError where there is none, or its images are not what QEMU takes.
    """
    if named := os.environ.get(DIRECTORY_VARIABLE):
        return _checked(Path(named), f"which {DIRECTORY_VARIABLE} names")
    fetched = fetched_uefi(cache)
    if fetched is not None:
        return fetched
    if (INSTALLED / CODE).exists():
        return _checked(INSTALLED, f"where {PACKAGE} is installed")
    raise QemuError(
        f"there is no UEFI firmware for arm64; run `hpcore uefi fetch`, install {PACKAGE}, or set "
        f"{DIRECTORY_VARIABLE} to a directory that holds {CODE} and {VARIABLES}"
    )


def fetched_uefi(cache: Path | None = None) -> Uefi | None:
    """What an earlier `fetch_uefi` left in the cache, or None."""
    directory = _directory(cache)
    return None if kept(directory) is None else Uefi(directory)


def fetch_uefi(cache: Path | None = None, progress: TellFetch = silent) -> Uefi:
    """The firmware from the cache, or else from the Debian mirror that this machine uses.

    Safe to call from several processes: one fetches, the others wait and find it done.
    Raises FetchError where there is no apt, mirror, network or disk space.
    """
    keep(_directory(cache), "UEFI firmware", lambda work: _fetch_into(work, progress))
    return Uefi(_directory(cache))


def _directory(cache: Path | None) -> Path:
    return (cache or cache_directory()) / "uefi" / "debian-12-aavmf"


def _fetch_into(work: Path, progress: TellFetch) -> Path:
    apt = PrivateApt.create(work / "apt", find_mirror(), [SUITE])
    progress("reading the package index")
    apt.update()
    progress(f"downloading {PACKAGE}")
    files = apt.unpack(apt.download(PACKAGE)) / PLACE
    complete = work / "complete"
    complete.mkdir()
    for name in (CODE, VARIABLES):
        if not (files / name).is_file():
            raise FetchError(f"package {PACKAGE} of {SUITE} has no {PLACE}/{name}")
        _copy_sparse(files / name, complete / name)
    write_manifest(complete, package=PACKAGE, version=apt.version(PACKAGE))
    return complete


def _checked(directory: Path, what: str) -> Uefi:
    for name in (CODE, VARIABLES):
        path = directory / name
        try:
            size = path.stat().st_size
        except OSError as error:
            raise QemuError(
                f"{path} cannot be read in the directory {what}: {error.strerror}; "
                f"run `hpcore uefi fetch`, and unset {DIRECTORY_VARIABLE} if it is set"
            ) from error
        if size != BANK:
            raise QemuError(
                f"{path} has {size} bytes, and QEMU's virt takes flash images of {BANK} alone; "
                f"fill it up with zeros (truncate -s {BANK}), or run `hpcore uefi fetch`"
            )
    return Uefi(directory)


def _copy_sparse(source: Path, target: Path) -> None:
    """Copy a file whose blocks of zeros take no place on the disk afterwards."""
    with source.open("rb") as read, target.open("wb") as written:
        while block := read.read(_BLOCK):
            if any(block):
                written.write(block)
            else:
                written.seek(len(block), os.SEEK_CUR)
        written.truncate(read.tell())


def _value(path: Path) -> str:
    """A path as a value of QEMU's options, where a comma ends a value unless it is doubled."""
    return str(path).replace(",", ",,")
