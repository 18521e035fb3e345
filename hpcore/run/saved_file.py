"""A saved machine as a file: a tar archive that any tar lists, written whole or not at all.

    machine.json     the format, who wrote it, the accelerator and its facts
    log.jsonl        the machine's log up to where it stood still
    files/NAME       the accelerator's own small files
    stream           memory and devices, in the accelerator's form
    SHA256SUMS       of all the others, as sha256sum -c takes them; last, so that a file that was
                     cut short is known to be

The stream's size is known at its end alone: its head is written again then.
"""

from __future__ import annotations

import hashlib
import json
import os
import tarfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from attrs import frozen

from hpcore.errors import HpcoreError
from hpcore.run.accelerator import Belongings, Stream, Writes
from hpcore.version import __version__

FORMAT, VERSION = "hpcore-saved-machine", 1
MACHINE, LOG, FILES, STREAM, SUMS = "machine.json", "log.jsonl", "files/", "stream", "SHA256SUMS"
_SMALL = 256 << 20
"""Bytes that a member beside the stream may have: the log is the largest."""
_CHUNK = 1 << 20


class SavedFileError(HpcoreError):
    """A file cannot be written, or is no saved machine that fits. The text says why."""


class SavedFileWriter:
    """Writes one file: `begin`, then the stream is appended, then `finish`, or else `discard`.

    All of them may take long, and are for a thread of their own.
    """

    def __init__(self, path: Path) -> None:
        """Raises SavedFileError where nothing can be written there."""
        self._path = path
        self._part = path.with_name(f".{path.name}.{os.getpid()}.part")
        self._sums: dict[str, str] = {}
        try:
            self._file: BinaryIO = self._part.open("xb+")
        except OSError as error:
            raise self._unwritable(error) from error

    def begin(self, accelerator: str, belongings: Belongings, log: bytes) -> Writes:
        """All but the stream; returns the file to append that to. Raises SavedFileError."""
        about = {
            "format": FORMAT, "version": VERSION, "hpcore": __version__,
            "accelerator": accelerator, "facts": dict(belongings.facts),
        }  # fmt: skip
        self._add(MACHINE, json.dumps(about, indent=1).encode())
        self._add(LOG, log)
        for name, data in belongings.files.items():
            self._add(FILES + name, data)
        self._stream_at = self._file.tell()
        self._file.write(_head(STREAM, 0))
        self._digest = hashlib.sha256()
        return _Hashed(self._file, self._digest.update)

    def finish(self) -> None:
        """The end of the stream has come: the file is there once this returns."""
        try:
            size = self._file.tell() - self._stream_at - tarfile.BLOCKSIZE
            self._file.write(bytes(-size % tarfile.BLOCKSIZE))
            self._file.seek(self._stream_at)
            self._file.write(_head(STREAM, size))
            self._file.seek(0, os.SEEK_END)
            self._sums[STREAM] = self._digest.hexdigest()
            sums = "".join(f"{digest}  {name}\n" for name, digest in self._sums.items())
            self._add(SUMS, sums.encode())
            self._file.write(bytes(2 * tarfile.BLOCKSIZE))
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
            self._part.replace(self._path)
            _sync(self._path.parent)
        except OSError as error:
            raise self._unwritable(error) from error

    def discard(self) -> None:
        """Leave nothing behind. What was at the path before stays."""
        self._file.close()
        self._part.unlink(missing_ok=True)

    def _add(self, name: str, data: bytes) -> None:
        self._sums[name] = hashlib.sha256(data).hexdigest()
        try:
            self._file.write(_head(name, len(data)))
            self._file.write(data + bytes(-len(data) % tarfile.BLOCKSIZE))
        except OSError as error:
            raise self._unwritable(error) from error

    def _unwritable(self, error: OSError) -> SavedFileError:
        return SavedFileError(f"the machine is not saved in {self._path}: {error.strerror}")


@frozen
class SavedFile:
    """A saved machine, read: whole, and of a format that is known."""

    path: Path
    accelerator: str
    belongings: Belongings
    log: bytes
    stream: Stream


