"""Real images, made by the tools that make them: formats, partition tables, file systems."""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path

import pytest

from hpcore.disk import DiskError, read_disk
from hpcore.disk.image import MOST_BEHIND, open_image
from tests.disk.making import (
    BOOT_UUID,
    ESP,
    ROOT_UUID,
    Piece,
    ext,
    gpt,
    kernel,
    mbr,
    qcow2,
    vfat,
    xfs,
)
from tests.support.tools import run_tool

INITRD = b"070701" + bytes(range(256)) * 300
GRUB = f"""\
search --no-floppy --fs-uuid --set=root {ROOT_UUID}
menuentry 'Debian' {{
  linux /boot/vmlinuz root=UUID={ROOT_UUID} ro
  initrd /boot/initrd.img
}}
""".encode()
TREE: dict[str, bytes | str] = {
    "/boot/grub/grub.cfg": GRUB,
    "/boot/vmlinuz": "vmlinuz-6.12",
    "/boot/vmlinuz-6.12": kernel(),
    "/boot/initrd.img": "/boot/x/../initrd.img-6.12",
    "/boot/x/none": b"",
    "/boot/initrd.img-6.12": INITRD,
    "/etc/fstab": b"",
}
PACKED = gzip.compress(kernel("5.14"), mtime=0)
APPEND = f"BOOT_IMAGE=/boot/vmlinuz root=UUID={ROOT_UUID} ro"


@pytest.fixture(scope="module")
def debian() -> bytes:
    """An EFI partition and a root, as Debian's cloud images have them."""
    stub = f"search.fs_uuid {ROOT_UUID} root hd0,gpt2\nset prefix=($root)'/boot/grub'\n"
    esp = vfat({"EFI/debian/grub.cfg": stub.encode() + b"configfile $prefix/grub.cfg\n"})
    return gpt([Piece(esp, ESP, "efi"), Piece(ext(TREE, label="root"), name="root")])


def boots(path: Path, partition: str = "partition 2 (ext4)") -> None:
    """The image boots what TREE has, on that partition."""
    boot = read_disk(path)
    assert (boot.kernel, boot.initrd, boot.append) == (kernel(), INITRD, APPEND)
    assert boot.title == "Debian"
    assert boot.configuration == f"{path}, {partition}: /boot/grub/grub.cfg, line 2"
    assert boot.kernel_file == f"{partition}: /boot/vmlinuz"
    assert boot.initrd_files == (f"{partition}: /boot/initrd.img",)


def test_a_raw_image_is_read_and_left_as_it_is(tmp_path: Path, debian: bytes) -> None:
    path = tmp_path / "disk.img"
    path.write_bytes(debian)
    path.chmod(0o444)
    boots(path)
    assert path.read_bytes() == debian
    boot = read_disk(path)
    assert (boot.format, boot.size) == ("raw", len(debian))
    efi, root = boot.partitions
    assert (efi.number, efi.content, efi.uuid, efi.label) == (1, "vfat", "ABCD-1234", "ESP")
    assert (root.number, root.content, root.uuid, root.label) == (2, "ext4", ROOT_UUID, "root")
    assert (root.offset, root.size) == (5 << 20, 8 << 20)  # to its last sector
    assert (root.name, root.part_uuid) == ("root", "00000000-0000-0000-0000-000000000002")


@pytest.mark.parametrize(
    "options",
    [
        (), ("-c",), ("-o", "compat=0.10"), ("-o", "compat=0.10,cluster_size=512"),
        ("-c", "-o", "compression_type=zstd"),
        ("-o", "cluster_size=2M,preallocation=metadata"),
    ],
    ids=" ".join,
)  # fmt: skip
def test_a_qcow2_image_of_every_kind_is_read(
    tmp_path: Path, debian: bytes, options: tuple[str, ...]
) -> None:
    path = qcow2(debian, tmp_path / "disk.qcow2", *options)
    boots(path)
    boot = read_disk(path, "qcow2")
    assert (boot.format, boot.size) == ("qcow2", len(debian))
    stream = open_image(path).stream
    stream.seek(0)
    assert stream.read(len(debian)) == debian


def test_a_qcow2_image_with_subclusters_is_refused(tmp_path: Path, debian: bytes) -> None:
    path = qcow2(debian, tmp_path / "disk.qcow2", "-o", "extended_l2=on,cluster_size=128k")
    with pytest.raises(DiskError, match=r"disk.qcow2 has subclusters \(extended_l2\); `qemu-img"):
        read_disk(path)


