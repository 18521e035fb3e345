"""Debian's compiler of SELinux policies for arm64, to be laid over L1's image.

The kernel of L1 has SELinux, and takes it in the place of AppArmor where its command line says so
(`ARGUMENTS`). It has no policy then until a test loads one: everything is allowed.
"""

from __future__ import annotations

from pathlib import Path

from hpcore.fetch.apt import PrivateApt
from hpcore.fetch.sources import find_mirror
from hpcore.fetch.whole_directory import TellFetch, silent
from hpcore.guest.initramfs import Entry
from tests.nested.archive import PROGRAM, parents
from tests.nested.errors import NestedError
from tests.nested.layers import Contents, Layer
from tests.support.tools import run_tool

ARGUMENTS = "security=selinux"
"""What the kernel's command line has more."""

RECIPE = 1
"""Counted up with every change of what is made here that the other ingredients don't show."""

SUITE = "bookworm"
FILES = {
    "secilc": "usr/bin/secilc",
    "libsepol2": "usr/lib/aarch64-linux-gnu/libsepol.so.2",
}
"""What each package gives: the compiler, and the one library beside libc that it loads."""


def nested_selinux(cache: Path | None = None, progress: TellFetch = silent) -> Path:
    """The archive, from the cache or else made now.

    Raises FetchError where Debian's packages cannot be had or kept, NestedError where they
    have not what is needed. Safe to call from several processes.
    """
    layer = Layer("selinux", "selinux.cpio", "L1's SELinux", [RECIPE, SUITE, FILES])
    return layer.get(lambda work: _build(work, progress), cache)


def _build(work: Path, progress: TellFetch) -> Contents:
    apt = PrivateApt.create(work / "apt", find_mirror(), (SUITE,))
    progress("reading Debian's package index for arm64")
    apt.update()
    entries: list[Entry] = []
    for package, name in FILES.items():
        progress(f"downloading {package}")
        files = work / package
        run_tool("dpkg-deb", "-x", apt.download(package), files)
        # Debian has moved /lib into /usr, and its packages may name either
        found = [file for file in (files / name, files / name.removeprefix("usr/"))
                 if file.is_file()]  # fmt: skip
        if not found:
            raise NestedError(f"the package {package} has no {name}")
        entries += [*parents(name), Entry(name, PROGRAM, found[0].read_bytes())]
    return Contents(entries, {"packages": list(FILES)})
