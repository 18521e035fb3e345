"""The shared object itself: what it gives, what it needs, and that it is silent when not asked."""

from __future__ import annotations

import os
import re
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from hpcore_kvm_qemu import build

from hpcore.run.accelerator import AcceleratorError
from tests.kvm_qemu.native import FLAGS, gcc


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The object for this machine, with the kernel's own ioctl(2)."""
    output = tmp_path_factory.mktemp("object") / "interposer.so"
    gcc(*FLAGS, "-fPIC", "-fvisibility=hidden", "-shared", *build.sources(), "-o", output)
    return output


@pytest.fixture(scope="module", autouse=True)
def compiler_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """One cache of zig's for the builds here, since it makes libc's stubs first."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("ZIG_LOCAL_CACHE_DIR", "ZIG_GLOBAL_CACHE_DIR"):
            patch.setenv(name, str(tmp_path_factory.getbasetemp() / "zig"))
        yield


def preload(path: Path, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["sh", "-c", "echo ran; stty size < /dev/null; exit 5"],
        env={"PATH": os.environ["PATH"], "LD_PRELOAD": str(path), **env},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def test_it_gives_ioctl_and_nothing_else(loaded: Path) -> None:
    text = subprocess.run(
        ["nm", "-D", "--defined-only", loaded], capture_output=True, text=True, check=True
    ).stdout
    assert [line.split()[-1] for line in text.splitlines()] == ["ioctl"]


def test_it_needs_libc_alone(loaded: Path) -> None:
    text = subprocess.run(
        ["readelf", "-d", loaded], capture_output=True, text=True, check=True
    ).stdout
    assert re.findall(r"NEEDED.*\[(.+)\]", text) == ["libc.so.6"]


def test_without_its_variable_a_process_does_not_notice_it(loaded: Path) -> None:
    done = preload(loaded)
    assert (done.returncode, done.stdout) == (5, "ran\n")
    assert "hpcore" not in done.stderr


def test_without_a_socket_the_process_does_not_start(loaded: Path, tmp_path: Path) -> None:
    done = preload(loaded, HPCORE_INTERPOSER=str(tmp_path / "none"))
    assert (done.returncode, done.stdout) == (97, "")
    assert "cannot reach hpcore's socket: No such file or directory" in done.stderr


def test_it_is_built_for_arm64_and_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HPCORE_CACHE", str(tmp_path))
    path = build.ensure_interposer()
    elf = path.read_bytes()
    kind, machine = struct.unpack_from("<HH", elf, 16)
    assert (elf[:4], kind, machine) == (b"\x7fELF", 3, 183)  # ET_DYN, EM_AARCH64
    versions = [tuple(map(int, v.split(b"."))) for v in re.findall(rb"GLIBC_(\d+\.\d+)\0", elf)]
    assert versions
    assert max(versions) <= (2, 36)  # Debian 12's
    before = path.stat().st_mtime_ns
    assert build.ensure_interposer() == path
    assert path.stat().st_mtime_ns == before


def test_what_the_compiler_refuses_is_said_in_its_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tmp_path / "sources"
    broken.mkdir()
    (broken / "page.c").write_text("int main(void) { int unused; }\n")
    monkeypatch.setenv("HPCORE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(build, "SOURCE_DIR", broken)
    with pytest.raises(AcceleratorError, match=r"zig cc ended with(.|\n)*unused"):
        build.ensure_interposer()
