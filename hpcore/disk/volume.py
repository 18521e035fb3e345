"""The file systems of a disk, read without mounting: ext2 to ext4, xfs and vfat."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from itertools import islice
from typing import Any, BinaryIO

from attrs import field, frozen

from hpcore.disk.errors import DiskError, damaged

MOST_LINKS = 40
"""Symbolic links in one path, as in Linux."""

LONGEST_PATH = 4096
MOST_FILES = 10_000
"""Files of a directory that is listed."""

READ = ("ext2", "ext3", "ext4", "xfs", "vfat")


@frozen
class Partition:
    """A piece of a disk and what is in it. Number 0 is a disk without a partition table.

    `content` is a file system of READ, or says in words what else is there. `uuid` and
    `label` are the file system's, `part_uuid` and `name` the partition table's; empty where
    there are none.
    """

    number: int
    offset: int
    size: int
    content: str
    uuid: str = ""
    label: str = ""
    part_uuid: str = ""
    name: str = ""

    def __str__(self) -> str:
        where = f"partition {self.number}" if self.number else "the whole disk"
        return f"{where} ({self.content})"


@frozen(eq=False)
class Volume:
    """A file system that is read. `image` is what messages call the image."""

    image: str
    partition: Partition
    _reader: _Reader = field(repr=False)

    def said(self, path: str) -> str:
        """A file of the volume, for messages."""
        return f"{self.image}, {self.partition}: {path}"

    def is_file(self, path: str) -> bool:
        """Whether there is a file at `path`, links followed. Raises DiskError for damage."""
        node = self._find(path)
        return node is not None and node.is_file

    def is_directory(self, path: str) -> bool:
        """Whether there is a directory at `path`, links followed."""
        node = self._find(path)
        return node is not None and node.is_directory

    def size(self, path: str) -> int | None:
        """The size of the file at `path`, or None where there is no file."""
        node = self._find(path)
        return node.size if node is not None and node.is_file else None

    def names(self, path: str) -> list[str]:
        """The names in the directory at `path`, sorted; none where there is no directory."""
        node = self._find(path)
        if node is None or not node.is_directory:
            return []
        with damaged(self.said(path)):
            found = [one.name for one in islice(self._reader.children(node), MOST_FILES + 1)]
        if len(found) > MOST_FILES:
            raise DiskError(f"{self.said(path)} has more than {MOST_FILES} files")
        return sorted(name for name in found if name not in (".", ".."))

    def read(self, path: str, largest: int) -> bytes:
        """The file at `path`, links followed.

        Raises DiskError where there is none, or it has more than `largest` bytes.
        """
        node = self._find(path)
        if node is None:
            raise DiskError(f"{self.said(path)}: there is no such file")
        if not node.is_file:
            raise DiskError(f"{self.said(path)} is no regular file")
        if node.size > largest:
            raise DiskError(
                f"{self.said(path)} has {node.size} bytes; more than {largest} are not read"
            )
        with damaged(self.said(path)):
            data = self._reader.read(node)
        if len(data) != node.size:
            raise DiskError(f"{self.said(path)} is damaged: {len(data)} bytes of {node.size}")
        return data

    def _find(self, path: str) -> Node | None:
        """Walk `path` from the root; a link is taken from where it is, or from the root."""
        with damaged(self.said(path)):
            return self._walk(path)

    def _walk(self, path: str) -> Node | None:
        if len(path) > LONGEST_PATH:
            raise DiskError(f"{self.said(path[:60])}...: the path is too long")
        trail = [self._reader.root()]
        left = path.split("/")[::-1]
        links = 0
        while left:
            part = left.pop()
            if part == "..":
                trail = trail[:-1] or trail
            if part in ("", ".", ".."):
                continue
            if not trail[-1].is_directory:
                return None
            node = self._reader.child(trail[-1], part)
            if node is None:
                return None
            if node.target is None:
                trail.append(node)
                continue
            links += 1
            if links > MOST_LINKS or len(node.target) > LONGEST_PATH:
                raise DiskError(f"{self.said(path)} goes through more than {MOST_LINKS} links")
            if node.target.startswith("/"):
                trail = trail[:1]
            left += node.target.split("/")[::-1]
        return trail[-1]


@frozen
class Node:
    """A file of any kind; `target` is where a symbolic link goes."""

    name: str
    is_file: bool
    is_directory: bool
    size: int
    target: str | None
    inner: Any


class _Reader:
    """What the libraries have in common."""

    uuid = label = ""

    def __init__(self, system: Any) -> None:
        self.system = system

    def root(self) -> Node:
        """The topmost directory."""
        return self.node(self.system.root, "/")

    def children(self, node: Node) -> Iterator[Node]:
        """What is in a directory."""
        return (self.node(one, self.name(one)) for one in node.inner.iterdir())

    def child(self, node: Node, name: str) -> Node | None:
        """The one of that name."""
        for one in node.inner.iterdir():
            if self.name(one) == name:
                return self.node(one, name)
        return None

    def read(self, node: Node) -> bytes:
        """The content of a file."""
        data = node.inner.open().read(node.size)
        return bytes(data)

    def name(self, inner: Any) -> str:
        """What the library's node is called."""
        return str(inner.filename)

    def node(self, inner: Any, name: str) -> Node:
        """The library's node as ours."""
        raise NotImplementedError