def read_saved(path: Path) -> SavedFile:
    """The saved machine in `path`. Raises SavedFileError, with what is wrong."""
    try:
        with path.open("rb") as file, tarfile.open(fileobj=file, mode="r:") as archive:
            return _read(path, file, {m.name: m for m in archive.getmembers()})
    except OSError as error:
        raise SavedFileError(f"{path} cannot be read: {error.strerror or error}") from error
    except tarfile.TarError:
        raise SavedFileError(f"{path} is no saved machine, or was cut short") from None


def _read(path: Path, file: BinaryIO, members: Mapping[str, tarfile.TarInfo]) -> SavedFile:
    missing = [name for name in (MACHINE, LOG, STREAM, SUMS) if name not in members]
    if missing:
        raise SavedFileError(
            f"{path} is no saved machine, or was cut short: it has no {', '.join(missing)}"
        )
    sums = dict(_sums_of(path, _content(path, file, members[SUMS])))
    for name, member in members.items():
        if name != SUMS and _digest(file, member) != sums.get(name):
            raise SavedFileError(f"{path} is damaged: the checksum of {name} does not fit")
    about = _about(path, _content(path, file, members[MACHINE]))
    files = {
        name.removeprefix(FILES): _content(path, file, member)
        for name, member in members.items() if name.startswith(FILES)
    }  # fmt: skip
    stream = members[STREAM]
    return SavedFile(
        path,
        about["accelerator"],
        Belongings(about["facts"], files),
        _content(path, file, members[LOG]),
        Stream(path, stream.offset_data, stream.size),
    )


def _about(path: Path, data: bytes) -> dict[str, Any]:
    try:
        about = json.loads(data)
        facts = about["facts"]
        known = about["format"] == FORMAT and isinstance(about["accelerator"], str)
        known &= all(isinstance(v, str) for pair in facts.items() for v in pair)
        version, wrote = int(about["version"]), str(about["hpcore"])
    except (ValueError, KeyError, TypeError, AttributeError):
        known = False
    if not known:
        raise SavedFileError(f"{path} is no saved machine: {MACHINE} does not say so")
    if version != VERSION:
        raise SavedFileError(
            f"{path} has format {version}, written by hpcore {wrote}; this hpcore, {__version__}, "
            f"reads format {VERSION}. Restore it with hpcore {wrote}"
        )
    assert isinstance(about, dict), "it has keys"
    return about


def _sums_of(path: Path, data: bytes) -> list[tuple[str, str]]:
    out = []
    for line in data.decode("ascii", "replace").splitlines():
        digest, separator, name = line.partition("  ")
        if not separator:
            raise SavedFileError(f"{path} is damaged: {SUMS} has a line that is none")
        out.append((name, digest))
    return out


def _content(path: Path, file: BinaryIO, member: tarfile.TarInfo) -> bytes:
    if member.size > _SMALL:
        raise SavedFileError(f"{path}: {member.name} has {member.size} bytes; {_SMALL} at most")
    file.seek(member.offset_data)
    return file.read(member.size)


def _digest(file: BinaryIO, member: tarfile.TarInfo) -> str:
    digest, left = hashlib.sha256(), member.size
    file.seek(member.offset_data)
    while left and (data := file.read(min(left, _CHUNK))):
        digest.update(data)
        left -= len(data)
    return digest.hexdigest()


def _head(name: str, size: int) -> bytes:
    info = tarfile.TarInfo(name)
    info.size, info.mtime, info.mode = size, int(time.time()), 0o600
    return info.tobuf(tarfile.GNU_FORMAT)


def _sync(directory: Path) -> None:
    number = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


class _Hashed:
    """What is written here is written there, and told."""

    def __init__(self, file: BinaryIO, tell: Callable[[bytes | memoryview], None]) -> None:
        self._file, self._tell = file, tell

    def write(self, data: bytes | memoryview, /) -> int:
        """All of `data`. Raises OSError."""
        self._tell(data)
        return self._file.write(data)
