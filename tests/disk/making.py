"""Disk images for tests: file systems by their own tools, partition tables by hand."""

from __future__ import annotations

import struct
import tempfile
import uuid
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

from attrs import frozen

from hpcore.guest.initramfs import Entry, cpio
from tests.support.tools import run_tool

SECTOR = 512
ESP = uuid.UUID("c12a7328-f81f-11d2-ba4b-00a0c93ec93b")
LINUX = uuid.UUID("0fc63daf-8483-4772-8e79-3d69d8477de4")
ROOT_UUID = "11111111-2222-3333-4444-555555555555"
BOOT_UUID = "66666666-7777-8888-9999-000000000000"

Tree = Mapping[str, bytes | str]
"""Files by their paths: bytes are a file's content, text is where a symbolic link goes."""


def kernel(version: str = "6.12.95-arm64", memory: int = 0x2000) -> bytes:
    """What is taken for an arm64 kernel of that version."""
    head = struct.pack("<IIQQ", 0x91005A4D, 0, 0, memory).ljust(0x38, b"\0") + b"ARM\x64"
    return head + bytes(100) + f"Linux version {version} (builder) #1".encode() + bytes(5000)


@frozen
class Piece:
    """A partition to be: its content, its type, its name."""

    content: bytes
    kind: uuid.UUID = LINUX
    name: str = ""


def lay_out(directory: Path, tree: Tree) -> None:
    """Write the files of `tree` below a directory."""
    for name, content in tree.items():
        path = directory / name.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, str):
            path.symlink_to(content)
        else:
            path.write_bytes(content)


def ext(
    tree: Tree, kind: str = "ext4", *options: str, mib: int = 8, label: str = "",
    uuid: str = ROOT_UUID,
) -> bytes:  # fmt: skip
    """An ext2, ext3 or ext4 with these files."""
    with tempfile.TemporaryDirectory() as name:
        files, image = Path(name, "files"), Path(name, "image")
        files.mkdir()
        lay_out(files, tree)
        run_tool(
            "mkfs.ext4", "-q", "-F", "-t", kind, "-U", uuid, "-L", label, *options,
            "-d", files, image, f"{mib}M",
        )  # fmt: skip
        return image.read_bytes()


def vfat(tree: Tree, *, mib: int = 4, label: str = "ESP") -> bytes:
    """A vfat with these files; it takes no links."""
    with tempfile.TemporaryDirectory() as name:
        files, image = Path(name, "files"), Path(name, "image")
        files.mkdir()
        lay_out(files, tree)
        image.write_bytes(bytes(mib << 20))
        run_tool("mkfs.vfat", "-i", "ABCD1234", "-n", label, image)
        for top in sorted(files.iterdir()):
            run_tool("mcopy", "-i", image, "-s", top, "::")
        return image.read_bytes()


def xfs(tree: Tree, *, label: str = "", uuid: str = BOOT_UUID) -> bytes:
    """An xfs with these files. 300 MiB is the least that its tool makes."""
    with tempfile.TemporaryDirectory() as name:
        files, image, proto = (Path(name, n) for n in ("files", "image", "proto"))
        files.mkdir()
        lay_out(files, tree)
        proto.write_text("none\n0 0\nd--755 0 0\n" + _proto(files) + "$\n")
        with image.open("wb") as file:
            file.truncate(300 << 20)
        label_option = ["-L", label] if label else []
        run_tool("mkfs.xfs", "-q", "-m", f"uuid={uuid}", *label_option, "-p", proto, image)
        return image.read_bytes()


def _proto(directory: Path) -> str:
    out = ""
    for path in sorted(directory.iterdir()):
        if path.is_symlink():
            out += f"{path.name} l--777 0 0 {path.readlink()}\n"
        elif path.is_dir():
            out += f"{path.name} d--755 0 0\n{_proto(path)}$\n"
        else:
            out += f"{path.name} ---644 0 0 {path}\n"
    return out


def gpt(pieces: Sequence[Piece]) -> bytes:
    """A disk with a GUID partition table; partition n has the unique GUID n."""
    entries, at, body = b"", 2048, b""
    for n, piece in enumerate(pieces, 1):
        sectors = -(-len(piece.content) // SECTOR)
        entries += struct.pack(
            "<16s16sQQQ72s", piece.kind.bytes_le, uuid.UUID(int=n).bytes_le,
            at, at + sectors - 1, 0, piece.name.encode("utf-16-le"),
        )  # fmt: skip
        body += piece.content.ljust(sectors * SECTOR, b"\0")
        at += sectors
    entries = entries.ljust(128 * 128, b"\0")
    last = at + 33

    def header(check: int) -> bytes:
        return struct.pack(
            "<8sIIIIQQQQ16sQIII", b"EFI PART", 0x10000, 92, check, 0, 1, last, 34, at - 1,
            uuid.UUID(int=77).bytes_le, 2, 128, 128, zlib.crc32(entries),
        )  # fmt: skip

    first = _mbr([(0xEE, 1, last)])
    table = header(zlib.crc32(header(0))).ljust(SECTOR, b"\0") + entries
    return (first + table).ljust(2048 * SECTOR, b"\0") + body + bytes(34 * SECTOR)


def mbr(pieces: Sequence[Piece]) -> bytes:
    """A disk with the partition table of old."""
    at, rows, body = 2048, [], b""
    for piece in pieces:
        sectors = -(-len(piece.content) // SECTOR)
        rows.append((0xEF if piece.kind == ESP else 0x83, at, sectors))
        body += piece.content.ljust(sectors * SECTOR, b"\0")
        at += sectors
    return _mbr(rows).ljust(2048 * SECTOR, b"\0") + body


def _mbr(rows: Sequence[tuple[int, int, int]]) -> bytes:
    table = b"".join(struct.pack("<B3sB3sII", 0, b"", kind, b"", at, n) for kind, at, n in rows)
    return bytes(446) + table.ljust(64, b"\0") + b"\x55\xaa"


def qcow2(raw: bytes, path: Path, *options: str) -> Path:
    """A qcow2 image with that content, by QEMU's own tool."""
    source = path.with_suffix(".raw")
    source.write_bytes(raw)
    run_tool("qemu-img", "convert", "-f", "raw", "-O", "qcow2", *options, source, path)
    source.unlink()
    return path


def debian() -> bytes:
    """The disk of docs/disk.md: an EFI partition and a root, as Debian's images have them."""
    stub = f"search.fs_uuid {ROOT_UUID} root hd0,gpt2\nset prefix=($root)'/boot/grub'\n"
    grub = f"""\
set default="0"
search --no-floppy --fs-uuid --set=root {ROOT_UUID}
menuentry 'Debian GNU/Linux' --class debian {{
  linux /boot/vmlinuz-6.12 root=UUID={ROOT_UUID} ro
  initrd /boot/initrd.img-6.12
}}
"""
    tree = {
        "/boot/grub/grub.cfg": grub.encode(), "/boot/vmlinuz-6.12": kernel(),
        "/boot/initrd.img-6.12": cpio([Entry("init", 0o100755, b"#!/bin/sh\n")]),
    }  # fmt: skip
    esp = vfat({"EFI/debian/grub.cfg": f"{stub}configfile $prefix/grub.cfg\n".encode()})
    return gpt([Piece(esp, ESP), Piece(ext(tree, label="root"))])
