"""Fetching the guest: Debian's arm64 cloud kernel and a static busybox.

The kernel is pinned to the 6.12 series: the first long-term one with vCPU hotplug on
arm64 (6.11 or newer), and the one whose masks the tests expect. Backports carry newer
majors as well, so the versioned package is looked up and the metapackage never asked.
"""

from __future__ import annotations

import hashlib
import re
import shutil
from pathlib import Path

from attrs import frozen

from hpcore.fetch.apt import PrivateApt
from hpcore.fetch.cache import cache_directory, file_errors, write_atomically
from hpcore.fetch.sources import find_mirror
from hpcore.fetch.whole_directory import TellFetch, keep, kept, silent, write_manifest
from hpcore.guest.errors import GuestError
from hpcore.guest.initramfs import build_initramfs
from hpcore.guest.kernel import load_kernel

SUITES = ("bookworm", "bookworm-backports")
KERNEL_SERIES = "6.12"
KERNEL_PATTERN = rf"linux-image-{re.escape(KERNEL_SERIES)}\.[0-9].*-cloud-arm64(-unsigned)?"
BUSYBOX_PACKAGE = "busybox-static"

@frozen
class FetchedGuest:
    """A kernel Image and a busybox, kept in the cache, and where they came from."""

    kernel: Path
    busybox: Path
    kernel_package: str
    kernel_version: str

    def initramfs(self) -> Path:
        """The initramfs of this busybox and hpcore's init, written beside it if need be.

        Its name carries a hash of the content, so that a newer hpcore never boots the
        init of an older one. Raises FetchError where it cannot be written.
        """
        with file_errors("write an initramfs", self.busybox.parent):
            data = build_initramfs(self.busybox.read_bytes())
            digest = hashlib.sha256(data).hexdigest()[:16]
            path = self.busybox.parent / f"initramfs-{digest}.cpio"
            if not path.exists():
                write_atomically(path, data)
        return path


def fetched_guest(cache: Path | None = None) -> FetchedGuest | None:
    """The guest that an earlier `fetch_guest` left in the cache, or None."""
    directory = _directory(cache)
    manifest = kept(directory)
    if manifest is None:
        return None
    return FetchedGuest(
        kernel=directory / "Image",
        busybox=directory / "busybox",
        kernel_package=manifest["kernel_package"],
        kernel_version=manifest["kernel_version"],
    )


def fetch_guest(cache: Path | None = None, progress: TellFetch = silent) -> FetchedGuest:
    """The guest from the cache, or else from the Debian mirror that this machine uses.

    Safe to call from several processes: one fetches, the others wait and find it done.
    Raises FetchError where there is no apt, mirror, network or disk space, GuestError where
    what was fetched is no guest.
    """
    keep(_directory(cache), "a guest", lambda work: _fetch_into(work, progress))
    guest = fetched_guest(cache)
    assert guest is not None, "kept"
    progress(f"kernel {guest.kernel_version} is in {guest.kernel.parent}")
    return guest


def _directory(cache: Path | None) -> Path:
    return (cache or cache_directory()) / "guest" / f"debian-12-linux-{KERNEL_SERIES}"


def _fetch_into(work: Path, progress: TellFetch) -> Path:
    apt = PrivateApt.create(work / "apt", find_mirror(), SUITES)
    progress("reading the package index")
    apt.update()
    package = newest_kernel(apt.names(KERNEL_PATTERN))
    progress(f"downloading {package}")
    kernel = _only(apt.unpack(apt.download(package)), "boot/vmlinuz-*", package)
    progress(f"downloading {BUSYBOX_PACKAGE}")
    busybox = _only(apt.unpack(apt.download(BUSYBOX_PACKAGE)), "**/bin/busybox", BUSYBOX_PACKAGE)

    complete = work / "complete"
    complete.mkdir()
    image = load_kernel(kernel)
    (complete / "Image").write_bytes(image.data)
    shutil.copyfile(busybox, complete / "busybox")
    write_manifest(
        complete,
        kernel_package=package,
        kernel_version=image.version or kernel.name.removeprefix("vmlinuz-"),
    )
    return complete


def newest_kernel(packages: list[str]) -> str:
    """The package of the highest version; the signed one where both are there.

    Raises GuestError on an empty list.
    """
    if not packages:
        raise GuestError(
            f"the Debian mirror has no {KERNEL_SERIES} cloud kernel for arm64 in "
            f"{' or '.join(SUITES)}; give a kernel of your own"
        )

    def order(package: str) -> tuple[list[int], bool]:
        numbers = [int(number) for number in re.findall(r"\d+", package)]
        return numbers, not package.endswith("-unsigned")

    return max(packages, key=order)


def _only(directory: Path, pattern: str, package: str) -> Path:
    found = sorted(directory.glob(pattern))
    if len(found) != 1:
        raise GuestError(
            f"package {package} holds {len(found)} files {pattern}, not 1; "
            "give a kernel and a busybox of your own"
        )
    return found[0]
