"""An aarch64 Linux compiler for tests: zig, which the tcg accelerator builds its monitor with.

It brings the kernel's own user-space headers for arm64.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path


def compile_arm64(source: str, suffix: str, directory: Path) -> bytes:
    """The object file of `source`, C or assembly by `suffix`; fails with the compiler's words."""
    path, output = directory / f"source{suffix}", directory / "source.o"
    path.write_text(source)
    cache = str(directory / "zig")
    done = subprocess.run(
        [sys.executable, "-m", "ziglang", "cc", "-target", "aarch64-linux-gnu",
         "-mcpu=cortex_a57", "-c", str(path), "-o", str(output)],
        capture_output=True, text=True, timeout=120, check=False,
        env={**os.environ, "ZIG_LOCAL_CACHE_DIR": cache, "ZIG_GLOBAL_CACHE_DIR": cache},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return output.read_bytes()
