"""The guest's userland: busybox and an init that gives a shell on the console.

The archive format is cpio "newc" (Documentation/driver-api/early-userspace/
buffer-format.rst). The same busybox gives the same bytes.
"""

from __future__ import annotations

import stat

from attrs import field, frozen

READY_MARKER = "hpcore-guest-ready"
CONSOLE_DEVICE = "/dev/ttyAMA0"

# stty before the marker: whoever waits for it may type at once, and must see no echo.
# The shell is started again when it ends (a line may `exit`), and says so by the same
# marker; `setsid -c` gives it the console as controlling terminal, so that ^C works.
# The prompts are empty: what comes out is the output of commands alone.
# The console is given as a script, and -i makes the shell a person's all the same. From its
# standard input busybox's ash would read by fgets() while echo is off, which SIGCHLD
# interrupts; ash takes that for the input's end, so that every background job that ended
# took the shell with it. From a script it reads by safe_read(), which goes on.
INIT = f"""\
#!/bin/sh
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev 2>/dev/null
mount -t tmpfs tmp /tmp
export PATH=/bin HOME=/ TERM=dumb PS1= PS2=
while :; do
    setsid -c sh -c '
        stty sane -echo
        printf "\\n{READY_MARKER} uptime=%s\\n" "$(cut -d" " -f1 /proc/uptime)"
        exec sh -i {CONSOLE_DEVICE}
    ' <{CONSOLE_DEVICE} >{CONSOLE_DEVICE} 2>&1
done
"""

DIRECTORIES = ("bin", "dev", "proc", "sys", "tmp", "run")
BOOT_APPLETS = ("sh", "mount")
"""What the init needs before it has installed the rest."""


@frozen
class Entry:
    """One file of the archive: `mode` with the type bits, `device` as (major, minor)."""

    name: str
    mode: int
    data: bytes = b""
    device: tuple[int, int] = field(default=(0, 0))


def cpio(entries: list[Entry]) -> bytes:
    """A newc archive of `entries` in their order: no times, owners or inode numbers of ours."""
    out = bytearray()
    for inode, entry in enumerate([*entries, Entry("TRAILER!!!", 0)], start=1):
        name = entry.name.encode() + b"\0"
        fields = (
            inode, entry.mode, 0, 0, 1, 0, len(entry.data),  # uid, gid 0; one link; time 0
            0, 0, *entry.device, len(name), 0,
        )  # fmt: skip
        out += b"070701" + b"".join(b"%08X" % value for value in fields) + name
        out += bytes(-len(out) % 4)
        out += entry.data
        out += bytes(-len(out) % 4)
    return bytes(out)


def build_initramfs(busybox: bytes) -> bytes:
    """The archive around the static arm64 `busybox`."""
    directory, program, link, device = (
        stat.S_IFDIR | 0o755, stat.S_IFREG | 0o755, stat.S_IFLNK | 0o777, stat.S_IFCHR | 0o600,
    )  # fmt: skip
    entries = [Entry(name, directory) for name in DIRECTORIES]
    # the kernel opens /dev/console for init before anything is mounted
    entries.append(Entry("dev/console", device, device=(5, 1)))
    entries.append(Entry("dev/null", device, device=(1, 3)))
    entries.append(Entry("bin/busybox", program, busybox))
    entries += [Entry(f"bin/{name}", link, b"busybox") for name in BOOT_APPLETS]
    entries.append(Entry("init", program, INIT.encode()))
    return cpio(entries)
