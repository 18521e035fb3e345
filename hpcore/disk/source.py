"""The bytes of an image's file, as the libraries that read disks ask for them."""

from __future__ import annotations

import os
from typing import BinaryIO

from hpcore.disk.errors import DiskError

LARGEST_READ = 64 << 20
"""Bytes that one read may ask for; what asks for more has a size from a damaged field."""


class Source:
    """A file that is read, and answers past its end with zeros or with an error.

    `endless` is for the backing file of a qcow2 image, which may be smaller than the image;
    otherwise a read that begins past the end raises DiskError. One that begins before gets
    zeros for the rest, as in QEMU: the last cluster of a file need not be whole. `head`
    replaces the first bytes.
    """

    def __init__(
        self, file: BinaryIO, name: str, *, endless: bool = False, head: bytes = b""
    ) -> None:
        self.size = file.seek(0, os.SEEK_END)
        self._file, self._name, self._endless, self._head = file, name, endless, head
        self._at = 0

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to `offset`, and say where that is."""
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self.size}[whence]
        self._at = base + offset
        if self._at < 0:
            raise DiskError(f"{self._name} is damaged: it points before its beginning")
        return self._at

    def tell(self) -> int:
        """Where the next read begins."""
        return self._at

    def read(self, length: int = -1) -> bytes:
        """The next `length` bytes."""
        at = self._at
        if length < 0:
            length = max(0, self.size - at)
        if length > LARGEST_READ:
            raise DiskError(f"{self._name} is damaged: a field in it asks for {length} bytes")
        if at >= self.size and length and not self._endless:
            raise DiskError(
                f"{self._name} is cut short: byte {at} is asked for, and it has {self.size}; "
                "copy it again"
            )
        data = b""
        if at < self.size:
            self._file.seek(at)
            data = self._file.read(length)
        data = data.ljust(length, b"\0")
        if at < len(self._head):
            mine = self._head[at : at + length]
            data = mine + data[len(mine) :]
        self._at = at + length
        return data
