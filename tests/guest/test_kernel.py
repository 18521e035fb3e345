"""What a kernel file is taken for."""

from __future__ import annotations

import gzip
import lzma
import struct
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from hpcore.guest.errors import GuestError
from hpcore.guest.kernel import bootable, load_kernel
from hpcore.guest.unpack import LARGEST

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd


def image(version: str | None = "6.12.95+deb12-cloud-arm64", memory: int = 0x2000) -> bytes:
    banner = f"Linux version {version} (builder) #1 SMP".encode() if version else b""
    head = struct.pack("<IIQQ", 0x91005A4D, 0, 0, memory)
    return head.ljust(0x38, b"\0") + b"ARM\x64" + bytes(100) + banner + bytes(5000)


def zboot(payload: bytes, compression: str) -> bytes:
    head = b"MZ\0\0zimg" + struct.pack("<II", 0x100, len(payload)) + bytes(8)
    return (head + compression.encode()).ljust(0x100, b"\0") + payload


def with_magic(offset: int, magic: bytes) -> bytes:
    return bytes(offset) + magic + bytes(4096)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "vmlinuz"


def test_an_arm64_image_is_taken_with_its_version(file: Path) -> None:
    file.write_bytes(image())
    kernel = load_kernel(file)
    assert (kernel.version, kernel.memory_size) == ("6.12.95+deb12-cloud-arm64", 0x2000)
    assert not kernel.packed
    assert kernel.warning is None
    assert bootable(kernel) == file


def test_an_image_much_shorter_than_its_header_says_is_taken_with_a_warning(file: Path) -> None:
    file.write_bytes(image(memory=0x20_0000))
    assert "may have been cut short" in str(load_kernel(file).warning)


def lzma_alone(data: bytes) -> bytes:
    return lzma.compress(data, lzma.FORMAT_ALONE)


PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress, "xz": lzma.compress, "lzma": lzma_alone, "zstd": zstd.compress,
}  # fmt: skip


@pytest.mark.parametrize("kind", PACKERS)
def test_a_packed_image_is_unpacked(file: Path, tmp_path: Path, kind: str) -> None:
    file.write_bytes(PACKERS[kind](image()))
    kernel = load_kernel(file)
    assert kernel.data == image()
    assert kernel.packed
    unpacked = bootable(kernel, tmp_path / "cache")
    assert unpacked.read_bytes() == image()
    assert bootable(kernel, tmp_path / "cache") == unpacked


@pytest.mark.parametrize(
    ("written", "kind"),
    [("gzip", "gzip"), ("zstd22", "zstd"), ("zstd", "zstd"), ("xzkern", "xz"), ("lzma", "lzma")],
)
def test_a_compressed_efi_kernel_is_unpacked(file: Path, written: str, kind: str) -> None:
    # what follows the payload is the size that the kernel's build adds, and no part of it
    file.write_bytes(zboot(PACKERS[kind](image()), written) + b"\0\1\0\0")
    kernel = load_kernel(file)
    assert kernel.data == image()
    assert kernel.packed


@pytest.mark.parametrize("kind", PACKERS)
def test_a_packed_image_that_is_cut_short_is_refused_as_such(file: Path, kind: str) -> None:
    file.write_bytes(PACKERS[kind](image() * 50)[:-9])
    with pytest.raises(GuestError, match=rf"does not unpack: it is cut short \({kind}\)"):
        load_kernel(file)


@pytest.mark.parametrize("kind", PACKERS)
def test_what_unpacks_to_more_than_any_kernel_is_refused(
    file: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert LARGEST == 256 << 20
    file.write_bytes(PACKERS[kind](image() + bytes(5 << 20)))
    monkeypatch.setattr("hpcore.guest.unpack.LARGEST", 4 << 20)
    if kind in ("xz", "lzma"):  # these refuse a dictionary of that size before
        file.write_bytes(lzma.compress(image() + bytes(5 << 20), preset=0,
                         format=lzma.FORMAT_XZ if kind == "xz" else lzma.FORMAT_ALONE))  # fmt: skip
    with pytest.raises(GuestError, match="it holds more than 4 MiB"):
        load_kernel(file)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "an empty file"),
        (with_magic(0x202, b"HdrS"), "x86 kernel"),
        (with_magic(0x24, b"\x18\x28\x6f\x01"), "32-bit arm"),
        (b"\x7fELF" + bytes(5000), "vmlinux"),
        (b"\xfd7zXZ\0" + bytes(5000), r"does not unpack \(xz\)"),
        (b"\x28\xb5\x2f\xfd" + b"\xff" * 5000, r"does not unpack \(zstd\)"),
        (b"BZh" + bytes(5000), "compressed with bzip2"),
        (b"\x04\x22\x4d\x18" + bytes(5000), "compressed with lz4"),
        (b"MZ" + bytes(5000), "EFI program"),
        (b"hello" * 1000, "unknown kind"),
        (zboot(b"x" * 100, "lz4"), "zboot, lz4"),
        (zboot(b"x" * 100, "zstd22"), r"does not unpack \(zstd\)"),
        (zboot(gzip.compress(image(), mtime=0), "gzip")[:-20], "cut short; its header"),
        (zboot(b"", "gzip"), "cut short; its header"),
        (gzip.compress(b"text" * 1000, mtime=0), "unknown kind"),
        (gzip.compress(image(), mtime=0)[:-20], "cut short"),
        (b"\x1f\x8b" + bytes(100), "does not unpack"),
        (image()[:0x3C], "cut short: 60 bytes"),
    ],
)
def test_another_file_is_refused_by_name_with_what_it_is(
    file: Path, data: bytes, said: str
) -> None:
    file.write_bytes(data)
    with pytest.raises(GuestError, match=said) as caught:
        load_kernel(file)
    assert str(file) in str(caught.value)


def test_a_missing_file_and_a_directory_are_refused_by_name(tmp_path: Path) -> None:
    for path in (tmp_path / "nowhere", tmp_path):
        with pytest.raises(GuestError, match=f"cannot read the kernel {path}: "):
            load_kernel(path)


@pytest.mark.parametrize("version", ["6.1.0-30-arm64", "5.10.0", "6.10.11"])
def test_a_kernel_before_6_11_is_taken_with_a_warning(file: Path, version: str) -> None:
    file.write_bytes(image(version))
    assert f"kernel {version}" in str(load_kernel(file).warning)
    assert "6.11" in str(load_kernel(file).warning)


@pytest.mark.parametrize("version", ["6.11.0", "6.12.95+deb12", "7.0.0-rc1", "10.1"])
def test_a_kernel_from_6_11_on_is_taken_without(file: Path, version: str) -> None:
    file.write_bytes(image(version))
    assert load_kernel(file).warning is None


def test_a_kernel_without_a_banner_is_taken_with_a_warning(file: Path) -> None:
    file.write_bytes(image(None))
    assert load_kernel(file).version is None
    assert "no kernel version" in str(load_kernel(file).warning)
