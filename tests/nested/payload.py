"""What L1 gets anew at each start: the code under test, its guest, and what to run.

A second cpio archive after the image's; the kernel unpacks one over the other.
"""

from __future__ import annotations

import shlex
import time
from collections.abc import Iterator
from importlib.metadata import distribution
from pathlib import Path

from attrs import frozen
from hpcore_kvm_qemu import build

from hpcore.guest.images import FetchedGuest
from hpcore.guest.initramfs import Entry, cpio
from tests.nested.archive import DIRECTORY, FILE, PROGRAM, parents, tree, with_bytecode
from tests.nested.image import SITE
from tests.nested.reporting import MARK_VARIABLE
from tests.nested.wheels import OURS

ROOT = Path(__file__).parents[2]
HERE = "hpcore"
"""Where the repository lies in L1."""

CODE = ("hpcore", "backends/kvm/hpcore_kvm", "backends/kvm/hpcore_kvm_qemu", "tests", "bench")
FILES = ("pyproject.toml",)
GUEST = "root/.cache/hpcore/guest"
OUT = "/out"
"""The directory in L1 whose files come back."""

KERNEL_LOG = "kernel.log"
"""What L1's kernel has said, in OUT, where it complains of itself."""

COMPLAINTS = "WARNING: |BUG: |Oops|Unable to handle kernel|Internal error: "
"""What in the kernel's log is a complaint: warnings, oopses, locks held wrongly. A stall is none:
in an emulated machine beside others any CPU may stand still for seconds."""

KILL_AFTER = 15
"""Seconds for a command to tidy up and say what it knows when its time is over."""

INIT = """\
#!/bin/sh
/bin/busybox --install -s /bin
export PATH=/usr/local/bin:/usr/bin:/bin HOME=/root TERM=dumb LANG=C.UTF-8 COLUMNS=100
export {mark_variable}={nonce}
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mkdir -p /dev/shm /dev/pts
mount -t tmpfs tmp /dev/shm
mount -t devpts pts /dev/pts
mount -t tmpfs tmp /tmp
mount -t tmpfs run /run
chmod 1777 /tmp /out
date -s @{now} >/dev/null
ifconfig lo up 2>/dev/null
exec </dev/null >/dev/ttyAMA0 2>&1
stty raw -echo </dev/ttyAMA0
dmesg -n 1
printf '\\037{nonce} begin %s\\n' "$(uname -r)"
cd /{here}
timeout -s INT -k {kill_after} {seconds} /bin/sh /command
status=$?
dmesg | grep -qE '{complaints}' && dmesg >{out}/{kernel_log}
tar cz -C {out} . >/run/out.tar.gz
printf '\\037{nonce} status %s %s\\n' $status "$(sha256sum </run/out.tar.gz | cut -d' ' -f1)"
base64 /run/out.tar.gz
printf '\\037{nonce} end\\n'
poweroff -f
"""

PROGRAMS = {
    "hpcore": "hpcore.cli.start:main",
    "hpcore-qemu-system-aarch64": "hpcore.door.start:main",
    "pytest": "pytest:main",
}
USERS = {
    "etc/passwd": "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/tmp:/bin/sh\n",
    "etc/group": "root:x:0:\nnogroup:x:65534:\n",
    "etc/hosts": "127.0.0.1 localhost\n",
}


@frozen
class PayloadCommand:
    """A shell script for L1, and the seconds it has; `nonce` marks what L1 says of it."""

    script: str
    seconds: float
    nonce: str

    @classmethod
    def of(cls, argv: tuple[str, ...], seconds: float, nonce: str) -> PayloadCommand:
        """One program with its arguments; it is what a signal at the deadline reaches."""
        return cls(f"exec {shlex.join(argv)}\n", seconds, nonce)


def payload(command: PayloadCommand, guest: FetchedGuest) -> bytes:
    """The archive."""
    init = INIT.format(
        here=HERE, out=OUT, now=int(time.time()), nonce=command.nonce, mark_variable=MARK_VARIABLE,
        seconds=max(1, int(command.seconds)), kill_after=KILL_AFTER, complaints=COMPLAINTS,
        kernel_log=KERNEL_LOG,
    )  # fmt: skip
    entries = [
        Entry("init", PROGRAM, init.encode()),
        Entry("command", FILE, command.script.encode()),
    ]
    entries.append(Entry("etc", DIRECTORY))
    entries += [Entry(name, FILE, text.encode()) for name, text in USERS.items()]
    entries += [Entry(f"usr/bin/{name}", PROGRAM, _program(to)) for name, to in PROGRAMS.items()]
    entries += _distributions()
    entries += _repository()
    entries += _guest(guest)
    entries += _interposer()
    return cpio(entries)


def _program(entry_point: str) -> bytes:
    module, _, function = entry_point.partition(":")
    lines = ["#!/usr/bin/python3", "import sys", f"from {module} import {function}"]
    return "\n".join([*lines, f"sys.exit({function}())", ""]).encode()


def _distributions() -> Iterator[Entry]:
    """That hpcore and its accelerator are installed: where, their versions and entry points.

    A .pth file, since libvirt starts programs without this environment's variables.
    """
    yield from parents(f"{SITE}/any")
    yield Entry(f"{SITE}/hpcore.pth", FILE, f"/{HERE}\n/{HERE}/backends/kvm\n".encode())
    for name in OURS:
        found = distribution(name)
        directory = f"{SITE}/{name.replace('-', '_')}-{found.version}.dist-info"
        yield from parents(f"{directory}/METADATA")
        for file in ("METADATA", "entry_points.txt"):
            if text := found.read_text(file):
                yield Entry(f"{directory}/{file}", FILE, text.encode())


def _repository() -> Iterator[Entry]:
    for name in CODE:
        yield from parents(f"{HERE}/{name}/any")
        yield from with_bytecode(tree(ROOT / name, f"{HERE}/{name}"))
    for name in FILES:
        yield Entry(f"{HERE}/{name}", FILE, (ROOT / name).read_bytes())


def _guest(guest: FetchedGuest) -> Iterator[Entry]:
    """The guest where `fetched_guest` looks for it, with its initramfs."""
    guest.initramfs()
    directory = guest.kernel.parent
    at = f"{GUEST}/{directory.name}"
    yield from parents(f"{at}/any")
    yield from tree(directory, at)


def _interposer() -> Iterator[Entry]:
    """The interposer, built here, since L1 has no compiler."""
    built = f"{HERE}/backends/kvm/{build.prebuilt().relative_to(build.SOURCE_DIR.parents[1])}"
    yield from parents(built)
    yield Entry(built, FILE, build.ensure_interposer().read_bytes())
