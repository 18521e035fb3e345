"""UEFI firmware, and a small disk that boots by it, to be laid over L1's image.

Both lie in L1's cache as they do in this one's, so that a test finds them there as anywhere.
"""

from __future__ import annotations

import gzip
from pathlib import Path

from hpcore.fetch.cache import cache_directory, write_atomically
from hpcore.fetch.whole_directory import TellFetch, silent
from hpcore.guest.initramfs import Entry, cpio
from hpcore.qemu.uefi import fetch_uefi
from tests.debian.grub import small_disk
from tests.nested.archive import parents, tree

CACHE = "root/.cache/hpcore"
"""hpcore's cache in L1."""

LAYER = "uefi.cpio.gz"


def nested_uefi(progress: TellFetch = silent) -> Path:
    """The archive, packed: most of both flash images is empty. Made anew with a new disk.

    Raises FetchError where Debian's packages cannot be had or kept.
    """
    firmware, disk = fetch_uefi(progress=progress), small_disk(progress=progress)
    directories = [firmware.directory, disk.path.parent]
    layer = directories[-1].with_name(f"{directories[-1].name}-{LAYER}")
    if not layer.exists():
        progress("packing L1's firmware and disk")
        entries: list[Entry] = []
        for directory in directories:
            at = f"{CACHE}/{directory.relative_to(cache_directory())}"
            entries += [*parents(f"{at}/any"), *tree(directory, at)]
        packed = gzip.compress(cpio(entries), compresslevel=1)
        # the kernel wants an unpacked archive, as the next is, at a multiple of four
        write_atomically(layer, packed + bytes(-len(packed) % 4))
    return layer
