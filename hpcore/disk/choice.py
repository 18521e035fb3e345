"""What a boot configuration says: the entry that boots, its files, its command line."""

from __future__ import annotations

import re

from attrs import frozen

from hpcore.disk.volume import Volume

LARGEST_CONFIGURATION = 1 << 20
"""Bytes of a configuration file that are read."""


@frozen
class FileAt:
    """A file of a volume, and where it is asked for: a file and its line."""

    volume: Volume
    path: str
    asked: str


@frozen
class Choice:
    """The entry that boots without anybody at the keyboard.

    `configuration` is the file that has it, with partition and line.
    """

    configuration: str
    title: str
    kernel: FileAt
    initrds: tuple[FileAt, ...]
    append: str


def text_of(volume: Volume, path: str) -> str:
    """A configuration file, whatever its bytes are. Raises DiskError as `Volume.read`."""
    return volume.read(path, LARGEST_CONFIGURATION).decode("utf-8", "surrogateescape")


def version_key(text: str) -> list[tuple[int, int, str]]:
    """What sorts versions: numbers by value, letters before numbers, `~` before the end."""
    out = [
        (2, int(part), "") if part.isdigit() else (-1, 0, "") if part == "~" else (1, 0, part)
        for part in re.findall(r"[0-9]{1,30}|[A-Za-z]+|~", text)
    ]
    return [*out, (0, 0, "")]
