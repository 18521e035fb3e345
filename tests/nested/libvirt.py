"""Debian's libvirt for arm64, to be laid over L1's image: the daemon, its QEMU driver, virsh.

As with QEMU, of what apt would install only the libraries that these load are kept.
"""

from __future__ import annotations

from pathlib import Path

from hpcore.fetch.apt import PrivateApt
from hpcore.fetch.sources import find_mirror
from hpcore.fetch.whole_directory import TellFetch, silent
from hpcore.guest.initramfs import Entry
from tests.nested import image
from tests.nested.archive import FILE, PROGRAM, parents, tree
from tests.nested.errors import NestedError
from tests.nested.layers import Contents, Layer
from tests.nested.qemu import LIBRARIES, libraries
from tests.support.tools import run_tool

RECIPE = 1
"""Counted up with every change of what is made here that the other ingredients don't show."""

SUITE = "bookworm"
PROGRAMS = {
    "usr/sbin/libvirtd": "libvirt-daemon",
    "usr/lib/libvirt/libvirt_iohelper": "libvirt-daemon",
    "usr/bin/virsh": "libvirt-clients",
    "usr/bin/unshare": "util-linux",
    f"{LIBRARIES}/libvirt/connection-driver/libvirt_driver_qemu.so": "libvirt-daemon-driver-qemu",
}
"""Files that load libraries, and the packages that have them. tests/libvirt uses util-linux's
unshare, of which busybox's has not every option."""

DATA = {"usr/share/libvirt": "libvirt0"}
"""Directories that these read: the CPU models."""


def nested_libvirt(cache: Path | None = None, progress: TellFetch = silent) -> Path:
    """The archive, from the cache or else made now.

    Raises FetchError where Debian's packages cannot be had or kept, NestedError where they
    have not what is needed. Safe to call from several processes.
    """
    made_of: list[object] = [RECIPE, SUITE, PROGRAMS, DATA, LIBRARIES, image.PACKAGES]
    layer = Layer("libvirt", "libvirt.cpio", "L1's libvirt", made_of)
    return layer.get(lambda work: _build(work, progress), cache)


def _build(work: Path, progress: TellFetch) -> Contents:
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
    return Contents(entries, {"packages": [deb.name for deb in debs], "libraries": sorted(loaded)})
