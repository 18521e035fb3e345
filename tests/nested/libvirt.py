"""Debian's libvirt for arm64, to be laid over L1's image: the daemon, its QEMU driver, virsh.

As with QEMU, of what apt would install only the libraries that these load are kept. Built once,
kept in hpcore's cache under a hash of what goes into it.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from hpcore.fetch.apt import PrivateApt
from hpcore.fetch.cache import cache_directory
from hpcore.fetch.sources import find_mirror
from hpcore.fetch.whole_directory import TellFetch, keep, kept, silent, write_manifest
from hpcore.guest.initramfs import Entry, cpio
from tests.nested import image
from tests.nested.archive import FILE, PROGRAM, parents, tree
from tests.nested.errors import NestedError
from tests.nested.qemu import LIBRARIES, libraries
from tests.support.tools import run_tool

RECIPE = 1
"""Counted up with every change of what is made here that the other ingredients don't show."""

SUITE = "bookworm"
PROGRAMS = {
    "usr/sbin/libvirtd": "libvirt-daemon",
    "usr/bin/virsh": "libvirt-clients",
    "usr/bin/unshare": "util-linux",
    f"{LIBRARIES}/libvirt/connection-driver/libvirt_driver_qemu.so": "libvirt-daemon-driver-qemu",
}
"""Files that load libraries, and the packages that have them. tests/libvirt uses util-linux's
unshare, of which busybox's has not every option."""

DATA = {"usr/share/libvirt": "libvirt0"}
"""Directories that these read: the CPU models."""

LAYER = "libvirt.cpio"


def nested_libvirt(cache: Path | None = None, progress: TellFetch = silent) -> Path:
    """The archive, from the cache or else made now.

    Raises FetchError where Debian's packages cannot be had or kept, NestedError where they
    have not what is needed. Safe to call from several processes.
    """
    made_of = json.dumps([RECIPE, SUITE, PROGRAMS, DATA, LIBRARIES, image.PACKAGES])
    name = f"libvirt-{hashlib.sha256(made_of.encode()).hexdigest()[:16]}"
    directory = (cache or cache_directory()) / "nested" / name
    if kept(directory) is None:
        keep(directory, "L1's libvirt", lambda work: _build(work, progress))
    return directory / LAYER


def _build(work: Path, progress: TellFetch) -> Path:
    apt = PrivateApt.create(work / "apt", find_mirror(), (SUITE,))
    progress("reading Debian's package index for arm64")
    apt.update()
    progress("downloading libvirt and what it depends on")
    packages = {*PROGRAMS.values(), *DATA.values()}
    debs = apt.download_with_needed(sorted(packages), SUITE)
    progress("looking for the libraries it loads")
    base, own = work / "base", work / "own"
    for deb in debs:
        package = deb.name.partition("_")[0]
        if package in image.PACKAGES:
            run_tool("dpkg-deb", "-x", deb, base)
        elif package in packages or package.startswith("lib"):
            run_tool("dpkg-deb", "-x", deb, own)
    missing = [name for name in (*PROGRAMS, *DATA) if not (own / name).exists()]
    if missing:
        raise NestedError(f"no package of {SUITE} has {', '.join(missing)}")
    loaded = libraries([own / name for name in PROGRAMS], own, base)

    complete = work / "complete"
    complete.mkdir()
    entries: list[Entry] = []
    for name in PROGRAMS:
        entries += [*parents(name), Entry(name, PROGRAM, (own / name).read_bytes())]
    for name in DATA:
        entries += [*parents(f"{name}/any"), *tree(own / name, name)]
    entries += parents(f"{LIBRARIES}/any")
    entries += [
        Entry(f"{LIBRARIES}/{name}", FILE, path.read_bytes())
        for name, path in sorted(loaded.items())
    ]
    (complete / LAYER).write_bytes(cpio(entries))
    write_manifest(complete, packages=[deb.name for deb in debs], libraries=sorted(loaded))
    return complete
