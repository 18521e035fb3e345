"""Processes, and programs that stand in for QEMU."""

from __future__ import annotations

import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

needs_qemu = pytest.mark.skipif(
    shutil.which("qemu-system-aarch64") is None, reason="qemu-system-aarch64 is not installed"
)


def alive(pid: int) -> bool:
    """Whether a process runs; one that only waits to be reaped does not."""
    try:
        stat_line = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False
    return stat_line.rpartition(")")[2].split()[0] != "Z"


def program(path: Path, script: str) -> Path:
    """An executable shell script."""
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def outlived(parent: str) -> int:
    """Run the program `parent`, which prints a process's id; kill it with -9, return the id."""
    with subprocess.Popen([sys.executable, "-c", parent], stdout=subprocess.PIPE) as running:
        try:
            assert running.stdout is not None
            lines = iter(running.stdout.readline, b"")  # diagnostics may stand before it
            pid = next(int(line) for line in lines if line.strip().isdigit())
            assert alive(pid)
        finally:
            running.kill()
    return pid
