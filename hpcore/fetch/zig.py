"""What accelerators have in C, built for arm64 once for every version of it, and kept.

The compiler is the one of the `ziglang` package, so nothing but Python packages is needed. The
result lies in the cache under a name of its builder's choice, a hash of all that goes into
it; two builders at once do no harm, since a finished file is moved into place.
"""

from __future__ import annotations

import importlib.metadata
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import structlog

from hpcore.fetch.cache import scratch
from hpcore.fetch.errors import FetchError

log = structlog.get_logger(__name__)

COMPILE_SECONDS = 300
NO_COMPILER = (
    "{} cannot be built: the package ziglang is not installed; install it with: "
    "pip install ziglang"
)


def zig_version() -> str | None:
    """The version of the installed ziglang package, or None where there is none."""
    try:
        return importlib.metadata.version("ziglang")
    except importlib.metadata.PackageNotFoundError:
        return None


def ensure_built(what: str, path: Path, build: Callable[[Path], Path]) -> None:
    """Have `build` make `what` in a directory of its own, and keep it at `path`; once is enough.

    Blocks. Raises FetchError without a compiler, and where the cache cannot be written.
    """
    if path.is_file():
        return
    if zig_version() is None:
        raise FetchError(NO_COMPILER.format(what))
    try:
        with scratch(path.parent) as directory:
            build(directory).replace(path)
    except OSError as error:
        raise FetchError(
            f"{what} cannot be kept in {path.parent}: {error.strerror}; "
            "make it writable, or set HPCORE_CACHE to a directory that is"
        ) from error
    log.info(f"built {what}", path=str(path), size=path.stat().st_size)


def zig_cc(what: str, directory: Path, *arguments: str) -> None:
    """Compile `what`. The compiler's own caches are in `directory`, or where the environment says.

    Raises FetchError, with the compiler's words where it refuses the sources.
    """
    own = str(directory / "zig")
    try:
        done = subprocess.run(
            [sys.executable, "-m", "ziglang", "cc", *arguments],
            capture_output=True, text=True, timeout=COMPILE_SECONDS, check=False,
            env={"ZIG_LOCAL_CACHE_DIR": own, "ZIG_GLOBAL_CACHE_DIR": own, **os.environ},
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        raise FetchError(
            f"{what} cannot be built: zig cc took more than {COMPILE_SECONDS} seconds"
        ) from error
    if done.returncode:
        words = (done.stderr or done.stdout).strip()
        raise FetchError(
            f"{what} cannot be built: zig cc ended with {done.returncode}:\n{words}"
        )
