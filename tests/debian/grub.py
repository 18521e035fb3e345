"""Debian's GRUB for arm64, and a small disk that boots by it: a kernel, and hpcore's own initramfs.

What a distribution's disk does at its start, without the distribution: GRUB reads its
configuration, a choice that the guest may have written, and the files that this names. There is
one partition, the one from which UEFI boots.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from attrs import frozen

from hpcore.fetch.apt import PrivateApt
from hpcore.fetch.cache import cache_directory
from hpcore.fetch.sources import find_mirror
from hpcore.fetch.whole_directory import TellFetch, keep, kept, silent, write_manifest
from hpcore.guest.images import FetchedGuest, fetch_guest
from tests.debian.unpack import ESP, ESP_START, LAST, SECTOR
from tests.support.tools import run_tool

SUITE = "bookworm"
PACKAGE, PROGRAM = "grub-efi-arm64-bin", "usr/lib/grub/arm64-efi/monolithic/grubaa64.efi"
"""The program that Debian signs and installs: all modules are in it."""

DISK_SIZE = 64 << 20
"""Bytes of the partition: a kernel has 35 MB."""

FIRST, SECOND = "one", "two"
"""The entries of the menu, of equal length, so that one is written over the other."""

CHOICE = f"# GRUB Environment Block\nentry={FIRST}\n"
"""GRUB's file of 1,024 bytes in which a guest leaves its choice."""

ARGUMENT = "hpcore.entry="
"""On the kernel's command line, followed by the entry that was booted."""

MENU = """\
load_env -f $prefix/grubenv entry
set default=$entry
set timeout=0
""" + "".join(
    f"menuentry {entry} --id {entry} {{\n"
    f"  linux /Image console=ttyAMA0 panic=-1 quiet {ARGUMENT}{entry}\n"
    "  initrd /initrd\n}\n"
    for entry in (FIRST, SECOND)
)


@frozen
class SmallDisk:
    """A raw image, and the byte at which the name of the entry stands that GRUB boots."""

    path: Path
    choice_at: int


def grub_program(cache: Path | None = None, progress: TellFetch = silent) -> Path:
    """GRUB as UEFI starts it, from the cache or else from the Debian mirror of this machine.

    Raises FetchError where it cannot be had or kept.
    """
    directory = (cache or cache_directory()) / "debian" / f"{PACKAGE}-{SUITE}"

    def fetch(work: Path) -> Path:
        apt = PrivateApt.create(work / "apt", find_mirror(), [SUITE])
        progress("reading Debian's package index for arm64")
        apt.update()
        complete = work / "complete"
        complete.mkdir()
        found = apt.unpack(apt.download(PACKAGE)) / PROGRAM
        found.rename(complete / found.name)
        write_manifest(complete, version=apt.version(PACKAGE))
        return complete

    keep(directory, "GRUB", fetch)
    return directory / Path(PROGRAM).name


def small_disk(cache: Path | None = None, progress: TellFetch = silent) -> SmallDisk:
    """The disk, from the cache or else made now. Lay an image of your own over it to write.

    Raises FetchError where GRUB or the guest cannot be had or kept.
    """
    guest = fetch_guest(cache, progress)
    initramfs = guest.initramfs()
    made_of = json.dumps([MENU, CHOICE, DISK_SIZE, guest.kernel_package, initramfs.name])
    name = f"small-{hashlib.sha256(made_of.encode()).hexdigest()[:16]}"
    directory = (cache or cache_directory()) / "debian" / name
    if kept(directory) is None:
        grub = grub_program(cache, progress)
        keep(directory, "a small disk", lambda work: _build(work, grub, guest, initramfs))
    manifest = kept(directory)
    assert manifest is not None
    return SmallDisk(directory / "disk.raw", manifest["choice_at"])


def _build(work: Path, grub: Path, guest: FetchedGuest, initramfs: Path) -> Path:
    complete = work / "complete"
    complete.mkdir()
    disk = complete / "disk.raw"
    with disk.open("wb") as file:
        file.truncate((ESP_START + LAST) * SECTOR + DISK_SIZE)
    script, menu, choice = work / "sfdisk", work / "grub.cfg", work / "grubenv"
    sectors = DISK_SIZE // SECTOR
    script.write_text(f"label: gpt\n1: start={ESP_START}, size={sectors}, type={ESP}\n")
    run_tool("sh", "-c", 'sfdisk --quiet "$1" <"$2"', "sfdisk", disk, script)
    menu.write_text(MENU)
    choice.write_text(CHOICE.ljust(1024, "#"))
    at = f"{disk}@@{ESP_START * SECTOR}"
    run_tool("mformat", "-i", at, "-T", str(sectors), "-h", "64", "-s", "32", "-v", "ESP")
    run_tool("mmd", "-i", at, "::/EFI", "::/EFI/BOOT", "::/EFI/debian")
    for source, name in (
        (grub, "EFI/BOOT/BOOTAA64.EFI"), (menu, "EFI/debian/grub.cfg"),
        (choice, "EFI/debian/grubenv"), (guest.kernel, "Image"), (initramfs, "initrd"),
    ):  # fmt: skip
        run_tool("mcopy", "-i", at, source, f"::/{name}")
    written = disk.read_bytes()
    place = written.index(CHOICE.encode()) + len(CHOICE) - len(f"{FIRST}\n")
    write_manifest(complete, choice_at=place)
    return complete