@pytest.mark.parametrize("compat", ["0.10", "1.1"])
@pytest.mark.parametrize("behind", ["qcow2", "raw"])
def test_an_image_over_another_that_is_smaller_is_read(
    tmp_path: Path, debian: bytes, behind: str, compat: str
) -> None:
    base = qcow2(debian, tmp_path / "base.qcow2")
    if behind == "raw":
        base = tmp_path / "base.raw"
        base.write_bytes(debian)
    top = tmp_path / "sub" / "top.qcow2"
    top.parent.mkdir()
    run_tool("qemu-img", "create", "-f", "qcow2", "-F", behind, "-o", f"compat={compat}",
        "-b", f"../{base.name}", top, "1G")  # fmt: skip
    boots(top)


def test_images_that_lie_over_each_other_in_a_circle_are_refused(tmp_path: Path) -> None:
    a, b = tmp_path / "a.qcow2", tmp_path / "b.qcow2"
    for own, other in ((a, b), (b, a)):
        run_tool("qemu-img", "create", "-u", "-f", "qcow2", "-F", "qcow2", "-b", other, own, "1G")
    with pytest.raises(DiskError, match=f"more than {MOST_BEHIND} images, each"):
        read_disk(a)


@pytest.mark.parametrize(
    ("behind", "said"),
    [
        ("gone.qcow2", "cannot read the image .*gone.qcow2: No such file"),
        ("nbd://host/x", "lies over 'nbd://host/x', which is no file"),
        ("/dev/zero", "/dev/zero is no file and no disk"),
    ],
)
def test_an_image_over_what_is_no_image_is_refused(tmp_path: Path, behind: str, said: str) -> None:
    top = tmp_path / "top.qcow2"
    run_tool("qemu-img", "create", "-u", "-f", "qcow2", "-F", "qcow2", "-b", behind, top, "1G")
    with pytest.raises(DiskError, match=said):
        read_disk(top)


def test_a_raw_disk_that_looks_like_qcow2_is_not_followed_where_the_format_is_given(
    tmp_path: Path,
) -> None:
    secret, disk = tmp_path / "secret.raw", tmp_path / "guest.img"
    secret.write_bytes(gpt([Piece(ext(TREE))]))
    run_tool("qemu-img", "create", "-f", "qcow2", "-F", "raw", "-b", secret, disk)
    boots(disk, "partition 1 (ext4)")
    with pytest.raises(DiskError, match="no partition table"):
        read_disk(disk, "raw")


