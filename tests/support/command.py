"""The real `hpcore` command in a process of its own, and what it must not leave behind.

Every run has a mark in its environment, which its children inherit. So a process that was
left behind is told from those of other tests, and from everybody else's.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import pytest
from attrs import field, frozen, mutable

from hpcore.guest.errors import GuestError
from hpcore.guest.images import fetched_guest
from hpcore.log import Record, read
from tests.support.waits import poll

HPCORE = Path(sys.executable).with_name("hpcore")
MARK = "HPCORE_TEST_RUN"
T = TypeVar("T")
SECONDS = 120.0
"""For a command to end: a guest boots in 5 s, and in many more beside other tests."""


@frozen
class Ended:
    """A command that has ended: its exit code, and what it printed."""

    code: int
    out: str
    err: str

    @property
    def last(self) -> dict[str, Any]:
        """The closing JSON object: the last line of standard output, and the only one."""
        (line,) = self.out.splitlines()
        found = json.loads(line)
        assert isinstance(found, dict)
        return found


def hpcore(
    *arguments: str | Path,
    env: Mapping[str, str | None] | None = None,
    stdin: bytes = b"",
    before: Sequence[str | Path] = (),
    seconds: float = SECONDS,
) -> Ended:
    """Run `hpcore` to its end. It left no process and no file behind, and no traceback.

    `env` changes the environment; None takes a variable away. `before` is a command that
    runs hpcore in its turn.
    """
    with running(*arguments, env=env, stdin=stdin, before=before) as run:
        return run.end(seconds)


def refused(*arguments: str | Path, code: int = 2, **kwargs: Any) -> str:
    """Run `hpcore --json`, which must end with `code`; the error that it explains.

    The same error is on standard error for people and in the closing object for machines.
    """
    ended = hpcore(*arguments, "--json", **kwargs)
    assert ended.code == code, ended
    last = ended.last
    assert last["ok"] is False
    error = last["error"]
    assert isinstance(error, str)
    assert " ".join(error.split()) in " ".join(ended.err.split())
    return error


@mutable
class Running:
    """A command under way, with everything that it started."""

    process: subprocess.Popen[bytes]
    mark: str
    temporary: Path
    _read: list[bytes] = field(factory=list)

    @property
    def pid(self) -> int:
        return self.process.pid

    def send(self, number: signal.Signals) -> None:
        """Send a signal to hpcore alone."""
        self.process.send_signal(number)

    def qemu(self, seconds: float = 60.0) -> int:
        """The process id of its QEMU, as soon as there is one."""
        return poll(self._find_qemu, "QEMU was started", seconds)

    def end(self, seconds: float = SECONDS) -> Ended:
        """Wait for its end, and hold it to leaving nothing behind."""
        out, err = self.process.communicate(timeout=seconds)
        ended = Ended(self.process.returncode, out.decode(), err.decode())
        assert "Traceback" not in ended.out + ended.err, ended
        assert not processes(self.mark), "a process was left behind"
        left = [p.name for p in self.temporary.iterdir()]
        assert not left, f"left behind in the temporary directory: {left}"
        return ended

    def _find_qemu(self) -> int | None:
        assert self.process.poll() is None, self.process.communicate()
        for pid in processes(self.mark):
            if "\0-machine\0" in _proc(pid, "cmdline"):  # and not one asked for its version
                return pid
        return None


@contextmanager
def running(
    *arguments: str | Path,
    env: Mapping[str, str | None] | None = None,
    stdin: bytes = b"",
    before: Sequence[str | Path] = (),
) -> Iterator[Running]:
    """`hpcore` under way; whatever is left of it at the end is killed."""
    mark = uuid.uuid4().hex
    # Short, for sockets are made in it. Nobody's, for a test may run hpcore as another user.
    temporary = Path(tempfile.mkdtemp(prefix="hp-", dir="/tmp"))
    temporary.chmod(0o777)
    environment = {**os.environ, MARK: mark, "TMPDIR": str(temporary), "COLUMNS": "200"}
    environment.pop("XDG_RUNTIME_DIR", None)
    environment.pop("HPCORE_DEBUG", None)
    for name, value in (env or {}).items():
        environment.pop(name, None)
        if value is not None:
            environment[name] = value
    try:
        with tempfile.TemporaryFile() as given:
            given.write(stdin)
            given.seek(0)
            process = subprocess.Popen(
                [*before, HPCORE, *arguments],
                stdin=given, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment,
            )  # fmt: skip
        with process:
            try:
                yield Running(process, mark, temporary)
            finally:
                process.kill()
                for pid in processes(mark):
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def processes(mark: str) -> list[int]:
    """Those that live and have the mark; one that only waits to be reaped does not live."""
    wanted = f"{MARK}={mark}"
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or wanted not in _proc(int(entry.name), "environ"):
            continue
        if _proc(int(entry.name), "stat").rpartition(")")[2].split()[:1] not in ([], ["Z"]):
            found.append(int(entry.name))
    return found


def logged(log: Path, words: str) -> Callable[[], bool]:
    """Whether the log has `words` in it; for `poll`."""
    return lambda: log.exists() and words.encode() in log.read_bytes()


def scenario(path: Path, *steps: str, machine: str = "cpus: 1, maxcpus: 3") -> Path:
    """A scenario file of `steps`, each of them YAML."""
    lines = [f"machine: {{{machine}}}", "steps:", *(f"  - {step}" for step in steps)]
    path.write_text("\n".join(lines) + "\n")
    return path


_ROUND = "{plug: 1}, {online: 1}, {plug: 2}, {unplug: 1}, {unplug: 2}"
AROUND = f"repeat: {{times: 100000, steps: [{_ROUND}]}}"
"""A step without end, for whatever comes in the middle."""


def unreadable(path: Path) -> list[str]:
    """Make a file that nobody may read; a command that takes root's privilege to do so away."""
    path.write_bytes(b"secret")
    path.chmod(0)
    if os.geteuid() != 0:
        return []
    return ["setpriv", "--bounding-set=-dac_override,-dac_read_search"]


def records(log: Path) -> list[Record]:
    """Every event of a log."""
    with read(log)[1] as found:
        return list(found)


def _proc(pid: int, name: str) -> str:
    try:
        return Path(f"/proc/{pid}/{name}").read_text(errors="replace")
    except OSError:  # it has ended, or is not ours
        return ""


def no_guest() -> str | None:
    """Why no guest can boot here, or None."""
    if shutil.which(os.environ.get("HPCORE_QEMU", "qemu-system-aarch64")) is None:
        return "qemu-system-aarch64 is not installed"
    try:
        return None if fetched_guest() else "no guest has been fetched"
    except GuestError as error:
        return str(error)


needs_guest = pytest.mark.skipif(no_guest() is not None, reason=str(no_guest()))
