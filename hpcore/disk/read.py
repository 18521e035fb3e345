"""Reading an image in a process of its own, whose memory and time are bounded."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from hpcore.disk.boot import DiskBoot
from hpcore.disk.errors import DiskError
from hpcore.disk.volume import Partition

SECONDS = 60
"""How long reading may take; an image of a usual installation takes one or two."""


def read_disk(path: Path, format: str | None = None, seconds: int = SECONDS) -> DiskBoot:
    """What the image in `path` would boot. Nothing is mounted, nothing is written.

    `format` is "raw" or "qcow2"; without it the image says so itself. Give it where it is
    known: a guest can write to a raw disk what looks like another image, which names files of
    this machine. Raises DiskError.
    """
    command = [sys.executable, "-P", "-m", "hpcore.disk.child", str(path), str(seconds)]
    if format is not None:
        command.append(format)
    late = DiskError(
        f"reading the image {path} takes more than {seconds} s; it is damaged, or made to "
        "do so: check it with `qemu-img check` and its file system's fsck"
    )
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            timeout=2 * seconds, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        raise late from error
    except (OSError, ValueError) as error:
        raise DiskError(f"cannot read the image {str(path)!r}: {error}") from error
    if done.returncode < 0:
        raise late
    if done.returncode or len(done.stdout) < 8:
        raise DiskError(
            f"reading the image {path} ended with {done.returncode} and no answer; it is damaged, "
            "or there is no memory left here"
        )
    return _taken(done.stdout)


def _taken(answer: bytes) -> DiskBoot:
    end = 8 + int.from_bytes(answer[:8], "big")
    fields: dict[str, Any] = json.loads(answer[8:end])
    if "error" in fields:
        raise DiskError(fields["error"])
    cut = end + fields["kernel"]
    fields["partitions"] = tuple(Partition(**one) for one in fields["partitions"])
    fields["initrd_files"] = tuple(fields["initrd_files"])
    return DiskBoot(**(fields | {"kernel": answer[end:cut], "initrd": answer[cut:]}))
