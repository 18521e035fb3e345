"""What an image boots, whole: its description and the bytes of its files."""

from __future__ import annotations

from pathlib import Path

from attrs import frozen

from hpcore.disk.choice import Choice, FileAt
from hpcore.disk.errors import DiskError
from hpcore.disk.find import choose
from hpcore.disk.image import open_image
from hpcore.disk.partitions import look
from hpcore.disk.volume import Partition
from hpcore.guest.unpack import LARGEST

LARGEST_INITRD = 512 << 20
"""Bytes of all initrds of an entry together."""
MOST_INITRDS = 32


@frozen
class DiskBoot:
    """What an image would boot.

    `kernel` and `initrd` are the bytes as they are on the disk: the kernel may be packed, the
    initrd is empty where the entry has none, and several are one after the other. `append` is
    the command line. `kernel_file` and `initrd_files` say where they were, `configuration`
    the file and the line that has the entry `title`.
    """

    image: str
    format: str
    size: int
    partitions: tuple[Partition, ...]
    configuration: str
    title: str
    kernel_file: str
    initrd_files: tuple[str, ...]
    append: str
    kernel: bytes
    initrd: bytes


def read_here(path: Path, format: str | None = None) -> DiskBoot:
    """Read it in this process, which a hostile image may keep busy or fill with memory.

    Raises DiskError. Use `read_disk`, which does it in a process of its own.
    """
    image = open_image(path, format)
    try:
        disk = look(image)
        choice = choose(disk)
        if "\0" in choice.append or "\n" in choice.append:
            raise DiskError(f"{choice.configuration}: the command line has a line's end in it")
        return DiskBoot(
            str(path), image.format, image.size, disk.partitions, choice.configuration,
            choice.title, _said(choice.kernel), tuple(map(_said, choice.initrds)), choice.append,
            _read(choice.kernel, LARGEST), _initrds(choice),
        )  # fmt: skip
    finally:
        image.close()


def _initrds(choice: Choice) -> bytes:
    """All of them in a row: Linux takes archives one after the other, each aligned."""
    if len(choice.initrds) > MOST_INITRDS:
        raise DiskError(f"{choice.configuration}: more than {MOST_INITRDS} initrds")
    out = b""
    for one in choice.initrds:
        out += bytes(-len(out) % 4)
        out += _read(one, LARGEST_INITRD - len(out))
    return out


def _read(file: FileAt, largest: int) -> bytes:
    try:
        return file.volume.read(file.path, largest)
    except DiskError as error:
        raise DiskError(f"{file.asked} names a file that cannot be taken: {error}") from error


def _said(file: FileAt) -> str:
    return f"{file.volume.partition}: {file.path}"