@pytest.mark.parametrize("kind", ["ext2", "ext3", "ext4"])
def test_every_ext_is_read(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "disk.img"
    path.write_bytes(mbr([Piece(vfat({"x": b""}), ESP), Piece(ext(TREE, kind))]))
    boots(path, f"partition 2 ({kind})")


def test_ext4_with_other_features_is_read(tmp_path: Path) -> None:
    path = tmp_path / "disk.img"
    features = "^metadata_csum,^flex_bg,casefold,large_dir,mmp,sparse_super2"
    path.write_bytes(gpt([Piece(ext(TREE, "ext4", "-O", features))]))
    boots(path, "partition 1 (ext4)")


@pytest.mark.parametrize("features", ["inline_data", "bigalloc", "meta_bg,^resize_inode"])
def test_ext4_with_features_that_are_not_read_is_refused_with_words(
    tmp_path: Path, features: str
) -> None:
    path = tmp_path / "disk.img"
    path.write_bytes(gpt([Piece(ext(TREE, "ext4", "-O", features))]))
    with pytest.raises(DiskError, match=r"partition 1 \(ext4\) is damaged, or of a kind"):
        read_disk(path)


def test_xfs_with_a_boot_partition_of_its_own_is_read(tmp_path: Path) -> None:
    script = f"search --fs-uuid --set=root {BOOT_UUID}\n" + (
        "menuentry 'Rocky' { linux ($root)/vmlinuz-5.14 root=/dev/mapper/x\n initrd /initrd }"
    )
    boot: dict[str, bytes | str] = {
        "/grub2/grub.cfg": script.encode(), "/vmlinuz-5.14": PACKED,
        "/initrd": "initrd-5.14", "/initrd-5.14": INITRD,
    }  # fmt: skip
    path = qcow2(gpt([Piece(b"LUKS\xba\xbe" + bytes(1 << 20)), Piece(xfs(boot, label="boot"))]),
                 tmp_path / "disk.qcow2")  # fmt: skip
    read = read_disk(path)
    assert read.kernel == PACKED
    assert read.initrd == INITRD
    assert read.append == "BOOT_IMAGE=(hd0,gpt2)/vmlinuz-5.14 root=/dev/mapper/x"
    assert [p.content for p in read.partitions] == ["LUKS, encrypted", "xfs"]
    assert (read.partitions[1].uuid, read.partitions[1].label) == (BOOT_UUID, "boot")


def test_systemd_boots_efi_partition_is_read_in_any_case(tmp_path: Path) -> None:
    entry = (
        b"title Arch\nlinux /VMLINUZ-linux\ninitrd /initramfs-linux.img\noptions root=LABEL=r rw"
    )
    efi = {
        "loader/entries/arch.conf": entry, "loader/loader.conf": b"default arch.conf\n",
        "vmlinuz-linux": kernel(), "initramfs-linux.img": INITRD,
    }  # fmt: skip
    path = tmp_path / "disk.img"
    path.write_bytes(gpt([Piece(vfat(efi), ESP), Piece(ext({"x": b""}))]))
    read = read_disk(path)
    assert (read.kernel, read.initrd, read.append) == (kernel(), INITRD, "root=LABEL=r rw")
    assert read.title == "Arch"


def test_a_file_system_without_a_partition_table_is_read(tmp_path: Path) -> None:
    path = tmp_path / "disk.img"
    path.write_bytes(ext(TREE))
    boots(path, "the whole disk (ext4)")


def test_several_initrds_are_one_after_the_other_and_aligned(tmp_path: Path) -> None:
    grub = b"menuentry A { linux /boot/vmlinuz\n initrd /boot/one /boot/two }"
    path = tmp_path / "disk.img"
    files: dict[str, bytes | str] = {"/boot/one": b"12345", "/boot/two": b"67"}
    path.write_bytes(ext(TREE | files | {"/boot/grub/grub.cfg": grub}))
    assert read_disk(path).initrd == b"12345\0\0\00067"


def test_a_large_kernel_is_read_whole(tmp_path: Path) -> None:
    large = kernel() + os.urandom(20 << 20)
    path = qcow2(ext(TREE | {"/boot/vmlinuz-6.12": large}, mib=64), tmp_path / "disk.qcow2")
    assert read_disk(path).kernel == large


OTHERS = {
    "btrfs": (0x10040, b"_BHRfS_M"), "LVM": (0x218, b"LVM2 001"),
    "LUKS, encrypted": (0, b"LUKS\xba\xbe"), "swap": (0xFF6, b"SWAPSPACE2"),
    "f2fs": (0x400, b"\x10\x20\xf5\xf2"),
    "unknown, type Linux filesystem data": (0, b"nothing"),
}  # fmt: skip


@pytest.mark.parametrize("content", OTHERS)
def test_a_partition_that_is_not_read_is_named_with_what_it_is(
    tmp_path: Path, content: str
) -> None:
    offset, magic = OTHERS[content]
    path = tmp_path / "disk.img"
    path.write_bytes(gpt([Piece((bytes(offset) + magic).ljust(1 << 20, b"\0"))]))
    with pytest.raises(DiskError) as caught:
        read_disk(path)
    assert f"not read: partition 1 ({content})" in str(caught.value)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("tree", "said"),
    [
        ({"/boot/vmlinuz": "gone"}, r"grub.cfg, line 3 names a file that cannot be taken: "
         r".*/boot/vmlinuz: there is no such file"),
        ({"/boot/vmlinuz": "vmlinuz"}, "goes through more than 40 links"),
        ({"/boot/vmlinuz": "a", "/boot/a": "b", "/boot/b": "/boot/a"}, "more than 40 links"),
        ({"/boot/vmlinuz": "x"}, r"/boot/vmlinuz is no regular file"),
        ({"/boot/vmlinuz": "../../../../gone/../etc"}, "there is no such file"),
        ({"/boot/initrd.img": "nowhere"}, r"line 4 names a file .*/boot/initrd.img: there is no"),
        ({"/boot/grub/grub.cfg": b"x" * ((1 << 20) + 1)}, "more than 1048576 are not read"),
        ({"/boot/grub/grub.cfg": b"\xff\0" * 100}, "no boot configuration"),
    ],
)  # fmt: skip
def test_a_file_that_cannot_be_taken_is_named_with_who_asks_for_it(
    tmp_path: Path, tree: dict[str, bytes | str], said: str
) -> None:
    path = tmp_path / "disk.img"
    path.write_bytes(gpt([Piece(ext(TREE | tree, mib=16))]))
    with pytest.raises(DiskError, match=said) as caught:
        read_disk(path)
    assert str(path) in str(caught.value)
    assert "partition 1 (ext4)" in str(caught.value)


