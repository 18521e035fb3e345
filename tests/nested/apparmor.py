"""Debian's AppArmor for arm64, to be laid over L1's image: its parser, libvirt's rules for QEMU.

The kernel of L1 has AppArmor, and has it on.
"""

from __future__ import annotations

from pathlib import Path

from hpcore.fetch.apt import PrivateApt
from hpcore.fetch.sources import find_mirror
from hpcore.fetch.whole_directory import TellFetch, silent
from hpcore.guest.initramfs import Entry
from tests.nested.archive import PROGRAM, parents, tree
from tests.nested.errors import NestedError
from tests.nested.layers import Contents, Layer
from tests.support.tools import run_tool

RECIPE = 1
"""Counted up with every change of what is made here that the other ingredients don't show."""

SUITE = "bookworm"
PARSER, PARSER_AT = "sbin/apparmor_parser", "usr/bin/apparmor_parser"
"""Where the package has it, and where L1 looks; it loads nothing but libc."""

RULES = "etc/apparmor.d"
PACKAGES = ("apparmor", "libvirt-daemon-system")
"""The first has the parser, and the rules that all profiles share; the second libvirt's."""


def nested_apparmor(cache: Path | None = None, progress: TellFetch = silent) -> Path:
    """The archive, from the cache or else made now.

    Raises FetchError where Debian's packages cannot be had or kept, NestedError where they
    have not what is needed. Safe to call from several processes.
    """
    made_of: list[object] = [RECIPE, SUITE, PARSER, PARSER_AT, RULES, PACKAGES]
    layer = Layer("apparmor", "apparmor.cpio", "L1's AppArmor", made_of)
    return layer.get(lambda work: _build(work, progress), cache)


def _build(work: Path, progress: TellFetch) -> Contents:
    apt = PrivateApt.create(work / "apt", find_mirror(), (SUITE,))
    progress("reading Debian's package index for arm64")
    apt.update()
    files = work / "files"
    for package in PACKAGES:
        progress(f"downloading {package}")
        run_tool("dpkg-deb", "-x", apt.download(package), files)
    for name in (PARSER, f"{RULES}/abstractions/base", f"{RULES}/abstractions/libvirt-qemu"):
        if not (files / name).is_file():
            raise NestedError(f"no package of {', '.join(PACKAGES)} has {name}")
    entries = [*parents(PARSER_AT), Entry(PARSER_AT, PROGRAM, (files / PARSER).read_bytes())]
    entries += [*parents(f"{RULES}/any"), *tree(files / RULES, RULES)]
    return Contents(entries, {"packages": PACKAGES})
