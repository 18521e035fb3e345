"""L1's userland: Debian's arm64 Python and busybox, and the packages that the tests import."""

from __future__ import annotations

import shutil
from pathlib import Path

from hpcore.fetch.apt import PrivateApt
from hpcore.fetch.sources import find_mirror
from hpcore.fetch.whole_directory import TellFetch, silent
from hpcore.guest.initramfs import Entry
from tests.nested.archive import DIRECTORY, LINK, tree, with_bytecode
from tests.nested.layers import Contents, Layer
from tests.nested.wheels import PYTHON, install, pins

RECIPE = 1
"""Counted up with every change of what is made here that the other ingredients don't show."""

SUITES = ("bookworm",)
PACKAGES = (
    "busybox-static",
    f"python{PYTHON}-minimal", f"libpython{PYTHON}-minimal", f"libpython{PYTHON}-stdlib",
    # and the shared libraries they load
    "libc6", "libcrypt1", "libgcc-s1", "libexpat1", "zlib1g", "libssl3",
    "libffi8", "libbz2-1.0", "liblzma5", "libuuid1",
)  # fmt: skip

NOT_NEEDED = (
    "usr/share", "etc",
    "usr/lib/aarch64-linux-gnu/gconv", "usr/lib/aarch64-linux-gnu/ossl-modules",
    "usr/lib/aarch64-linux-gnu/engines-3",
    *(f"usr/lib/python{PYTHON}/{name}" for name in (
        "distutils", "ensurepip", "idlelib", "lib2to3", "pydoc_data", "tkinter", "turtledemo",
    )),
)  # fmt: skip
"""Left out of the packages: documents, and what no test imports."""

SITE = f"usr/local/lib/python{PYTHON}/dist-packages"
"""Where Debian's Python looks for what was not installed by apt."""

DIRECTORIES = ("dev", "proc", "sys", "tmp", "run", "root", "out")


def nested_image(cache: Path | None = None, progress: TellFetch = silent) -> Path:
    """The image, from the cache or else built now. Safe to call from several processes.

    Raises FetchError where Debian's packages cannot be had or kept, NestedError where the
    Python packages cannot.
    """
    requirements = pins()
    made_of: list[object] = [RECIPE, SUITES, PACKAGES, NOT_NEEDED, requirements]
    layer = Layer("base", "base.cpio", "the nested image", made_of)
    return layer.get(lambda work: _build(work, requirements, progress), cache)


def _build(work: Path, requirements: list[str], progress: TellFetch) -> Contents:
    root = work / "root"
    root.mkdir()
    apt = PrivateApt.create(work / "apt", find_mirror(), SUITES)
    progress("reading Debian's package index for arm64")
    apt.update()
    for number, package in enumerate(PACKAGES, 1):
        progress(f"downloading {package} ({number} of {len(PACKAGES)})")
        shutil.copytree(apt.unpack(apt.download(package)), root, symlinks=True, dirs_exist_ok=True)
    for name in NOT_NEEDED:
        shutil.rmtree(root / name, ignore_errors=True)
    progress("installing Python packages for arm64")
    install(requirements, root / SITE)
    shutil.rmtree(root / SITE / "bin", ignore_errors=True)

    progress("compiling and packing")
    entries = [Entry(name, DIRECTORY) for name in DIRECTORIES]
    entries += with_bytecode(tree(root, ""))
    entries.append(Entry("usr/bin/python3", LINK, f"python{PYTHON}".encode()))
    entries.append(Entry("bin/sh", LINK, b"busybox"))
    return Contents(entries, {"packages": PACKAGES, "requirements": requirements})