def test_a_kernel_larger_than_any_is_refused_by_its_size(tmp_path: Path) -> None:
    path = tmp_path / "disk.img"
    path.write_bytes(ext(TREE))
    run_tool("debugfs", "-w", "-R", f"sif /boot/vmlinuz-6.12 size {1 << 40}", path)
    with pytest.raises(DiskError, match=r"line 3 names a file .* has 1099511627776 bytes; more"):
        read_disk(path)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "is empty"),
        (b"hello", "no partition table"),
        (gzip.compress(b"x" * 1000, mtime=0), "is packed with gzip.*unpack it"),
        (b"KDMV" + bytes(5000), "is a VMDK image.*qemu-img convert"),
        (b"QFI\xfb" + bytes(20), "cut short: it has no whole header"),
        (b"QFI\xfb\0\0\0\1" + bytes(200), "has version 1; only 2 and 3"),
        (b"QFI\xfb\0\0\0\3" + bytes(200), r"its clusters have 2\*\*0 bytes"),
    ],
)
def test_what_is_no_image_is_refused_with_what_it_is(
    tmp_path: Path, data: bytes, said: str
) -> None:
    path = tmp_path / "disk.img"
    path.write_bytes(data)
    with pytest.raises(DiskError, match=said) as caught:
        read_disk(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("gone", "No such file"), (".", "no file and no disk"), ("a" * 300, "File name too long"),
        ("a\0b", "null byte"), ("pipe", "no file and no disk"),
    ],
)  # fmt: skip
def test_what_cannot_be_opened_is_refused_by_its_name(tmp_path: Path, name: str, said: str) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(DiskError, match=said):
        read_disk(tmp_path / name)


def at(data: bytes, offset: int, new: bytes) -> bytes:
    return data[:offset] + new + data[offset + len(new) :]


@pytest.mark.parametrize(
    ("offset", "new", "said"),
    [
        (79, b"\x02", "is marked as corrupt; `qemu-img check"),
        (79, b"\x04", "keeps its data in another file"),
        (79, b"\x40", "features that are not known"),
        (35, b"\x01", "is encrypted"),
        (36, b"\xff\xff\xff\xff", "is damaged: 4294967295 L1 entries"),
        (36, b"\0\0\0\0", "is damaged: 0 L1 entries"),
        (24, b"\x7f" * 8, "is damaged"),
        (40, b"\x7f" * 8, "cut short|damaged"),
    ],
)
def test_a_damaged_qcow2_header_is_refused_with_words(
    tmp_path: Path, debian: bytes, offset: int, new: bytes, said: str
) -> None:
    path = qcow2(debian, tmp_path / "disk.qcow2")
    path.write_bytes(at(path.read_bytes(), offset, new))
    with pytest.raises(DiskError, match=said) as caught:
        read_disk(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("kind", ["raw", "qcow2"])
def test_an_image_that_is_cut_short_is_refused_as_such(
    tmp_path: Path, debian: bytes, kind: str
) -> None:
    path = tmp_path / "disk.img"
    if kind == "raw":
        path.write_bytes(debian[: 6 << 20])
    else:
        data = qcow2(debian, path).read_bytes()
        path.write_bytes(data[: len(data) // 2])
    with pytest.raises(DiskError, match=r"is cut short|is damaged"):
        read_disk(path)


def test_what_is_said_of_an_image_can_be_put_into_json(tmp_path: Path, debian: bytes) -> None:
    path = tmp_path / "d\udcffsk.img"  # a name that is no UTF-8
    path.write_bytes(debian)
    boot = read_disk(path)
    assert json.loads(json.dumps([boot.image, boot.configuration]))[0] == str(path)
