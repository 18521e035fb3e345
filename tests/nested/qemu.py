"""Debian's QEMU for arm64, to be laid over L1's image: the program and what it loads.

Of 80 packages that apt would install, the libraries alone are kept that the program names,
and those that these name. No firmware: give a virtio-net-pci `romfile=`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from hpcore.fetch.apt import PrivateApt
from hpcore.fetch.sources import find_mirror
from hpcore.fetch.whole_directory import TellFetch, silent
from hpcore.guest.initramfs import Entry
from tests.nested import image
from tests.nested.archive import FILE, PROGRAM, parents
from tests.nested.errors import NestedError
from tests.nested.layers import Contents, Layer
from tests.support.tools import run_tool

RECIPE = 1
"""Counted up with every change of what is made here that the other ingredients don't show."""

SERIES = {"7.2": "bookworm", "10": "bookworm-backports"}
"""The suite that has QEMU of that series."""

SUITES = ("bookworm", "bookworm-backports")
PACKAGE = "qemu-system-arm"
BINARY = "usr/bin/qemu-system-aarch64"
LIBRARIES = "usr/lib/aarch64-linux-gnu"
"""Where L1's loader looks, without a cache of its own."""


def nested_qemu(series: str, cache: Path | None = None, progress: TellFetch = silent) -> Path:
    """The archive of the QEMU of `series`, from the cache or else made now.

    Raises FetchError where Debian's packages cannot be had or kept, NestedError where they
    have not what is needed. Safe to call from several processes.
    """
    suite = SERIES[series]
    made_of: list[object] = [
        RECIPE, suite, SUITES, PACKAGE, BINARY, LIBRARIES, image.PACKAGES,
    ]  # fmt: skip
    layer = Layer(f"qemu-{series}", "qemu.cpio", f"L1's QEMU {series}", made_of)
    return layer.get(lambda work: _build(work, suite, progress), cache)


def _build(work: Path, suite: str, progress: TellFetch) -> Contents:
    apt = PrivateApt.create(work / "apt", find_mirror(), SUITES)
    progress("reading Debian's package index for arm64")
    apt.update()
    progress(f"downloading {PACKAGE} of {suite} and what it depends on")
    debs = apt.download_with_needed([PACKAGE], suite)
    progress("looking for the libraries it loads")
    base, own = work / "base", work / "own"
    for deb in debs:
        package = deb.name.partition("_")[0]
        if package in image.PACKAGES:
            run_tool("dpkg-deb", "-x", deb, base)
        elif package == PACKAGE or package.startswith("lib"):
            run_tool("dpkg-deb", "-x", deb, own)
    program = own / BINARY
    if not program.is_file():
        raise NestedError(f"package {PACKAGE} of {suite} has no {BINARY}")
    loaded = libraries([program], own, base)

    entries = [*parents(BINARY), Entry(BINARY, PROGRAM, program.read_bytes())]
    entries += parents(f"{LIBRARIES}/any")
    entries += [
        Entry(f"{LIBRARIES}/{name}", FILE, path.read_bytes())
        for name, path in sorted(loaded.items())
    ]
    return Contents(entries, {"packages": [deb.name for deb in debs], "libraries": sorted(loaded)})


def libraries(programs: Iterable[Path], own: Path, base: Path) -> dict[str, Path]:
    """The shared libraries below `own` that `programs` load, at any remove, by their names.

    Those below `base` are in L1 already. Raises NestedError for one that neither has.
    """
    there = {path.name for path in base.rglob("*.so*")}
    found = {path.name: path for path in own.rglob("*.so*")}
    loaded: dict[str, Path] = {}
    ahead = needed(*programs)
    while ahead:
        if missing := ahead - there - set(found):
            raise NestedError(f"no package has {', '.join(sorted(missing))}, which is loaded")
        new = {name: found[name] for name in ahead - there}
        loaded |= new
        ahead = needed(*new.values()) - set(loaded) if new else set()
    return loaded


def needed(*files: Path) -> set[str]:
    """The libraries that ELF files name (DT_NEEDED)."""
    return set(re.findall(r"\(NEEDED\).*\[(.+)\]", run_tool("readelf", "-d", *files)))
