"""The process that reads an image: `python -m hpcore.disk.child IMAGE SECONDS [FORMAT]`.

It answers on standard output: the length of a JSON object in eight bytes, the object, the
kernel, the initrd. The object has the fields of a DiskBoot, or `error`.
"""

from __future__ import annotations

import json
import resource
import signal
import sys
from pathlib import Path

import attrs

from hpcore.disk.boot import read_here
from hpcore.disk.errors import damaged
from hpcore.errors import HpcoreError

MOST_MEMORY = 2 << 30
"""Bytes of addresses: the largest kernel and initrd, twice, and what Python takes."""


def confine(seconds: int, memory: int = MOST_MEMORY) -> None:
    """Bound the memory and the processor time of this process, and let it write no core file."""
    for what, most in (
        (resource.RLIMIT_AS, memory), (resource.RLIMIT_CPU, seconds),
        (resource.RLIMIT_CORE, 0),
    ):  # fmt: skip
        _, hard = resource.getrlimit(what)
        limit = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(what, (limit, limit))


def answer(path: Path, format: str | None) -> tuple[dict[str, object], bytes, bytes]:
    """The object, the kernel and the initrd; or an object with the error."""
    try:
        with damaged(f"the image {path}"):
            boot = read_here(path, format)
    except HpcoreError as error:
        return {"error": str(error)}, b"", b""
    fields = attrs.asdict(boot)
    return fields | {"kernel": len(boot.kernel), "initrd": None}, boot.kernel, boot.initrd


def main() -> None:
    """Answer for the image that the arguments name."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # whoever asks ends this process itself
    path, seconds, *format = sys.argv[1:]
    confine(int(seconds))
    fields, kernel, initrd = answer(Path(path), format[0] if format else None)
    text = json.dumps(fields).encode()
    out = sys.stdout.buffer
    out.write(len(text).to_bytes(8, "big") + text)
    out.write(kernel)
    out.write(initrd)
    out.flush()


if __name__ == "__main__":
    main()
