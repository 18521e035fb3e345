"""The disk: fetched, unpacked here, configured by dpkg in a guest, kept in the cache.

`python -m tests.debian.disk` makes it and says where it is.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from hpcore.fetch.apt import PrivateApt
from hpcore.fetch.cache import cache_directory
from hpcore.fetch.errors import FetchError
from hpcore.fetch.sources import find_mirror
from hpcore.fetch.whole_directory import TellFetch, keep, kept, silent, write_manifest
from hpcore.guest.images import SUITES, newest_kernel
from hpcore.guest.kernel import load_kernel
from hpcore.qemu import find_qemu
from tests.debian import grub
from tests.support.tools import run_tool

PACKAGES = (
    "?essential", "usr-is-merged", "mawk", "apt", "e2fsprogs",  # what debootstrap calls minbase
    "systemd-sysv", "udev", "dbus",  # dbus for logind, which hears the power button
    "initramfs-tools", "zstd", "grub2-common", "iproute2",
)  # fmt: skip
"""Beside the kernels. GRUB's programs write its configuration; GRUB itself is no package here."""

KERNELS = r"linux-image-6\.(1|12)\.[0-9].*-cloud-arm64(-unsigned)?"
"""The newest two are installed. The 6.1 series is there for a mirror with one 6.12 kernel."""

RECIPE = 2
"""Counted up with every change of what is made here that the other ingredients don't show."""

MADE_BY = ("files.py", "unpack.py", "configure.sh")
"""Whose text the name of a disk in the cache has in it."""

QUICK_CPU = "max,sve=off,sme=off,pauth-impdef=on"
"""A CPU without the flaws that a kernel works around at every system call: the same boot takes an
emulated Cortex-A57 twice as long."""

IMAGE = "disk.qcow2"
CONFIGURING = 1800.0
"""Seconds for dpkg to configure them: 11 minutes on two CPUs that ten others want, too."""


def debian_disk(cache: Path | None = None, progress: TellFetch = silent) -> Path:
    """The disk, from the cache or else made now. Lay an image of your own over it to write.

    Raises FetchError where Debian's packages cannot be had or kept.
    """
    directory = (cache or cache_directory()) / "debian" / _made_of()
    if kept(directory) is None:
        keep(directory, "a Debian disk", lambda work: _build(work, progress))
    return directory / IMAGE


def kernels_of(disk: Path) -> tuple[str, str]:
    """The releases of the kernels on `debian_disk()`, the newest first."""
    manifest = kept(disk.parent)
    assert manifest is not None
    newest, other = manifest["kernels"]
    return newest, other


def overlay(disk: Path, path: Path) -> Path:
    """A qcow2 image at `path` that holds what is written, over `disk`, which stays as it is."""
    run_tool("qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", disk, path)
    return path


def _made_of() -> str:
    """A hash of what goes into it, which is its name in the cache."""
    texts = (Path(__file__).with_name(name).read_bytes() for name in MADE_BY)
    constants = json.dumps([RECIPE, PACKAGES, SUITES, KERNELS, grub.PROGRAM]).encode()
    return hashlib.sha256(constants + b"".join(texts)).hexdigest()[:16]


def _build(work: Path, progress: TellFetch) -> Path:
    apt = PrivateApt.create(work / "apt", find_mirror(), SUITES)
    progress("reading Debian's package index for arm64")
    apt.update()
    kernels = _two_kernels(apt.names(KERNELS))
    progress(f"downloading Debian, {' and '.join(kernels)}")
    debs = apt.download_with_needed([*PACKAGES, *kernels])
    boots = grub.grub_program(progress=progress)

    progress(f"unpacking {len(debs)} packages")
    root, raw = work / "root", work / "disk.raw"
    faked = [] if os.geteuid() == 0 else ["fakeroot"]
    run_tool(*faked, sys.executable, "-m", "tests.debian.unpack", root, raw, boots, *debs)
    image = work / "Image"
    image.write_bytes(load_kernel(root / f"boot/vmlinuz-{release_of(kernels[0])}").data)

    progress("configuring them in a guest")
    _configure(image, raw)
    complete = work / "complete"
    complete.mkdir()
    run_tool("qemu-img", "convert", "-f", "raw", "-O", "qcow2", raw, complete / IMAGE)
    shutil.rmtree(root)
    write_manifest(
        complete, kernels=list(map(release_of, kernels)), packages=[deb.name for deb in debs]
    )
    return complete


def release_of(package: str) -> str:
    """What `uname -r` says of the kernel in `package`."""
    return package.removeprefix("linux-image-").removesuffix("-unsigned")


def _two_kernels(packages: list[str]) -> tuple[str, str]:
    newest = newest_kernel(packages)
    others = [package for package in packages if release_of(package) != release_of(newest)]
    return newest, newest_kernel(others)


def _configure(kernel: Path, raw: Path) -> None:
    """Boot the disk with its script as first process. An nvme root needs no initrd."""
    said = raw.with_suffix(".serial")
    command: list[str | Path] = [
        find_qemu().path, "-machine", "virt", "-accel", "tcg,thread=multi",
        "-cpu", QUICK_CPU, "-smp", "2", "-m", "1024",
        "-nodefaults", "-no-reboot", "-display", "none", "-serial", f"file:{said}",
        "-kernel", kernel, "-append",
        "console=ttyAMA0 quiet panic=-1 root=/dev/nvme0n1p1 rw init=/configure.sh",
        "-drive", f"if=none,id=root,file={raw},format=raw,cache=unsafe",
        "-device", "nvme,drive=root,serial=root",
    ]  # fmt: skip
    try:
        subprocess.run(command, check=False, timeout=CONFIGURING, stdin=subprocess.DEVNULL)
    finally:
        words = said.read_text(errors="replace").replace("\r", "")
    if "\nCONFIGURED\n" not in words:
        raise FetchError(f"Debian was not configured; its console said: ...{words[-3000:]}")


if __name__ == "__main__":
    print(debian_disk(progress=lambda text: print(text, flush=True)))