class _Unix(_Reader):
    def __init__(self, system: Any, label: str) -> None:
        super().__init__(system)
        self.uuid, self.label = str(system.uuid), label

    def node(self, inner: Any, name: str) -> Node:
        kind = stat.S_IFMT(self.mode(inner))
        size, target = int(inner.size), None
        if kind == stat.S_IFLNK:
            if size > LONGEST_PATH:
                raise ValueError(f"a symbolic link of {size} bytes")
            target = str(inner.link)
        return Node(name, kind == stat.S_IFREG, kind == stat.S_IFDIR, size, target, inner)

    def mode(self, inner: Any) -> int:
        """The mode as the inode has it: a directory's own word of it may lie."""
        raise NotImplementedError


class _Ext(_Unix):
    def mode(self, inner: Any) -> int:
        return int(inner.inode.i_mode)


class _Xfs(_Unix):
    def mode(self, inner: Any) -> int:
        return int(inner.inode.di_mode)


class _Fat(_Reader):
    def __init__(self, system: Any) -> None:
        super().__init__(system)
        number = system.volume_id.rjust(8, "0").upper()
        self.uuid = f"{number[:4]}-{number[4:]}"
        self.label = "" if system.volume_label == "NO NAME" else system.volume_label
        chain, most = system.fat.chain, system.fat.entry_count

        def ends(cluster: int) -> Iterator[int]:
            """A chain longer than its table goes round; the library would go with it."""
            for n, one in enumerate(chain(cluster)):
                if n > most:
                    raise ValueError("a chain of clusters goes round in a circle")
                yield one

        system.fat.chain = ends

    def name(self, inner: Any) -> str:
        return str(inner.name)

    def child(self, node: Node, name: str) -> Node | None:
        """The one of that name, in whatever case."""
        for one in node.inner.iterdir():
            if name.upper() in (one.name.upper(), one.short_name.upper()):
                return self.node(one, one.name)
        return None

    def node(self, inner: Any, name: str) -> Node:
        directory = inner.is_directory()
        is_file = not directory and not inner.is_volume_id()
        return Node(name, is_file, directory, 0 if directory else int(inner.size), None, inner)


def open_volume(content: str, stream: BinaryIO) -> _Reader:
    """The file system `content` of `stream`. The library is loaded that reads it."""
    system: Any
    if content.startswith("ext"):
        from dissect.extfs import ExtFS  # noqa: PLC0415

        system = ExtFS(stream)
        return _Ext(system, system.volume_name)
    if content == "xfs":
        from dissect.xfs import XFS  # noqa: PLC0415

        system = XFS(stream)
        return _Xfs(system, system.name)
    from dissect.fat import FATFS  # noqa: PLC0415

    return _Fat(FATFS(stream))
