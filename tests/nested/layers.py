"""What L1 is made of: archives that the kernel unpacks one over the other.

Each is made once, and kept in hpcore's cache under a hash of what goes into it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

from attrs import frozen

from hpcore.fetch.cache import cache_directory
from hpcore.fetch.whole_directory import keep, kept, write_manifest
from hpcore.guest.initramfs import Entry, cpio


@frozen
class Contents:
    """The files of a layer, and what its manifest says of where they come from."""

    entries: list[Entry]
    manifest: dict[str, object]


@frozen
class Layer:
    """The archive `file` in a directory that begins with `name`, of `what` for who reads an error.

    `made_of` is all that decides what is in it, in JSON's types: with another one it is made anew.
    """

    name: str
    file: str
    what: str
    made_of: list[object]

    def get(self, build: Callable[[Path], Contents], cache: Path | None) -> Path:
        """The archive, from `cache` (None: hpcore's own) or else made now of what `build` says.

        `build` is given an empty directory to work in. Raises FetchError where the archive cannot
        be kept, and what `build` raises. Safe to call from several processes.
        """
        key = hashlib.sha256(json.dumps(self.made_of).encode()).hexdigest()[:16]
        directory = (cache or cache_directory()) / "nested" / f"{self.name}-{key}"
        if kept(directory) is None:
            keep(directory, self.what, lambda work: self._fill(work, build))
        return directory / self.file

    def _fill(self, work: Path, build: Callable[[Path], Contents]) -> Path:
        contents = build(work)
        complete = work / "complete"
        complete.mkdir()
        (complete / self.file).write_bytes(cpio(contents.entries))
        write_manifest(complete, **contents.manifest)
        return complete
