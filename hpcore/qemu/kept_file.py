"""A file that QEMU appends to for as long as it lives, and whose beginning nobody needs any more.

The beginning is given back to the disk, as a hole: every byte keeps its place, and QEMU, which
knows nothing of it, goes on at the end. Where the filesystem makes no holes, the file grows.
"""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import structlog

log = structlog.get_logger(__name__)

BLOCK = 64 * 1024
"""Bytes that are given back together: a multiple of the blocks of any usual filesystem."""

FALLOC_FL_KEEP_SIZE, FALLOC_FL_PUNCH_HOLE = 1, 2  # fallocate(2)
_libc = ctypes.CDLL(None, use_errno=True)


class KeptFile:
    """What a hpcore that has the machine gives back of one of its files. Others may append."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._given = 0  # all before it is given back, but for what was to stay
        self._stays = range(0)
        self._makes_holes = True

    def keep_last(self, size: int) -> None:
        """Give back what is before the last `size` bytes."""
        with suppress(FileNotFoundError):
            self.give_back(self.path.stat().st_size - size)

    def give_back(self, below: int, but: range = range(0)) -> None:
        """Give back what is before byte `below`, in whole blocks, `but` for the blocks of these.

        Does nothing where that can't be done, which is said once.
        """
        below -= below % BLOCK
        if not self._makes_holes or below <= self._given:
            return
        stays = _blocks(but)
        starts = min(self._given, self._stays.start) if self._stays else self._given
        try:
            with self.path.open("rb+") as file:
                for hole in (
                    range(starts, min(stays.start, below)), range(max(starts, stays.stop), below)
                ):  # fmt: skip
                    if hole:
                        _punch(file.fileno(), hole.start, hole.stop)
        except FileNotFoundError:
            return  # the machine has ended, and its directory is gone
        except OSError as error:
            self._makes_holes = False
            log.warning("what is not needed any more stays", file=str(self.path), why=str(error))
            return
        self._given, self._stays = below, stays


def extents(descriptor: int, below: int) -> Iterator[range]:
    """The places before byte `below` where a file has bytes, and no hole. Raises OSError."""
    at = 0
    while at < below:
        try:
            start = os.lseek(descriptor, at, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:  # nothing but a hole from there on
                return
            raise
        at = os.lseek(descriptor, start, os.SEEK_HOLE)
        if start < below:
            yield range(start, min(at, below))


def given_back(path: Path) -> int:
    """Bytes at the beginning of the file at `path` that are not there any more; 0 for no file."""
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            first = next(extents(file.fileno(), size), None)
    except OSError:
        return 0
    return size if first is None else first.start


def _blocks(of: range) -> range:
    """The whole blocks that have the bytes `of`; none for no bytes."""
    return range(of.start - of.start % BLOCK, of.stop + -of.stop % BLOCK) if of else range(0)


def _punch(descriptor: int, start: int, end: int) -> None:
    """A hole from `start` to `end`. Raises OSError."""
    how = ctypes.c_int(FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE)
    at, size = ctypes.c_int64(start), ctypes.c_int64(end - start)
    if _libc.fallocate(ctypes.c_int(descriptor), how, at, size) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
