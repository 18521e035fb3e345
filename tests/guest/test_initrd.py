"""What Linux unpacks is taken for an initrd, and nothing else."""

from __future__ import annotations

import bz2
import gzip
import lzma
import re
import stat
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest

from hpcore.guest.errors import GuestError
from hpcore.guest.initramfs import Entry, build_initramfs, cpio
from hpcore.guest.initrd import check_initrd

PROGRAM = stat.S_IFREG | 0o755
ARCHIVE = build_initramfs(Random(0).randbytes(40_001))

PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "nothing": bytes,
    "gzip": gzip.compress,
    "bzip2": bz2.compress,
    "xz": lzma.compress,
    "lzma": lambda data: lzma.compress(data, lzma.FORMAT_ALONE),
}


def file(tmp_path: Path, content: bytes) -> Path:
    path = tmp_path / "initrd"
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("packer", PACKERS)
def test_an_archive_is_taken_plain_and_packed(tmp_path: Path, packer: str) -> None:
    check_initrd(file(tmp_path, PACKERS[packer](ARCHIVE)))


@pytest.mark.parametrize(
    "magic", [b"\x28\xb5\x2f\xfd", b"\x02\x21\x4c\x18", b"\x89LZO\0\r\n\x1a\n"],
    ids=["zstd", "lz4", "lzo"],
)  # fmt: skip
def test_what_linux_unpacks_and_python_does_not_is_believed(tmp_path: Path, magic: bytes) -> None:
    check_initrd(file(tmp_path, magic + Random(1).randbytes(1000)))


def test_archives_in_a_row_and_zeros_around_them_are_taken(tmp_path: Path) -> None:
    one, crc = cpio([Entry("init", PROGRAM, b"x" * 13)]), ARCHIVE.replace(b"070701", b"070702")
    for content in (
        bytes(512) + one, one + bytes(4) + one, one + bytes(1000), one + gzip.compress(one),
        one + bytes(7) + lzma.compress(one), crc, cpio([]),
    ):  # fmt: skip
        check_initrd(file(tmp_path, content))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is an empty file; give a cpio archive (newc), as `cpio -o -H newc` makes it"),
        (bytes(4096), "is an empty file"),
        (bytes(0x38) + b"ARM\x64" + bytes(100), "is of an unknown kind"),
        (b"MZ" + bytes(0x36) + b"ARM\x64" + bytes(100), "is an arm64 kernel Image"),
        (b"\x7fELF" + bytes(100), "is an ELF program"),
        (b"#!/bin/sh\nexec sh\n", "is a script"),
        (b"file" + bytes(0xFD) + b"ustar", "is a tar archive"),
        (b"boot" + bytes(0x434) + b"\x53\xef", "is an image of an ext file system"),
        (b"070707" + b"0" * 200, "old form (use cpio -H newc)"),
        (b"\x04\x22\x4d\x18" + bytes(9), "packed with lz4 in a form that Linux does not unpack"),
        (b"nonsense", "is of an unknown kind"),
        (gzip.compress(b"\x7fELF" + bytes(100)), "packed with gzip, and inside is an ELF program"),
        (bz2.compress(b""), "packed with bzip2, and inside is an empty file"),
        (b"\x1f\x8b" + bytes(100), "does not unpack (gzip)"),
        (b"\xfd7zXZ\0" + bytes(100), "does not unpack (xz)"),
        (b"BZh9" + bytes(100), "does not unpack (bzip2)"),
        (ARCHIVE[:-1000], "is cut short: its archive does not end within its"),
        (ARCHIVE[:200], "is cut short"),
        (cpio([]) + b"070701", "is cut short"),
        (ARCHIVE[:116] + b"?" * 5000, "is damaged: at byte"),
        (cpio([]) + b"nonsense", "and what follows is of an unknown kind"),
    ],
    ids=range(21),
)  # fmt: skip
def test_what_is_no_initrd_is_refused_by_its_name(
    tmp_path: Path, content: bytes, said: str
) -> None:
    path = file(tmp_path, content)
    with pytest.raises(GuestError, match=re.escape(said)) as refusal:
        check_initrd(path)
    assert str(path) in str(refusal.value)


def test_an_initrd_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    for path, why in ((tmp_path, "Is a directory"), (tmp_path / "no", "No such file")):
        with pytest.raises(GuestError, match=f"cannot read the initrd {path}: {why}"):
            check_initrd(path)
