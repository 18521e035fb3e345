"""Files as they are unpacked while they are read, in memory that does not grow with them.

Only so much is unpacked as is asked for: what a few packed bytes make gigabytes of costs time, if
somebody reads on, and no memory.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import sys
import zlib
from collections.abc import Callable
from typing import IO, Any

from attrs import frozen


class PackedDamaged(Exception):
    """A packed stream is not what its packer wrote, or ends too early."""


@frozen
class Packing:
    """How a file is packed: its name, what it begins with, and the program that unpacks it."""

    name: str
    begins: bytes
    program: str
    open: Callable[[IO[bytes]], Any]


def _gzip(raw: IO[bytes]) -> Any:
    return gzip.GzipFile(fileobj=raw)


def _zstd(raw: IO[bytes]) -> Any:
    if sys.version_info >= (3, 14):
        from compression import zstd  # noqa: PLC0415 - what few files need
    else:
        from backports import zstd  # noqa: PLC0415 - what few files need
    return zstd.ZstdFile(raw)


BUFFER = 1 << 18
"""Bytes that are unpacked at a time."""

PACKINGS = (
    Packing("gzip", b"\x1f\x8b", "gunzip", _gzip),
    Packing("zstd", b"\x28\xb5\x2f\xfd", "unzstd", _zstd),
    Packing("xz", b"\xfd7zXZ\0", "unxz", lzma.LZMAFile),
    Packing("bzip2", b"BZh", "bunzip2", bz2.BZ2File),
)


def unpacked(raw: io.BufferedReader) -> tuple[io.BufferedReader, str | None]:
    """What is in the file `raw`, which is at its beginning, and by what it is packed.

    That is `raw` itself and None for a file that is not packed. Reading from the stream raises
    PackedDamaged after all that could be unpacked.
    """
    beginning = raw.peek(6)[:6]
    for packing in PACKINGS:
        if beginning.startswith(packing.begins):
            return io.BufferedReader(_Unpacked(packing.open(raw)), BUFFER), packing.name
    return raw, None


class _Unpacked(io.RawIOBase):
    """Gives what one of the standard library's files unpacks, and one error for what is wrong."""

    def __init__(self, file: Any) -> None:
        self._file = file

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        into = memoryview(buffer).cast("B")
        try:
            data: bytes = self._file.read1(len(into))
        except (EOFError, zlib.error, lzma.LZMAError) as error:
            raise PackedDamaged(str(error)) from error
        except OSError as error:
            if error.errno is not None:  # the disk's
                raise
            raise PackedDamaged(str(error)) from error
        except Exception as error:
            if type(error).__name__ != "ZstdError":  # of a module that need not be loaded
                raise
            raise PackedDamaged(str(error)) from error
        into[: len(data)] = data
        return len(data)
