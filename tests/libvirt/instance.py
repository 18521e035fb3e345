"""A libvirtd that nobody else sees: its configuration, its state, its socket, its end.

Without systemd, D-Bus or a network. As root it is the system's instance (`qemu:///system`),
behind a mount namespace; for anybody else it is that of a session.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from attrs import field, mutable

from tests.libvirt import keeper
from tests.support.waits import poll

SECONDS = 120.0
"""For one command of virsh: a start takes 3 s, and many more beside other tests."""

LIBVIRTD_CONF = """\
unix_sock_dir = "{sockets}"
unix_sock_group = "root"
auth_unix_ro = "none"
auth_unix_rw = "none"
"""

BOTH_CONF = """\
log_outputs = "2:file:{log}"
host_uuid = "{host}"
"""
"""Two of them on one machine take each other for hosts, or no domain could be migrated."""

QEMU_CONF = """\
user = "root"
group = "root"
security_driver = "none"
cgroup_controllers = []
namespaces = []
stdio_handler = "file"
"""
"""Nothing that a container may lack, and QEMU's own words in a file without virtlogd."""

USER_LINE = "libvirt-qemu:x:64055:64055:Libvirt Qemu:/var/lib/libvirt:/usr/sbin/nologin\n"
GROUP_LINE = "libvirt-qemu:x:64055:\n"
"""What Debian's libvirt-daemon-system adds. No process of ours runs as that user."""


class VirshFailed(Exception):
    """virsh ended with an error; the text is its words."""


@mutable
class Libvirt:
    """A private libvirt that runs. `running` makes one."""

    directory: Path
    uri: str
    log: Path
    _socket: Path
    _keeper: subprocess.Popen[str] = field(repr=False)

    def virsh(self, *arguments: str | Path, seconds: float = SECONDS) -> str:
        """What `virsh` prints. Raises VirshFailed with what it says instead."""
        done = subprocess.run(
            ["virsh", "--quiet", "--connect", self.uri, *arguments],
            text=True, capture_output=True, check=False, timeout=seconds,
            stdin=subprocess.DEVNULL, env={**os.environ, "LC_ALL": "C"},
        )  # fmt: skip
        if done.returncode:
            raise VirshFailed(done.stderr.strip())
        return done.stdout

    def start(self) -> None:
        """Start the daemon, and wait until it answers."""
        self._tell("start")

        def answers() -> bool:
            try:
                return bool(self.virsh("uri"))
            except VirshFailed:
                return False

        poll(answers, f"libvirtd answers; see {self.log}", 60.0)

    def stop(self) -> None:
        """Stop the daemon; its machines go on."""
        self._tell("stop")
        self._socket.unlink(missing_ok=True)

    def _tell(self, word: str) -> None:
        assert self._keeper.stdin is not None
        assert self._keeper.stdout is not None
        self._keeper.stdin.write(word + "\n")
        self._keeper.stdin.flush()
        answer = self._keeper.stdout.readline()
        assert answer == word + "\n", f"no private libvirt: see {self.directory / 'keeper.log'}"


@contextmanager
def running() -> Iterator[Libvirt]:
    """A private libvirt; it, its machines and all that they have started end with the block."""
    # Short, for sockets are made in it: a path of one has 107 bytes.
    directory = Path(tempfile.mkdtemp(prefix="hp-lv-", dir="/tmp"))
    try:
        command, socket = _lay_out(directory)
        with (
            (directory / "keeper.log").open("w") as said,
            subprocess.Popen(
                [*_namespaces(), sys.executable, keeper.__file__, directory, *command],
                text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=said,
                env=_environment(directory), start_new_session=True,
            ) as process,
        ):  # fmt: skip
            kind = "system" if os.geteuid() == 0 else "session"
            uri = f"qemu+unix:///{kind}?socket={socket}"
            libvirt = Libvirt(directory, uri, directory / "libvirtd.log", socket, process)
            try:
                libvirt.start()
                yield libvirt
            finally:
                assert process.stdin is not None
                process.stdin.close()
                process.wait(60.0)
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _namespaces() -> list[str]:
    """The command before the keeper's. As a user, the user's own namespace allows the rest."""
    own = [] if os.geteuid() == 0 else ["--user", "--map-current-user"]
    return ["unshare", *own, "--mount", "--pid", "--mount-proc", "--fork", "--kill-child"]


def _lay_out(directory: Path) -> tuple[list[str | Path], Path]:
    """Write the configuration. Gives the daemon's command, and its socket."""
    for name in ("sockets", "etc-libvirt", "home", "runtime"):
        (directory / name).mkdir(mode=0o700)
    for name, line in (("passwd", USER_LINE), ("group", GROUP_LINE)):
        (directory / name).write_text(Path("/etc", name).read_text() + line)
    (directory / "etc-libvirt" / "qemu.conf").write_text(QEMU_CONF)
    conf = directory / "libvirtd.conf"
    command: list[str | Path] = [
        shutil.which("libvirtd") or "/usr/sbin/libvirtd",
        "--config", conf, "--pid-file", directory / "libvirtd.pid",
    ]  # fmt: skip
    log = directory / "libvirtd.log"
    if os.geteuid() == 0:
        sockets = directory / "sockets"
        own_conf = LIBVIRTD_CONF.format(sockets=sockets)
    else:
        sockets = directory / "runtime" / "libvirt"
        own_conf = ""
        own = directory / "home" / ".config" / "libvirt"
        own.mkdir(parents=True)
        (own / "qemu.conf").write_text('stdio_handler = "file"\n')
    conf.write_text(own_conf + BOTH_CONF.format(log=log, host=uuid.uuid4()))
    return command, sockets / "libvirt-sock"


def _environment(directory: Path) -> dict[str, str]:
    """The daemon's: with a home of its own, and without anything else of ours."""
    return {
        "PATH": f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin",
        "LC_ALL": "C", "HOME": str(directory / "home"),
        "XDG_RUNTIME_DIR": str(directory / "runtime"),
    }  # fmt: skip
