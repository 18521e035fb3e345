"""A log's file on the disk: locked, grown by whole appends, cut back when one fails."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from pathlib import Path
from typing import IO, Self

from hpcore.log.errors import LogLocked, LogUnreadable, LogWriteError


def is_locked(name: str) -> bool:
    """Whether a writer has the log `name` open just now. False where that can't be told."""
    try:
        fd = os.open(name, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(fd)
    return False


class LogFile:
    """The file `name`, which only this object writes. `size` is how much of it is written.

    An exclusive flock keeps other writers out, in this process too, until `close`, or the
    end of this process and of children that it forked without exec.
    """

    def __init__(self, name: str, fd: int) -> None:
        self.name = name
        self.size = 0
        self._fd = fd
        self._dead: str | None = None

    @classmethod
    def open(cls, name: str, *, create: bool = False) -> Self:
        """Open and lock the regular file `name`. Raises LogUnreadable, LogLocked."""
        flags = os.O_RDWR | os.O_CLOEXEC | (os.O_CREAT if create else 0)
        try:
            fd = os.open(name, flags, 0o644)
        except OSError as error:
            raise LogUnreadable(name, error) from error
        try:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                raise LogUnreadable(name, "only a regular file can be appended to")
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(fd)
            raise LogLocked(name) from None
        except OSError as error:
            os.close(fd)
            raise LogUnreadable(name, error) from error
        except BaseException:
            os.close(fd)
            raise
        return cls(name, fd)

    @classmethod
    def begun(cls, name: str, temporary: str, header: bytes) -> Self:
        """A new file that has `header` from the moment on at which it is there, locked.

        It comes into being as `temporary`, in the same directory. Raises LogLocked, LogUnreadable,
        LogWriteError; then there is no file `name`.
        """
        file = cls.open(temporary, create=True)
        try:
            file.begin(header)
            try:
                Path(temporary).rename(name)
            except OSError as error:
                raise file._died(error, cut_back=False) from error
            file.name = name
            file._sync_directory()
        except BaseException:
            file.close()
            raise
        return file

    def stream(self) -> IO[bytes]:
        """The file from its beginning, to be read and cut; close it after use."""
        os.lseek(self._fd, 0, os.SEEK_SET)
        return os.fdopen(os.dup(self._fd), "r+b", buffering=0)

    def begin(self, header: bytes) -> None:
        """Empty the file and write `header`; it and the file's name are then on the disk.

        Raises LogWriteError.
        """
        try:
            os.ftruncate(self._fd, 0)
        except OSError as error:
            raise self._died(error, cut_back=False) from error
        self.append(header, durable=True)
        self._sync_directory()

    def _sync_directory(self) -> None:
        """Have the file's name on the disk. Raises LogWriteError."""
        try:
            directory = os.open(Path(self.name).resolve().parent, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(directory)
            finally:
                os.close(directory)
        except OSError as error:
            raise self._died(error, cut_back=False) from error

    def check(self) -> None:
        """Raise LogWriteError where nothing can be written any more."""
        if self._dead is not None:
            raise LogWriteError(self.name, self._dead)

    def append(self, data: bytes, *, durable: bool, keep_lines: bool = False) -> None:
        """Write all of `data` at the end; with `durable`, to the disk itself.

        When that fails, the file is cut back to where it was, or, with `keep_lines`, to
        the last line that was written whole, and is dead: every later append refuses.
        Raises LogWriteError.
        """
        self.check()
        # Whatever happens from here on, a KeyboardInterrupt between two lines included,
        # the file is dead unless the last line of this method is reached.
        self._dead = "an append was interrupted"
        done = 0
        try:
            while done < len(data):
                wrote = os.pwrite(self._fd, data[done:] if done else data, self.size + done)
                if wrote == 0:
                    raise OSError(errno.EIO, "nothing could be written")
                done += wrote
            if durable:
                os.fdatasync(self._fd)
        except BaseException as error:
            kept = data.rfind(b"\n", 0, done) + 1 if keep_lines else 0
            cut_back = self._cut(self.size + kept)
            if isinstance(error, OSError):
                raise self._died(error, cut_back) from error
            raise
        self.size += done
        self._dead = None

    def close(self) -> None:
        """Let go of the file and its lock; a second time does nothing."""
        if self._fd >= 0:
            fd, self._fd = self._fd, -1
            self._dead = self._dead or "it is closed"
            os.close(fd)

    def _cut(self, size: int) -> bool:
        """Cut the file to `size`; whether that was possible."""
        try:
            os.ftruncate(self._fd, size)
            os.fdatasync(self._fd)
        except OSError:
            return False
        self.size = size
        return True

    def _died(self, error: OSError, cut_back: bool) -> LogWriteError:
        why = error.strerror or str(error)
        self._dead = f"an earlier write failed: {why}"
        return LogWriteError(self.name, why, cut_back)
