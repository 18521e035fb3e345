"""The initramfs, read by a newc reader written from the kernel's documentation."""

from __future__ import annotations

import shutil
import stat
import subprocess
from pathlib import Path

from hpcore.guest.initramfs import READY_MARKER, build_initramfs

FIELDS = (
    "ino", "mode", "uid", "gid", "nlink", "mtime", "filesize",
    "devmajor", "devminor", "rdevmajor", "rdevminor", "namesize", "check",
)  # fmt: skip


def read(archive: bytes) -> dict[str, tuple[dict[str, int], bytes]]:
    files: dict[str, tuple[dict[str, int], bytes]] = {}
    position = 0
    while True:
        assert position % 4 == 0
        assert archive[position : position + 6] == b"070701"
        numbers = archive[position + 6 : position + 110]
        fields = {
            name: int(numbers[8 * place : 8 * place + 8], 16) for place, name in enumerate(FIELDS)
        }
        start = position + 110
        name = archive[start : start + fields["namesize"] - 1].decode()
        data = -(-(start + fields["namesize"]) // 4) * 4
        if name == "TRAILER!!!":
            return files
        files[name] = (fields, archive[data : data + fields["filesize"]])
        position = -(-(data + fields["filesize"]) // 4) * 4


def test_init_and_busybox_are_programs_and_the_console_is_there() -> None:
    files = read(build_initramfs(b"BUSYBOX" * 11))
    for name, content in (("init", None), ("bin/busybox", b"BUSYBOX" * 11)):
        fields, data = files[name]
        assert fields["mode"] == stat.S_IFREG | 0o755
        assert content is None or data == content
    fields, _ = files["dev/console"]
    assert stat.S_ISCHR(fields["mode"])
    assert (fields["rdevmajor"], fields["rdevminor"]) == (5, 1)
    assert files["bin/sh"][1] == b"busybox"


def test_directories_come_before_what_is_in_them() -> None:
    names = list(read(build_initramfs(b"x")))
    for place, name in enumerate(names):
        parent = name.rpartition("/")[0]
        assert not parent or parent in names[:place]


def test_it_carries_no_time_owner_or_machine() -> None:
    archive = build_initramfs(b"x")
    assert archive == build_initramfs(b"x")
    for number, (fields, _) in enumerate(read(archive).values(), start=1):
        assert fields["ino"] == number
        assert not any(fields[name] for name in ("uid", "gid", "mtime", "devmajor", "devminor"))


def test_the_shell_that_init_starts_is_quiet_and_says_when_it_is_ready(tmp_path: Path) -> None:
    init = read(build_initramfs(b"x"))["init"][1].decode()
    assert init.startswith("#!/bin/sh\n")
    shell_starts = init.index("exec sh -i /dev/ttyAMA0")
    assert init.index("stty sane -echo") < init.index(READY_MARKER) < shell_starts
    script = tmp_path / "init"
    script.write_text(init)
    shell = shutil.which("sh")
    assert shell is not None
    subprocess.run([shell, "-n", script], check=True)
