"""What a kernel file is taken for."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import pytest

from hpcore.guest.errors import GuestError
from hpcore.guest.kernel import bootable, load_kernel


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


@pytest.mark.parametrize("pack", [gzip.compress, lambda data: zboot(gzip.compress(data), "gzip")])
def test_a_gzipped_image_is_unpacked(file: Path, tmp_path: Path, pack: object) -> None:
    assert callable(pack)
    file.write_bytes(pack(image()))
    kernel = load_kernel(file)
    assert kernel.data == image()
    unpacked = bootable(kernel, tmp_path / "cache")
    assert unpacked.read_bytes() == image()
    assert bootable(kernel, tmp_path / "cache") == unpacked


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "an empty file"),
        (with_magic(0x202, b"HdrS"), "x86 kernel"),
        (with_magic(0x24, b"\x18\x28\x6f\x01"), "32-bit arm"),
        (b"\x7fELF" + bytes(5000), "vmlinux"),
        (b"\xfd7zXZ\0" + bytes(5000), "compressed with xz"),
        (b"MZ" + bytes(5000), "EFI program"),
        (b"hello" * 1000, "unknown kind"),
        (zboot(b"x" * 100, "zstd"), "zboot, zstd"),
        (gzip.compress(b"text" * 1000), "unknown kind"),
        (gzip.compress(image())[:-20], "cut short"),
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
