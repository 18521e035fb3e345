"""`hpcore disk`, and the images that boot taken from a disk."""

from __future__ import annotations

import gzip
import subprocess
import sys
from pathlib import Path

import pytest

from hpcore.disk import DiskError, extract, read_disk
from hpcore.guest.errors import GuestError
from hpcore.guest.initramfs import Entry, cpio
from hpcore.guest.initrd import check_initrd
from hpcore.guest.kernel import load_kernel
from hpcore.run.from_disk import images_of_disk
from tests.disk.making import ROOT_UUID, Piece, debian, ext, gpt, kernel, qcow2
from tests.docs.pages import DOCS, blocks
from tests.support.command import hpcore, refused

INITRD = cpio([Entry("init", 0o100755, b"#!/bin/sh\n")])
GRUB = b"""\
menuentry 'My Linux' {
  linux /boot/vmlinuz root=/dev/vda1 console=ttyAMA0
  initrd /boot/i
}
"""


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "disk.img"
    return write(path)


def write(path: Path, **changes: bytes) -> Path:
    """An image with a packed kernel; `grub`, `vmlinuz` and `i` may be others."""
    tree = {
        "/boot/grub/grub.cfg": changes.get("grub", GRUB),
        "/boot/vmlinuz": changes.get("vmlinuz", gzip.compress(kernel())),
        "/boot/i": changes.get("i", INITRD),
    }
    path.write_bytes(gpt([Piece(ext(tree, label="root"))]))
    return path


def test_disk_says_what_an_image_would_boot(image: Path) -> None:
    ended = hpcore("disk", str(image))
    assert ended.code == 0, ended
    for words in (
        "raw", "ext4", ROOT_UUID, "My Linux", f"{image}, partition 1 (ext4): /boot/grub/grub.cfg",
        "partition 1 (ext4): /boot/vmlinuz", "6.12.95-arm64", "packed", f"{len(INITRD)} bytes",
        "append   BOOT_IMAGE=/boot/vmlinuz root=/dev/vda1 console=ttyAMA0",
    ):  # fmt: skip
        assert words in ended.out, words


def test_the_page_of_the_docs_shows_what_is_printed(tmp_path: Path) -> None:
    qcow2(debian(), tmp_path / "debian.qcow2")
    ended = hpcore("disk", "debian.qcow2", before=("env", "-C", tmp_path))
    assert [line.rstrip() for line in ended.out.splitlines()] == next(
        text.splitlines() for text in blocks(DOCS / "disk.md") if "config " in text
    )


def test_disk_says_it_as_json(image: Path) -> None:
    last = hpcore("disk", str(image), "--format", "raw", "--json").last
    assert last["ok"] is True
    assert last["entry"] == "My Linux"
    assert last["append"] == "BOOT_IMAGE=/boot/vmlinuz root=/dev/vda1 console=ttyAMA0"
    assert last["kernel"]["version"] == "6.12.95-arm64"
    assert last["kernel"]["packed"] is True
    assert last["initrd"] == {"files": ["partition 1 (ext4): /boot/i"], "size": len(INITRD)}
    (partition,) = last["partitions"]
    assert (partition["content"], partition["label"]) == ("ext4", "root")
    assert last["extracted"] is None


def test_disk_writes_what_boots_with_the_kernel_unpacked(image: Path, tmp_path: Path) -> None:
    directory = tmp_path / "deep" / "boot"
    for _ in range(2):  # and again over what is there
        ended = hpcore("disk", str(image), "--extract", str(directory), "--json")
        assert ended.code == 0, ended
    assert (directory / "Image").read_bytes() == kernel()
    assert (directory / "initrd").read_bytes() == INITRD
    assert (directory / "cmdline").read_text() == (
        "BOOT_IMAGE=/boot/vmlinuz root=/dev/vda1 console=ttyAMA0\n"
    )
    assert sorted(path.name for path in directory.iterdir()) == ["Image", "cmdline", "initrd"]
    assert ended.last["extracted"]["kernel"] == str(directory / "Image")
    assert not load_kernel(directory / "Image").packed


def test_disk_warns_of_a_kernel_without_hotplug(tmp_path: Path) -> None:
    path = write(tmp_path / "old.img", vmlinuz=kernel("6.1.0-30-arm64"))
    assert "older than 6.11" in hpcore("disk", str(path)).out


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"vmlinuz": b"\0" * 0x202 + b"HdrS" + bytes(5000)},
         "partition 1 (ext4): /boot/vmlinuz is an x86 kernel (bzImage), not an arm64 kernel Image"),
        ({"grub": b"menuentry W { chainloader /w }"},
         "the entry 'W' boots no Linux: `chainloader`"),
        ({"grub": b"menuentry W { linux /gone }"}, "grub.cfg, line 1 names a file that cannot be"),
    ],
)  # fmt: skip
def test_disk_refuses_with_words_what_does_not_boot(
    tmp_path: Path, changes: dict[str, bytes], said: str
) -> None:
    path = write(tmp_path / "disk.img", **changes)
    assert said in refused("disk", str(path))


def test_disk_refuses_what_is_no_image_and_a_place_that_cannot_be_written(
    image: Path, tmp_path: Path
) -> None:
    assert "cannot read the image" in refused("disk", str(tmp_path / "none"))
    (tmp_path / "file").write_text("")
    assert "cannot write to" in refused("disk", str(image), "--extract", str(tmp_path / "file/x"))


def test_the_images_of_a_disk_boot_without_a_shell(image: Path, tmp_path: Path) -> None:
    images = images_of_disk(image, tmp_path / "boot", "raw", append="maxcpus=1")
    assert images.kernel.read_bytes() == kernel()
    assert images.initrd.read_bytes() == INITRD
    assert images.append == "BOOT_IMAGE=/boot/vmlinuz root=/dev/vda1 console=ttyAMA0 maxcpus=1"
    assert not images.shell


def test_an_entry_without_an_initrd_gets_an_empty_one(tmp_path: Path) -> None:
    path = write(tmp_path / "disk.img", grub=b"menuentry A { linux /boot/vmlinuz }")
    images = images_of_disk(path, tmp_path / "boot")
    check_initrd(images.initrd)
    assert len(images.initrd.read_bytes()) < 200


def test_an_initrd_that_linux_does_not_unpack_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "disk.img", i=b"no archive")
    with pytest.raises(GuestError, match="unknown kind"):
        images_of_disk(path, tmp_path / "boot")


def test_a_full_disk_and_a_missing_permission_are_said(image: Path) -> None:
    boot = read_disk(image)
    with pytest.raises(DiskError, match="cannot write to /proc/boot"):
        extract(boot, Path("/proc/boot"))


def test_nothing_of_the_libraries_is_loaded_by_who_only_asks(image: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from hpcore.run.from_disk import images_of_disk; "
        f"images_of_disk(Path({str(image)!r}), Path({str(image.parent / 'b')!r})); "
        "print([m for m in sys.modules if m.startswith('dissect')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
