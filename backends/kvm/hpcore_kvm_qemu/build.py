"""Builds the interposer for arm64 from its sources, once for every version of them.

The compiler is the one of the `ziglang` package, as for the EL3 monitor of hpcore-tcg. The
object needs glibc 2.34 or newer, so Debian 12's QEMU can load it, and nothing but libc.

A package may bring the object with it, as the file `prebuilt()`; then no compiler is needed.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from hpcore.fetch.cache import cache_directory
from hpcore.fetch.errors import FetchError
from hpcore.fetch.zig import NO_COMPILER, ensure_built, zig_cc, zig_version
from hpcore.run.accelerator import AcceleratorError

SOURCE_DIR = Path(__file__).parent / "interposer"
TARGET = "aarch64-linux-gnu.2.34"
WARNINGS = ("-Wall", "-Wextra", "-Werror")
CFLAGS = (
    "-std=gnu11", "-O2", "-g0", *WARNINGS, "-fPIC", "-fvisibility=hidden",
    "-fno-sanitize=undefined",  # zig's default, which needs a runtime library
)  # fmt: skip
WHAT = "the interposer"


def sources() -> list[Path]:
    """The C files that make the object."""
    return sorted(SOURCE_DIR.glob("*.c"))


def digest() -> str:
    """The hash that names the object: of sources, headers, flags and compiler version."""
    return _digest(zig_version())


def prebuilt() -> Path:
    """Where the object lies that a package brings with it, whatever compiler has built it.

    One that was made of other sources has another name, and is not taken for this one.
    """
    return SOURCE_DIR / f"interposer-{_digest(None)}.so"


def missing() -> str | None:
    """Why there can be no object here, and what to do; None where there is one, or can be."""
    if zig_version() is None and not _path().exists():
        return NO_COMPILER.format(WHAT)
    return None


def ensure_interposer() -> Path:
    """The object for these sources: the package's own, or else built if it is not in the cache.

    Takes some seconds the first time, and blocks. Raises AcceleratorError without a
    compiler, when it refuses the sources (with its words), and where the cache cannot be
    written.
    """
    path = _path()
    try:
        ensure_built(WHAT, path, _compile)
    except FetchError as error:
        raise AcceleratorError(str(error)) from error
    return path


def _path() -> Path:
    own = prebuilt()
    return own if own.is_file() else cache_directory() / f"interposer-{digest()}.so"


def _digest(compiler: str | None) -> str:
    sha = hashlib.sha256()
    for path in (*sources(), *sorted(SOURCE_DIR.glob("*.h"))):
        sha.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    sha.update(repr((CFLAGS, TARGET, compiler)).encode())
    return sha.hexdigest()[:16]


def _compile(directory: Path) -> Path:
    output = directory / "interposer.so"
    zig_cc(
        WHAT, directory, "-target", TARGET, *CFLAGS, "-shared", "-Wl,--build-id=none",
        *(str(path) for path in sources()), "-o", str(output),
    )  # fmt: skip
    return output
