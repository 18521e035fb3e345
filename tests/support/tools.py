"""The tools of other packages that make what the tests need: file systems, images, archives."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

PATH = f"{os.environ['PATH']}:/usr/sbin:/sbin"
"""Where mkfs and fdisk are, too, and where a user's own PATH may not go."""


def run_tool(*command: str | Path) -> str:
    """Run a tool, which is there and succeeds; what it prints."""
    program = shutil.which(str(command[0]), path=PATH)
    assert program is not None, f"{command[0]} is missing; run scripts/setup.sh --tests"
    done = subprocess.run(
        [program, *map(str, command[1:])],
        capture_output=True, text=True, errors="replace", check=False,
        env={**os.environ, "PATH": PATH},
    )  # fmt: skip
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout
