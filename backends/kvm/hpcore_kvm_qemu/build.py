"""Builds the interposer for arm64 from its sources, once for every version of them.

The compiler is the one of the `ziglang` package, as for the EL3 monitor of hpcore-tcg. The
object needs glibc 2.34 or newer, so Debian 12's QEMU can load it, and nothing but libc.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import subprocess
import sys
from pathlib import Path

import structlog

from hpcore.fetch.cache import cache_directory, scratch
from hpcore.run.accelerator import AcceleratorError

log = structlog.get_logger(__name__)

SOURCE_DIR = Path(__file__).parent / "interposer"
TARGET = "aarch64-linux-gnu.2.34"
WARNINGS = ("-Wall", "-Wextra", "-Werror")
CFLAGS = (
    "-std=gnu11", "-O2", "-g0", *WARNINGS, "-fPIC", "-fvisibility=hidden",
    "-fno-sanitize=undefined",  # zig's default, which needs a runtime library
)  # fmt: skip
COMPILE_SECONDS = 300
NO_COMPILER = (
    "the interposer cannot be built: the package ziglang is not installed; install it with: "
    "pip install ziglang"
)


def sources() -> list[Path]:
    """The C files that make the object."""
    return sorted(SOURCE_DIR.glob("*.c"))


def digest() -> str:
    """The hash that names the object: of sources, headers, flags and compiler version."""
    sha = hashlib.sha256()
    for path in (*sources(), *sorted(SOURCE_DIR.glob("*.h"))):
        sha.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    sha.update(repr((CFLAGS, TARGET, _zig_version())).encode())
    return sha.hexdigest()[:16]


def ensure_interposer() -> Path:
    """The object for these sources, built if it is not in the cache.

    Takes some seconds the first time, and blocks. Raises AcceleratorError without a
    compiler, when it refuses the sources (with its words), and where the cache cannot be
    written.
    """
    path = cache_directory() / f"interposer-{digest()}.so"
    if path.is_file():
        return path
    if _zig_version() is None:
        raise AcceleratorError(NO_COMPILER)
    try:
        with scratch(path.parent) as directory:
            _compile(directory).replace(path)
    except OSError as error:
        raise AcceleratorError(
            f"the interposer cannot be kept in {path.parent}: {error.strerror}; "
            "make it writable, or set HPCORE_CACHE to a directory that is"
        ) from error
    log.info("built the interposer", path=str(path), size=path.stat().st_size)
    return path


def _zig_version() -> str | None:
    try:
        return importlib.metadata.version("ziglang")
    except importlib.metadata.PackageNotFoundError:
        return None


def _compile(directory: Path) -> Path:
    output, cache = directory / "interposer.so", str(directory / "zig")
    command = [
        sys.executable, "-m", "ziglang", "cc", "-target", TARGET, *CFLAGS, "-shared",
        "-Wl,--build-id=none", *(str(path) for path in sources()), "-o", str(output),
    ]  # fmt: skip
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=COMPILE_SECONDS, check=False,
            env={"ZIG_LOCAL_CACHE_DIR": cache, "ZIG_GLOBAL_CACHE_DIR": cache, **os.environ},
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        raise AcceleratorError(
            f"the interposer cannot be built: zig took more than {COMPILE_SECONDS} seconds"
        ) from error
    if done.returncode:
        words = (done.stderr or done.stdout).strip()
        raise AcceleratorError(
            f"the interposer cannot be built: zig ended with {done.returncode}:\n{words}"
        )
    return output
