"""A QEMU process: its private directory, its last words, and its end.

QEMU never outlives the Python that started it: the kernel kills it when the thread that
started it ends, even by `kill -9`. It is always reaped.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import structlog

from hpcore.errors import printable
from hpcore.qemu.errors import QemuError
from hpcore.qemu.running import RunningQemu
from hpcore.qemu.runtime_directory import SOCKET_PATH_MOST

log = structlog.get_logger(__name__)

STDERR_KEPT = 16 * 1024  # bytes of QEMU's last words
END_SECONDS = 5.0
PR_SET_PDEATHSIG = 1  # prctl(2)

_libc = ctypes.CDLL(None, use_errno=True)


def check_socket_path(path: Path) -> None:
    """Raise QemuError where QEMU could not listen at `path`, or something is there already."""
    size = len(os.fsencode(path))
    if size > SOCKET_PATH_MOST:
        raise QemuError(
            f"the socket path {path} has {size} bytes; a unix socket takes {SOCKET_PATH_MOST}: "
            "choose a shorter directory"
        )
    if os.path.lexists(path):
        raise QemuError(
            f"the socket path {path} is occupied: another QEMU may be using it; end that one or "
            "choose another path"
        )


class QemuProcess(RunningQemu):
    """A running QEMU, started by `start`."""

    def __init__(self, process: subprocess.Popen[bytes], directory: Path) -> None:
        self._process = process
        self._stderr = bytearray()
        self._ended = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        assert process.stderr is not None
        self._pipe = process.stderr.fileno()
        os.set_blocking(self._pipe, False)
        self._pidfd = os.pidfd_open(process.pid)
        self._loop.add_reader(self._pipe, self._hear)
        self._loop.add_reader(self._pidfd, self._reap)
        super().__init__(directory)

    @classmethod
    async def start(
        cls,
        argv: Sequence[str | Path],
        directory: Path,
        sockets: Sequence[Path] = (),
        environment: Mapping[str, str] | None = None,
    ) -> QemuProcess:
        """Start QEMU with `argv`, its program first, and `environment` beside our own.

        `sockets` are the paths at which `argv` makes it listen. `directory` becomes its
        own, and `close` removes it. It dies with the calling thread. Raises QemuError where
        a socket path is occupied or too long, or the program cannot be run.
        """
        for path in sockets:
            check_socket_path(path)
        process = _spawn(argv, environment or {})
        log.debug("started QEMU", pid=process.pid, argv=[str(word) for word in argv])
        return cls(process, directory)

    @property
    def pid(self) -> int:
        """The process id, valid until `wait` has returned."""
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether it has not ended yet."""
        return not self._ended.is_set()

    @property
    def last_words(self) -> str:
        """The end of what QEMU wrote to stderr, and how it ended if it has."""
        words = printable(bytes(self._stderr).decode(errors="replace").strip())
        code = self._process.returncode
        if code is None:
            return words or "it wrote nothing to stderr"
        how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit status {code}"
        return f"it ended with {how}" + (f" and said: {words}" if words else ", saying nothing")

    async def wait(self) -> None:
        """Wait until QEMU has ended and been reaped and its stderr has been read."""
        await self._ended.wait()

    async def close(self) -> None:
        """End QEMU, politely at first, reap it, and remove its directory. Idempotent."""
        for send in (self._process.terminate, self._process.kill):
            if self.running:
                with contextlib.suppress(ProcessLookupError):
                    send()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._ended.wait(), END_SECONDS)
        self.remove_directory()

    def _hear(self) -> bool:
        """Take what is in the stderr pipe; False once there is no more to come."""
        try:
            data = os.read(self._pipe, 64 * 1024)
        except BlockingIOError:
            return False
        if not data:
            self._loop.remove_reader(self._pipe)
        self._stderr += data
        del self._stderr[:-STDERR_KEPT]
        return bool(data)

    def _reap(self) -> None:
        """The process has ended. What it wrote is in the pipe, though the pipe may stay open
        in a child of its own."""
        self._loop.remove_reader(self._pidfd)
        os.close(self._pidfd)
        self._process.wait()
        while self._hear():
            pass
        self._loop.remove_reader(self._pipe)
        assert self._process.stderr is not None
        self._process.stderr.close()
        self._ended.set()


def _spawn(
    argv: Sequence[str | Path], environment: Mapping[str, str]
) -> subprocess.Popen[bytes]:
    try:
        return subprocess.Popen(
            argv,
            env={**os.environ, **environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            # calls one function of libc and takes no lock, so threads do not matter
            preexec_fn=_die_with(os.getpid()),  # noqa: PLW1509
            process_group=0,  # the terminal's Ctrl-C is ours to handle, not QEMU's
        )
    except OSError as error:
        raise QemuError(f"{argv[0]} cannot be started: {error.strerror}") from error


def _die_with(parent: int) -> Callable[[], None]:
    """What the child does before it becomes QEMU: ask to be killed when we are gone."""

    def prepare() -> None:
        _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # we were gone before the kernel was asked
            os._exit(1)

    return prepare
