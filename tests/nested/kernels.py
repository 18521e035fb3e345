"""An L1 kernel whose KVM has no SMCCC filter: Debian bookworm's own, 6.1."""

from __future__ import annotations

from pathlib import Path

from hpcore.fetch.apt import PrivateApt
from hpcore.fetch.cache import cache_directory
from hpcore.fetch.sources import find_mirror
from hpcore.fetch.whole_directory import TellFetch, keep, silent, write_manifest
from hpcore.guest.images import newest_kernel
from hpcore.guest.kernel import load_kernel
from tests.nested.errors import NestedError

SUITES = ("bookworm",)
PATTERN = r"linux-image-6\.1\.[0-9].*-cloud-arm64(-unsigned)?"


def old_kernel(cache: Path | None = None, progress: TellFetch = silent) -> Path:
    """The kernel, from the cache or else fetched now. Raises FetchError or NestedError."""
    directory = (cache or cache_directory()) / "nested" / "linux-6.1"
    keep(directory, "an old kernel", lambda work: _fetch(work, progress))
    return directory / "Image"


def _fetch(work: Path, progress: TellFetch) -> Path:
    apt = PrivateApt.create(work / "apt", find_mirror(), SUITES)
    progress("reading Debian's package index for arm64")
    apt.update()
    package = newest_kernel(apt.names(PATTERN))
    progress(f"downloading {package}, in which KVM has no SMCCC filter")
    files = apt.unpack(apt.download(package))
    found = list(files.glob("boot/vmlinuz-*"))
    if len(found) != 1:
        raise NestedError(f"package {package} holds {len(found)} kernels, not 1")
    complete = work / "complete"
    complete.mkdir()
    (complete / "Image").write_bytes(load_kernel(found[0]).data)
    write_manifest(complete, package=package)
    return complete
